"""Pickles of `torch.save`, read without running what is in them.

Old trainers pickle their own classes, so ``weights_only`` refuses such files. Here a class that is not known becomes an
inert record, which keeps what the pickle has for it and runs nothing.
"""

from __future__ import annotations

import functools
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from bem_core.errors import CheckpointError

_DTYPES = {str(kind).removeprefix("torch.") for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
# What plain values and tensors are made of; none of it runs code of the file.
_KNOWN = {
    "_codecs": {"encode"},
    "builtins": {"bytearray", "complex", "frozenset", "range", "set", "slice"},
    "collections": {"OrderedDict"},
    "numpy": {"dtype", "ndarray"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "torch": {"Size", "device", *_DTYPES},
    "torch._utils": {"_rebuild_parameter", "_rebuild_tensor_v2"},
    "torch.serialization": {"_get_layout"},
}


class Record:
    """What a pickle has for an object of a class that is not known: its arguments and its attributes."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Record:
        """Keep the arguments as ``args``; no constructor runs."""
        made = super().__new__(cls)
        made.__dict__["args"] = args
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        """Take over the attributes."""
        self.__dict__.update(state if isinstance(state, dict) else {"state": state})


@functools.cache
def _record_type(module: str, name: str) -> type[Record]:
    return type(name.rpartition(".")[2], (Record,), {"__module__": module})


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return a type or function that is known, or a type of inert records."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if name in _KNOWN.get(module, ()):
            return super().find_class(module, name)
        return _record_type(module, name)


def _load(file: Any, **kwargs: Any) -> Any:
    return _Unpickler(file, **kwargs).load()


def read_pickled(path: Path | str) -> dict[str, Any]:
    """Read a file of `torch.save` on the CPU.

    Returns:
        Its mapping; objects of other classes than tensors, numbers, texts and containers are a `Record`.

    Raises:
        CheckpointError: It cannot be read, or holds no mapping.
    """
    reader = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="pickle")
    try:
        found = torch.load(path, map_location="cpu", pickle_module=reader, weights_only=False)
    # A damaged pickle can fail anywhere.
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: it cannot be read as a checkpoint of torch.save: {first}") from error
    if not isinstance(found, Mapping):
        raise CheckpointError(f"{path}: expected a mapping with the state of a run, found {type(found).__name__}")
    return dict(found)
