"""How many rows are worked on at once, and how large matrices may be: the memory stays bounded."""

__all__ = [
    "BASIS_ENTRIES",
    "MATRIX_FEATURES",
    "MOST_ENTRIES",
    "MOST_ROWS",
    "MOST_VECTORS",
    "chunk_size",
    "slices",
]

MATRIX_FEATURES = 1000  # matrices of features by features are formed of no more

MOST_ROWS = 4096  # rows worked on at once, ...
MOST_ENTRIES = 2**22  # ... fewer where their matrices or tables have more entries than this
MOST_VECTORS = 1024  # vectors that are multiplied by matrices known through products only
BASIS_ENTRIES = 2**18  # entries of the vectors for which Lanczos' method keeps up to 300 others


def chunk_size(row_entries):
    """The number of rows to work on at once, at least one.

    Parameters
    ----------
    row_entries : int
        How many numbers are kept for each row.
    """
    return max(1, min(MOST_ROWS, MOST_ENTRIES // row_entries))


def slices(n_rows, size):
    """Slices of this size, the last one perhaps shorter, that cover the rows.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    size : int
        Rows in each slice; at least one is taken.
    """
    size = max(1, size)
    return [slice(start, start + size) for start in range(0, n_rows, size)]
