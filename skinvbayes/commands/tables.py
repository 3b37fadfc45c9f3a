"""Tables on the terminal."""

__all__ = ["print_table"]


def print_table(console, title, header, rows):
    """Print a table with figures aligned to the right.

    Parameters
    ----------
    console : rich.console.Console
        Where to print.
    title : str
        What stands above the table.
    header : list of str
        Names of the columns.
    rows : list of list of str
        The cells.
    """
    from rich.table import Table

    table = Table(title=title)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
