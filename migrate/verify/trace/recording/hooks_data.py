"""Hooks on loaders and samplers."""

from __future__ import annotations

import weakref
from collections import deque
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter

from .digests import digest
from .numbering import ByIdentity
from .patching import Patches
from .recorder import Recorder

_MOST_INDICES = 256


class Loaders:
    """Knows which loader an iterator is of, and which samples its next batches are made of."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.numbers: ByIdentity[int] = ByIdentity()
        self.waiting: ByIdentity[deque[Any]] = ByIdentity()

    def begin(self, loader: Any) -> None:
        """Forget what the iterator of persistent workers has left, and watch the generators of the loader."""
        iterator = getattr(loader, "_iterator", None)
        if iterator is not None:
            self.waiting.drop(iterator)
        index = self.recorder.numbers.of("loader", loader)
        self._watch(f"loader:{index}", loader, loader.generator)
        self._watch(f"sampler:{index}", loader, getattr(loader.sampler, "generator", None))

    def _watch(self, name: str, loader: Any, generator: Any) -> None:
        named = self.recorder.generators.named
        if isinstance(generator, torch.Generator) and all(one is not generator for one in named.values()):
            named[name] = generator
            weakref.finalize(loader, named.pop, name, None)

    def begun(self, loader: Any, iterator: Any) -> None:
        """Note that a loader is iterated over, which draws a seed from its generator."""
        index = self.recorder.numbers.of("loader", loader)
        if isinstance(iterator, _BaseDataLoaderIter):
            self.numbers.set(iterator, index)
        self.recorder.event("iter", f"iter:{index}")

    def batch(self, iterator: Any, batch: Any) -> None:
        """Note a batch that a loader gave."""
        index = self.numbers.get(iterator)
        waiting = self.waiting.get(iterator)
        indices = waiting.popleft() if waiting else None
        if index is not None and self.recorder.event("batch", f"batch:{index}"):
            in_order = getattr(iterator, "_in_order", True)
            found = {"loader": index, "digest": digest(batch), "indices": _short(indices) if in_order else None}
            self.recorder.now["batches"].append(found)


def _short(indices: Any) -> Any:
    if isinstance(indices, list | tuple) and len(indices) <= _MOST_INDICES:
        if all(type(one) is int for one in indices):
            return list(indices)
        if all(one is None for one in indices):  # of an iterable data set
            return None
    return digest(indices)


def install(recorder: Recorder, patches: Patches) -> None:
    """Install the hooks."""
    loaders = Loaders(recorder)
    patches.method(DataLoader, "__iter__", partial(_iter, recorder, loaders))
    patches.method(_BaseDataLoaderIter, "__next__", partial(_next, recorder, loaders))
    patches.method(_BaseDataLoaderIter, "_next_index", partial(_next_index, recorder, loaders))


def _iter(recorder: Recorder, loaders: Loaders, original: Any) -> Any:
    def __iter__(self: Any) -> Any:
        recorder.expected.add("batch")
        recorder.guarded(loaders.begin, self)
        iterator = original(self)
        recorder.guarded(loaders.begun, self, iterator)
        return iterator

    return __iter__


def _next(recorder: Recorder, loaders: Loaders, original: Any) -> Any:
    def __next__(self: Any) -> Any:
        batch = original(self)
        recorder.guarded(loaders.batch, self, batch)
        return batch

    return __next__


def _next_index(recorder: Recorder, loaders: Loaders, original: Any) -> Any:
    def _next_index(self: Any) -> Any:
        index = original(self)
        if recorder.active:
            waiting = loaders.waiting.get(self)
            (loaders.waiting.set(self, deque()) if waiting is None else waiting).append(index)
        return index

    return _next_index
