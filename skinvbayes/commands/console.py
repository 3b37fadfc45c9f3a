"""What the commands print."""

from rich.console import Console
from rich.table import Table

__all__ = ["Printer"]

_WIDTH = 110


class Printer(Console):
    """Prints sentences and tables, 110 columns wide.

    A pipe that was closed raises a BrokenPipeError, as with ``print``.
    """

    def __init__(self):
        super().__init__(width=_WIDTH)

    def on_broken_pipe(self):
        """Raise the error that is being handled; rich would end the process."""
        raise

    def tell(self, text):
        """Print a sentence, or a path: brackets in it are no markup, and it is not broken."""
        self.print(text, markup=False, soft_wrap=True)

    def table(self, title, header, rows):
        """Print a table with figures aligned to the right.

        Parameters
        ----------
        title : str
            What stands above the table.
        header : list of str
            Names of the columns.
        rows : list of list of str
            The cells.
        """
        table = Table(title=title)
        for index, name in enumerate(header):
            table.add_column(name, justify="left" if index == 0 else "right")
        for row in rows:
            table.add_row(*row)
        self.print(table)
