"""Where batches come from: a loader, a loader begun anew each time, samples drawn at will, or the component itself.

A source can begin an epoch at any batch, so that a resumed run goes on where the other one stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import islice
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from bem_core.config.base_config import ExperimentConfig
from bem_core.errors import ConfigError
from bem_core.training import checks
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
from bem_core.utils.seeding import rng_fence, rng_state, sample_seed, seed_everything, set_rng_state

Tree = dict[str, Any]
_log = logging.getLogger(__name__)


class Padding(NamedTuple):
    """A batch that counts nothing: this rank has no more samples but the others do."""

    batch: Any


class Source(Protocol):
    """What gives the trainer its batches.

    Attributes:
        num_batches: Batches of an epoch on this rank; None where it has no end, or none that is known.
        span: Samples that all ranks together take from the order of the epoch for a batch each; None where there is no
            such order, or only the loader knows it.
        whole_epochs: Whether a run can be resumed at the end of an epoch only.
        replays: Whether beginning inside an epoch needs the state of the generators at its beginning.
        endless: Whether an epoch never ends.
        generators: Those besides the global ones that its order depends on.
    """

    num_batches: int | None
    span: int | None
    whole_epochs: bool
    replays: bool
    endless: bool
    generators: Sequence[torch.Generator]

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return the batches of an epoch from number ``start`` on; loaders and workers are there when it returns.

        Args:
            epoch: Number of the epoch.
            start: Number of the first batch.
            rng: State of the generators at the beginning of the epoch; for a source that replays.
        """

    def close(self) -> None:
        """Give back what is only needed while batches come."""


class _Plain:
    """What most sources have in common."""

    span: int | None = None
    whole_epochs = False
    replays = False
    endless = False
    generators: Sequence[torch.Generator] = ()

    def close(self) -> None:
        """Give back what is only needed while batches come."""


class KeyedSource(_Plain):
    """A loader whose order and augmentation are functions of seed, epoch and sample; going to any batch is free.

    Args:
        loader: Its data set, batch size, collation and workers are used, its own order is not.
        batches: Which samples make up which batch.
        seed: Seed of augmentation and workers.
    """

    def __init__(self, loader: DataLoader[Any], batches: Batches, seed: int) -> None:
        self.num_batches: int | None = batches.count()
        self.span = batches.span
        self._sampler = KeyedSampler(batches)
        # Workers get their base seed from it and not from the global generator, which stays untouched.
        self._generator = torch.Generator()
        self._given, self._seed = loader, seed
        self._loader = self._make()

    def _make(self) -> DataLoader[Any]:
        loader, workers = self._given, self._given.num_workers
        masked = has_random_collation(loader.collate_fn)
        return DataLoader(
            KeyedDataset(loader.dataset, self._seed, is_random(loader.dataset), masked),
            batch_sampler=self._sampler,
            num_workers=workers,
            collate_fn=KeyedCollate(loader.collate_fn, self._seed) if masked else loader.collate_fn,
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

    def close(self) -> None:
        """End persistent workers, which a later process would inherit.

        Torch waits five seconds for each of them where they end together with a cycle of objects.
        """
        if self._given.persistent_workers:
            self._loader = self._make()

    def _marked(self, batches: Iterator[Any], start: int) -> Iterator[Any]:
        padded = self._sampler.padded
        for number, batch in enumerate(batches, start):
            padded = self._sampler.padded
            yield Padding(batch) if padded and number in padded else batch


class ReplayedSource(_Plain):
    """A loader as it is: its order comes from the global generators, as in most hand-written loops, or from its own.

    Beginning inside an epoch puts the generators back to its beginning and loads again what came before.

    Args:
        loader: A `DataLoader`, or anything that can be iterated over once an epoch.
    """

    replays = True

    def __init__(self, loader: Iterable[Any]) -> None:
        self.num_batches = _length(loader)
        self.generators = _generators(loader)
        self._loader = loader

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return the batches of an epoch from number ``start`` on."""
        # Samplers of torch draw from a generator of their own once more after the last sample.
        if not self.generators and self.num_batches is not None and start >= self.num_batches:
            return iter(())
        for part in (getattr(self._loader, "sampler", None), getattr(self._loader, "batch_sampler", None)):
            if set_epoch := getattr(part, "set_epoch", None):
                set_epoch(epoch)
        if start and rng is not None:
            restore_generators(self, rng)
        batches = iter(self._loader)
        for _ in islice(batches, start):
            pass
        return batches


class FreshSource(_Plain):
    """The first batch of a new pass each time: the same one without shuffling, a new permutation's with it.

    Args:
        loader: Is begun anew for each batch.
    """

    num_batches: int | None = None
    endless = True

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader
        self.generators = _generators(loader)

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return batches without end; the state of the generators says where they go on."""
        while True:
            yield next(iter(self._loader))


class SampledSource(_Plain):
    """Samples drawn with replacement from NumPy's global generator.

    Args:
        loader: Its data set, batch size and collation are used.
    """

    num_batches: int | None = None
    endless = True

    def __init__(self, loader: DataLoader[Any]) -> None:
        self._dataset: Any = loader.dataset
        self._collate: Callable[[list[Any]], Any] = loader.collate_fn
        self._size = loader.batch_size or 1

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return batches without end; the state of the generators says where they go on."""
        while True:
            chosen = np.random.choice(len(self._dataset), self._size, replace=True)
            yield self._collate([self._dataset[int(index)] for index in chosen])


class RolloutSource(_Plain):
    """Batches that a component gathers, such as episodes of a policy; an epoch is one call.

    Args:
        collect: Returns the batches of one epoch; it gets the number of the epoch.
    """

    num_batches: int | None = None
    # What it gathers depends on the weights, which are other ones in the middle of an epoch.
    whole_epochs = True

    def __init__(self, collect: Callable[[int], Iterable[Any]]) -> None:
        self._collect = collect

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return the batches of an epoch."""
        return checks.batches_of(self._collect(epoch), "_collect_rollout")


class KeptSource(_Plain):
    """The first batches of another source, over and over; which ones they are depends on the seed alone.

    Args:
        source: Where they come from.
        limit: How many.
        seed: Seed of the run.
    """

    def __init__(self, source: Source, limit: int, seed: int) -> None:
        self.num_batches: int | None = limit if source.num_batches is None else min(limit, source.num_batches)
        self._source, self._limit, self._seed = source, limit, seed
        self._kept: list[Any] | None = None

    def begin(self, epoch: int, start: int, rng: Tree | None) -> Iterator[Any]:
        """Return the batches from number ``start`` on."""
        if self._kept is None:
            with rng_fence():
                seed_everything(self._seed)
                self._kept = list(islice(self._source.begin(0, 0, None), self._limit))
        return iter(self._kept[start:])


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
        if limit:
            raise ConfigError("training.overfit_batches: rollouts cannot be kept, since they depend on the weights")
        return RolloutSource(collect)
    _check(loader)
    seed = config.training.seed
    # A class that iterates in a way of its own is used as it is.
    plain = isinstance(loader, DataLoader) and type(loader).__iter__ is DataLoader.__iter__
    if kind == "loader" and config.data.randomness == "keyed" and plain:
        batches = batches_of(loader, seed, ranks.rank, ranks.world, limit)
        if batches is not None:
            return KeyedSource(loader, batches, seed)
    source = _drawn(kind, loader)
    return KeptSource(source, limit, seed) if limit else source


def _drawn(kind: str, loader: Any) -> Source:
    if kind == "fresh_loader":
        return FreshSource(loader)
    if kind == "loader":
        if getattr(loader, "persistent_workers", False) and _draws(loader):
            _log.warning(
                "data.randomness: persistent workers draw on over the epochs from generators that no checkpoint holds, "
                "so a run that is resumed after the first epoch augments differently; keyed makes it exact"
            )
        return ReplayedSource(loader)
    if not isinstance(loader, DataLoader) or _length(loader.dataset) is None:
        raise ConfigError("training.batch_source: sampled needs a DataLoader whose data set has a length")
    return SampledSource(loader)


def _draws(loader: DataLoader[Any]) -> bool:
    return is_random(loader.dataset) or has_random_collation(loader.collate_fn)


def _check(loader: Any) -> None:
    if loader is None:
        raise ConfigError("there is no training data: setup_training got no loader, and _setup_dataloaders makes none")
    dataset = getattr(loader, "dataset", loader)
    if not isinstance(loader, Iterable):
        raise ConfigError(f"the training data is a {type(loader).__name__}, which cannot be iterated over")
    for part, name in ((dataset, "the training data set is empty"), (loader, "the training loader has no batches")):
        if _length(part) == 0:
            raise ConfigError(f"{name}: {type(dataset).__name__}{_file(dataset)} has {_length(dataset)} samples")


def _length(data: Any) -> int | None:
    """Return the length of a loader or data set; None where it has none."""
    try:
        return len(cast("Sized", data))
    except (TypeError, NotImplementedError):
        return None


def _generators(loader: Any) -> list[torch.Generator]:
    """Return the generators of a loader and its samplers, each once."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    parts = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    found = [getattr(part, "generator", None) for part in parts]
    return list({id(one): one for one in found if isinstance(one, torch.Generator)}.values())


def _file(dataset: Any) -> str:
    path = getattr(dataset, "path", None)
    return f" of {path}" if path else ""


def generator_state(source: Source) -> Tree:
    """Return the state of the global generators and of those of a source."""
    return rng_state() | {"loader": [one.get_state() for one in source.generators]}


def restore_generators(source: Source, state: Tree) -> None:
    """Put back what `generator_state` returned; a source with other generators keeps its own."""
    set_rng_state(state)
    if len(state["loader"]) == len(source.generators):
        for one, saved in zip(source.generators, state["loader"], strict=True):
            one.set_state(saved.cpu())


def epoch_rng(source: Source) -> Tree | None:
    """Return what a checkpoint needs to begin inside the epoch that starts now."""
    return generator_state(source) if source.replays else None
