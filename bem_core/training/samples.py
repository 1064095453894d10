"""The order of samples: which of them make up each batch of an epoch, on each rank, from any place on."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
    default_convert,
)

from bem_core.utils.batching import collate as padded
from bem_core.utils.seeding import sample_seed

Key = tuple[int, int]


class Batches(Protocol):
    """Index batches of any epoch: a function of the epoch alone.

    Attributes:
        span: What a batch on each rank takes from the order of the epoch.
    """

    span: int

    def count(self) -> int:
        """Return the batches of one epoch, the same on each rank."""

    def of(self, epoch: int, start: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch from number ``start`` on; an empty one where a rank has nothing to do."""


class ShuffledBatches:
    """Batches of samples in order, or in an order that depends on seed and epoch.

    Ranks split each global batch, so that all ranks together see what one process with a batch ``world`` times as large
    sees, in the same order.

    Args:
        size: Number of samples.
        batch_size: Samples of a batch on one rank.
        shuffle: Whether the order is random.
        drop_last: Whether the samples of an incomplete last batch are left out.
        seed: Seed of the order.
        rank: This process.
        world: Number of processes.
        limit: Batches of an epoch at most; 0 for all.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        shuffle: bool,
        drop_last: bool = False,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        limit: int = 0,
    ) -> None:
        self._size, self._batch, self._shuffle, self._drop = size, batch_size, shuffle, drop_last
        self._seed, self._rank, self._world, self._limit = seed, rank, world, limit
        self.span = batch_size * world

    def count(self) -> int:
        """Return the batches of one epoch, the same on each rank."""
        whole, rest = divmod(self._size, self.span)
        count = whole + bool(rest and not self._drop)
        return min(count, self._limit) if self._limit else count

    def of(self, epoch: int, start: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch from number ``start`` on; an empty one where a rank has nothing to do."""
        order = self._order(epoch)
        for number in range(start, self.count()):
            part = order[number * self.span : (number + 1) * self.span]
            # An incomplete batch is spread evenly, so that no rank waits for the others.
            share = -(-len(part) // self._world)
            chosen = part[self._rank * share : (self._rank + 1) * share]
            yield chosen if isinstance(chosen, list) else chosen.tolist()

    def _order(self, epoch: int) -> Any:
        if not self._shuffle:
            return _Range(self._size)
        generator = torch.Generator().manual_seed(sample_seed(self._seed, epoch, self._size))
        return torch.randperm(self._size, generator=generator)


class _Range:
    """The numbers from 0 on, sliced into lists without being held."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __getitem__(self, part: slice) -> list[int]:
        return list(range(*part.indices(self._size)))


class EpochBatches:
    """The batches of a batch sampler with ``set_epoch``, dealt to the ranks in turn.

    Args:
        sampler: Yields lists of indices, the same ones each time it is given the same epoch.
        rank: This process.
        world: Number of processes.
        limit: Batches of an epoch at most; 0 for all.
    """

    def __init__(self, sampler: Any, rank: int = 0, world: int = 1, limit: int = 0) -> None:
        self._sampler, self._rank, self._world, self._limit = sampler, rank, world, limit
        self.span = world

    def count(self) -> int:
        """Return the batches of one epoch, the same on each rank."""
        count = -(-len(self._sampler) // self._world)
        return min(count, self._limit) if self._limit else count

    def of(self, epoch: int, start: int) -> Iterator[list[int]]:
        """Yield the batches of an epoch from number ``start`` on; an empty one where a rank has nothing to do."""
        # A limit is for learning the same batches by heart.
        self._sampler.set_epoch(0 if self._limit else epoch)
        batches: list[list[int]] = list(self._sampler)
        mine = batches[self._rank :: self._world]
        for number in range(start, self.count()):
            yield mine[number] if number < len(mine) else []


def batches_of(loader: DataLoader[Any], seed: int, rank: int, world: int, limit: int) -> Batches | None:
    """Return the batches that a loader makes, keyed by epoch; None where only the loader knows their order."""
    if getattr(loader.batch_sampler, "set_epoch", None):
        return EpochBatches(loader.batch_sampler, rank, world, limit)
    sampler, dataset = loader.sampler, loader.dataset
    plain = type(sampler) is SequentialSampler or (type(sampler) is RandomSampler and not sampler.replacement)
    if type(loader.batch_sampler) is not BatchSampler or not plain or loader.batch_size is None:
        return None
    size = len(cast("Sized", dataset))
    if type(sampler) is RandomSampler and sampler.num_samples != size:
        return None
    shuffle = type(sampler) is RandomSampler and not limit
    return ShuffledBatches(
        size,
        loader.batch_size,
        shuffle=shuffle,
        drop_last=loader.drop_last,
        seed=seed,
        rank=rank,
        world=world,
        limit=limit,
    )


class KeyedSampler:
    """A batch sampler for a loader: the batches of the epoch that it is set to, as keys for `KeyedDataset`.

    Where this rank has nothing left, it repeats the first sample, since each rank has to take part in each batch;
    `padded` tells which batches those are.

    Args:
        batches: Says which samples make up which batch.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.epoch = 0
        self.start = 0
        self.padded: set[int] = set()

    def __len__(self) -> int:
        """Return the batches of a whole epoch."""
        return self._batches.count()

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield the batches from `start` on."""
        self.padded = set()
        for number, batch in enumerate(self._batches.of(self.epoch, self.start), self.start):
            if not batch:
                self.padded.add(number)
            yield [(self.epoch, index) for index in batch or [0]]


class KeyedDataset(Dataset[Any]):
    """A data set whose random augmentation depends on seed, epoch and sample, not on who loads it and when.

    Args:
        dataset: Has ``__getitem__``.
        seed: Seed of the run.
        augmented: Whether loading a sample may draw random numbers, on the CPU. Plain tensors and lists do not, and are
            spared the time that seeding takes.
        with_keys: Whether a sample comes with its key, for `KeyedCollate`.
    """

    def __init__(self, dataset: Any, seed: int, augmented: bool, with_keys: bool = False) -> None:
        self.dataset = dataset
        self._seed, self._augmented, self._with_keys = seed, augmented, with_keys
        if hasattr(dataset, "__getitems__") and not augmented and not with_keys:
            self.__getitems__ = self._many

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Any:
        """Return a sample of an epoch, with its key where that is asked for."""
        return (key, self._load(key)) if self._with_keys else self._load(key)

    def _load(self, key: Key) -> Any:
        epoch, index = key
        if not self._augmented:
            return self.dataset[index]
        with _seeded(sample_seed(self._seed, epoch, index)):
            return self.dataset[index]

    def _many(self, keys: Sequence[Key]) -> Any:
        return self.dataset.__getitems__([index for _, index in keys])


class KeyedCollate:
    """A collation whose random choices, such as masking, depend on seed, epoch and the first sample of the batch.

    Args:
        collate: Makes a batch of samples.
        seed: Seed of the run.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], seed: int) -> None:
        self._collate, self._seed = collate, seed

    def __call__(self, samples: list[tuple[Key, Any]]) -> Any:
        """Return a batch of samples that come with their keys."""
        epoch, index = samples[0][0]
        with _seeded(sample_seed(self._seed + 1, epoch, index)):
            return self._collate([sample for _, sample in samples])


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the generators of the host, and put them back afterwards."""
    saved = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.default_generator.manual_seed(seed)
        yield
    finally:
        random.setstate(saved[0])
        np.random.set_state(saved[1])
        torch.set_rng_state(saved[2])


def has_random_collation(collate: Any) -> bool:
    """Tell whether a collation may draw random numbers: all but torch's own and what says ``deterministic``."""
    while isinstance(collate, partial):
        collate = collate.func
    return collate not in (default_collate, default_convert, padded) and not getattr(collate, "deterministic", False)


def is_random(dataset: Any) -> bool:
    """Tell whether loading a sample may draw random numbers: all but tensors, lists and what says ``deterministic``."""
    if type(dataset) is torch.utils.data.Subset:
        return is_random(dataset.dataset)
    # Not those that are derived from them, which may augment what they hold.
    return not (type(dataset) in (TensorDataset, list, tuple) or getattr(dataset, "deterministic", False))
