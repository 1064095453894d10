"""Where batches come from: a loader, a loader begun anew each time, samples drawn at will, or the component itself.

A source can begin an epoch at any batch, so that a resumed run goes on where the other one stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from bem_core.config.base_config import ExperimentConfig
from bem_core.errors import ConfigError
from bem_core.training.distributed import Ranks
from bem_core.training.samples import (
    Batches,
    KeyedCollate,
    KeyedDataset,
    KeyedSampler,
    batches_of,
    has_random_collation,
    is_random,
)
from bem_core.utils.seeding import rng_state, sample_seed, set_rng_state

Tree = dict[str, Any]


class Padding(NamedTuple):
    """A batch that counts nothing: this rank has no more samples but the others do."""

    batch: Any


class Source(Protocol):
    """What gives the trainer its batches.

    Attributes:
        num_batches: Batches of an epoch on this rank; None where it has no end, or none that is known.
        whole_epochs: Whether a run can be resumed at the end of an epoch only.
        replays: Whether beginning inside an epoch needs the state of the generators at its beginning.
    """

    num_batches: int | None
    whole_epochs: bool
    replays: bool

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return the batches of an epoch from number ``start`` on; loaders and workers are there when it returns.

        Args:
            epoch: Number of the epoch.
            start: Number of the first batch.
            rng: State of the generators at the beginning of the epoch; for a source that replays.
        """


class KeyedSource:
    """A loader whose order and augmentation are functions of seed, epoch and sample; going to any batch is free.

    Args:
        loader: Its data set, batch size, collation and workers are used, its own order is not.
        batches: Which samples make up which batch.
        seed: Seed of augmentation and workers.
    """

    whole_epochs = False
    replays = False

    def __init__(self, loader: DataLoader[Any], batches: Batches, seed: int) -> None:
        self.num_batches: int | None = batches.count()
        self._sampler = KeyedSampler(batches)
        # Workers get their base seed from it and not from the global generator, which stays untouched.
        self._generator = torch.Generator()
        self._seed = seed
        workers = loader.num_workers
        masked = has_random_collation(loader.collate_fn)
        self._loader: DataLoader[Any] = DataLoader(
            KeyedDataset(loader.dataset, seed, is_random(loader.dataset), masked),
            batch_sampler=self._sampler,
            num_workers=workers,
            collate_fn=KeyedCollate(loader.collate_fn, seed) if masked else loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=loader.worker_init_fn,
            multiprocessing_context=loader.multiprocessing_context,
            generator=self._generator,
            prefetch_factor=loader.prefetch_factor if workers else None,
            persistent_workers=loader.persistent_workers,
        )

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return the batches of an epoch from number ``start`` on."""
        self._sampler.epoch, self._sampler.start = epoch, start
        self._generator.manual_seed(sample_seed(self._seed, epoch, start))
        return self._marked(iter(self._loader), start)

    def _marked(self, batches: Iterator[Any], start: int) -> Iterator[Any]:
        padded = self._sampler.padded
        for number, batch in enumerate(batches, start):
            padded = self._sampler.padded
            yield Padding(batch) if padded and number in padded else batch


class ReplayedSource:
    """A loader as it is: its order comes from the global generators, as in most hand-written loops.

    Beginning inside an epoch puts the generators back to its beginning and loads again what came before.

    Args:
        loader: A `DataLoader`, or anything that can be iterated over once an epoch.
        limit: Batches of an epoch at most; 0 for all.
    """

    whole_epochs = False
    replays = True

    def __init__(self, loader: Iterable[Any], limit: int = 0) -> None:
        try:
            count: int | None = len(cast("Sized", loader))
        except TypeError:
            count = None
        self.num_batches = min(count, limit) if count is not None and limit else count
        self._loader, self._limit = loader, limit

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return the batches of an epoch from number ``start`` on."""
        if self.num_batches is not None and start >= self.num_batches:
            return iter(())
        for part in (getattr(self._loader, "sampler", None), getattr(self._loader, "batch_sampler", None)):
            if set_epoch := getattr(part, "set_epoch", None):
                set_epoch(epoch)
        if start and rng is not None:
            set_rng_state(rng)
        batches = iter(self._loader)
        for _ in islice(batches, start):
            pass
        return islice(batches, self._limit - start) if self._limit else batches


class FreshSource:
    """The first batch of a new pass each time: the same one without shuffling, a new permutation's with it.

    Args:
        loader: Is begun anew for each batch.
    """

    num_batches: int | None = None
    whole_epochs = False
    replays = False

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return batches without end; the state of the generators says where they go on."""
        while True:
            yield next(iter(self._loader))


class SampledSource:
    """Samples drawn with replacement from NumPy's global generator.

    Args:
        loader: Its data set, batch size and collation are used.
    """

    num_batches: int | None = None
    whole_epochs = False
    replays = False

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._dataset: Any = loader.dataset
        self._collate: Callable[[list[Any]], Any] = loader.collate_fn
        self._size = loader.batch_size or 1

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return batches without end; the state of the generators says where they go on."""
        while True:
            chosen = np.random.choice(len(self._dataset), self._size, replace=True)
            yield self._collate([self._dataset[int(index)] for index in chosen])


class RolloutSource:
    """Batches that a component gathers, such as episodes of a policy; an epoch is one call.

    Args:
        collect: Returns the batches of one epoch; it gets the number of the epoch.
    """

    num_batches: int | None = None
    # What it gathers depends on the weights, which are other ones in the middle of an epoch.
    whole_epochs = True
    replays = False

    def __init__(self, collect: Callable[[int], Iterable[Any]]) -> None:
        self._collect = collect

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return the batches of an epoch."""
        return iter(self._collect(epoch))


def make_source(config: ExperimentConfig, loader: Any, collect: Callable[[int], Iterable[Any]], ranks: Ranks) -> Source:
    """Return the source that ``training.batch_source`` and ``data.randomness`` ask for.

    Args:
        config: The experiment.
        loader: The training loader; None with rollouts only.
        collect: Gathers a rollout.
        ranks: Which part of the data this process gets.

    Raises:
        ConfigError: There is no data, or the loader does not fit the source.
    """
    kind, limit = config.training.batch_source, config.training.overfit_batches
    if kind == "rollout":
        return RolloutSource(collect)
    _check(loader)
    if kind == "fresh_loader":
        return FreshSource(loader)
    if kind == "sampled":
        if not isinstance(loader, DataLoader):
            raise ConfigError("training.batch_source: sampled needs a DataLoader, whose data set has a length")
        return SampledSource(loader)
    if config.data.randomness == "keyed" and isinstance(loader, DataLoader):
        batches = batches_of(loader, config.training.seed, ranks.rank, ranks.world, limit)
        if batches is not None:
            return KeyedSource(loader, batches, config.training.seed)
    return ReplayedSource(loader, limit)


def _check(loader: Any) -> None:
    if loader is None:
        raise ConfigError("there is no training data: setup_training got no loader, and _setup_dataloaders makes none")
    dataset = getattr(loader, "dataset", loader)
    for part, name in ((dataset, "the training data set is empty"), (loader, "the training loader has no batches")):
        try:
            size = len(part)
        except TypeError:
            continue
        if size == 0:
            raise ConfigError(f"{name}: {type(dataset).__name__}{_file(dataset)} has {len(dataset)} samples")


def _file(dataset: Any) -> str:
    path = getattr(dataset, "path", None)
    return f" of {path}" if path else ""


def epoch_rng(source: Source) -> Tree | None:
    """Return what a checkpoint needs to begin inside the epoch that starts now."""
    return rng_state() if source.replays else None
