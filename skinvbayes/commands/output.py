"""The folder that a command writes to, checked before hours of work."""

import os
from tempfile import TemporaryFile

__all__ = ["prepare_folder"]


def prepare_folder(folder, names):
    """Make a folder, and make sure that files of these names can be written there.

    Parameters
    ----------
    folder : Path
        The folder; what is missing of its path is made.
    names : list of str
        Names of the files.

    Raises
    ------
    OSError
        If something stands in the way; it names the path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        TemporaryFile(dir=folder).close()
    except OSError as error:
        error.filename = folder  # not that of the temporary file
        raise
    for path in (folder / name for name in names):
        if path.is_dir():
            raise IsADirectoryError(None, "a folder stands where a file is to be written", path)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(None, "this file must not be overwritten", path)
