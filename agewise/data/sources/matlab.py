"""MATLAB structs of label files as columns, read with SciPy, which only the `dev` extra brings."""

from __future__ import annotations

from typing import Any

import numpy as np

from agewise.data.sources.tree import SourceError, Tree


def struct(tree: Tree, name: str, variable: str) -> Any:
    """A variable of a .mat file as a NumPy record. Raises SourceError on another file or version 7.3 (HDF5)."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    where = f"{tree.root}: {name}"
    with tree.open(name) as stream:
        try:
            read = loadmat(stream, variable_names=[variable])
        except NotImplementedError as error:
            raise SourceError(f"{where} is MATLAB 7.3 (HDF5), which SciPy does not read; save it with -v7") from error
        except (MatReadError, ValueError, TypeError, KeyError, OSError, EOFError, IndexError) as error:
            raise SourceError(f"{where} is not a MATLAB file ({error})") from error
    if variable not in read or not getattr(read[variable].dtype, "names", None) or read[variable].size != 1:
        raise SourceError(f"{where} holds no struct {variable}")
    return read[variable].reshape(-1)[0]


def column(record: Any, name: str) -> list[Any]:
    """A field as a list of numbers, texts and arrays, whatever MATLAB wrapped them in; an empty cell is None."""
    if name not in record.dtype.names:
        raise SourceError(f"the struct has no field {name}; it has {', '.join(record.dtype.names)}")
    return [_bare(value) for value in record[name].reshape(-1)]


def _bare(value: Any) -> Any:
    while isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        value = value.reshape(-1)[0]
    if not isinstance(value, np.ndarray):
        return value
    if value.size == 0:
        return None
    return value.reshape(-1)[0] if value.size == 1 else value.reshape(-1)
