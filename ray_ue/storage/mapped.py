"""Files of numbers that are mapped into memory."""

import errno
import os
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

WITHOUT_ROOM = (errno.EOPNOTSUPP, errno.EINVAL)  # of file systems that cannot take room in advance


def new_mapped(path: Path, *, dtype: type[np.generic], shape: tuple[int, ...]) -> np.memmap:
    """A new `.npy` file of zeros, with all its room on the disk taken: where a disk becomes full under a mapped file, the system ends the
    process without a word. An `OSError` that names the file if there is not that much room; then no file is left."""
    mapped = open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    try:
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno in WITHOUT_ROOM:
            return mapped
        path.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error
    return mapped
