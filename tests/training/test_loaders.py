"""Data of every form that a user's loader may give."""

from __future__ import annotations

from collections import UserDict, defaultdict, namedtuple
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, Sampler, TensorDataset, WeightedRandomSampler, default_collate

from bem_core.training.batches import KeyedSource, ReplayedSource
from bem_core.utils.data import LengthBatches
from bem_core.utils.device import move
from bem_core.utils.digest import digest
from tests.training.test_resume import Noisy
from tests.training.trainers import Classifier, Watch, dataset, loaders, prepared, trained, weights

SIZE = 20
BATCHES = 5


class Stream(IterableDataset[Any]):
    """Samples in the order of the global generator; workers take turns."""

    def __iter__(self) -> Iterator[Any]:
        info = torch.utils.data.get_worker_info()
        data, order = dataset(SIZE), torch.randperm(SIZE, generator=torch.Generator().manual_seed(3))
        mine = order if info is None else order[info.id :: info.num_workers]
        return (data[int(index)] for index in mine)


class Backwards(Sampler[int]):
    """A user's own order."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(SIZE - 1, -1, -1))

    def __len__(self) -> int:
        return SIZE


class Twice(DataLoader[Any]):
    """A loader that gives each batch twice."""

    def __iter__(self) -> Any:
        return (batch for batch in super().__iter__() for _ in range(2))

    def __len__(self) -> int:
        return 2 * super().__len__()


class Batched(TensorDataset):
    """A data set whose items are batches."""

    def __getitem__(self, index: int) -> Any:
        return tuple(one[index * 4 : index * 4 + 4] for one in self.tensors)

    def __len__(self) -> int:
        return SIZE // 4


def as_dict(samples: list[Any]) -> dict[str, Tensor]:
    features, labels = default_collate(samples)
    return {"features": features, "labels": labels}


def as_user_dict(samples: list[Any]) -> UserDict[str, Tensor]:
    """As tokenizers of transformers make them: a mapping that is no dict."""
    return UserDict(as_dict(samples))


Pair = namedtuple("Pair", "features labels")


def as_pair(samples: list[Any]) -> Pair:
    return Pair(*default_collate(samples))


class Any_(Classifier):
    """Takes batches of each kind."""

    seen: list[str]

    def _forward(self, batch: Any) -> Any:
        return self.wrapped_model(batch["features"] if isinstance(batch, Mapping) else batch[0])

    def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
        self.seen = [*getattr(self, "seen", []), digest(batch)]
        return {"loss": functional.cross_entropy(outputs, batch["labels"] if isinstance(batch, Mapping) else batch[1])}


def lengths() -> list[int]:
    return [int(one) for one in torch.randint(1, 9, (SIZE,), generator=torch.Generator().manual_seed(1))]


def weighted() -> Any:
    return WeightedRandomSampler([1.0] * 10 + [5.0] * 10, SIZE, generator=torch.Generator().manual_seed(2))


LOADERS: dict[str, Any] = {
    "iterable data set": lambda: DataLoader(Stream(), batch_size=4),
    "iterable data set, two workers": lambda: DataLoader(
        Stream(), batch_size=4, num_workers=2, multiprocessing_context="fork"
    ),
    "own sampler": lambda: DataLoader(dataset(SIZE), batch_size=4, sampler=Backwards()),
    "sampler with replacement and a generator": lambda: DataLoader(dataset(SIZE), batch_size=4, sampler=weighted()),
    "batches of similar length": lambda: DataLoader(dataset(SIZE), batch_sampler=LengthBatches(lengths(), 4, seed=5)),
    "no batches": lambda: DataLoader(Batched(*dataset(SIZE).tensors), batch_size=None, shuffle=True),
    "a list": lambda: list(DataLoader(dataset(SIZE), batch_size=4)),
    "a class of its own": lambda: Twice(dataset(SIZE), batch_size=8, shuffle=True),
    "mappings": lambda: DataLoader(dataset(SIZE), batch_size=4, shuffle=True, collate_fn=as_dict),
    "mappings that are no dict": lambda: DataLoader(dataset(SIZE), batch_size=4, shuffle=True, collate_fn=as_user_dict),
    "named tuples": lambda: DataLoader(dataset(SIZE), batch_size=4, shuffle=True, collate_fn=as_pair),
    "a generator of its own": lambda: DataLoader(
        dataset(SIZE), batch_size=4, shuffle=True, generator=torch.Generator().manual_seed(1)
    ),
    "persistent workers": lambda: DataLoader(
        Noisy(), batch_size=4, shuffle=True, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    ),
}
# Sources that end an epoch in the middle of nothing and have to replay it.
REPLAYED = {name for name in LOADERS if name.startswith(("iter", "own", "sampler", "no ", "a list", "a class"))}


@pytest.mark.parametrize("randomness", ["keyed", "global"])
@pytest.mark.parametrize("name", LOADERS)
def test_each_loader_trains_and_goes_on_exactly(tmp_path: Path, name: str, randomness: str) -> None:
    """Three epochs at once, and in three parts, one of which ends with an epoch."""
    if randomness == "global" and name == "persistent workers":
        pytest.skip("workers that live on keep generators that no checkpoint holds; there is a warning")

    def run(folder: str, steps: int) -> Any:
        sections = {"data": {"randomness": randomness}}
        options: dict[str, Any] = {"scheduler_type": "none", "eval_strategy": "no", "gradient_accumulation_steps": 1}
        data = (LOADERS[name](), None)
        trainer, _ = prepared(tmp_path / folder, Any_, data=data, sections=sections, max_steps=steps, **options)
        trainer.resume_from("auto")
        trainer.train()
        return trainer

    whole = run("whole", 3 * BATCHES)
    parts = [run("parts", steps) for steps in (3, 2 * BATCHES, 3 * BATCHES)]
    assert [one for part in parts for one in part.seen] == whole.seen
    assert weights(parts[-1].model) == weights(whole.model)
    keyed = randomness == "keyed" and name not in REPLAYED
    assert type(whole.source) is (KeyedSource if keyed else ReplayedSource)
    assert parts[-1].samples_seen == whole.samples_seen


def test_a_spawned_worker_gives_what_a_forked_one_gives(tmp_path: Path) -> None:
    def run(context: str) -> list[Any]:
        extra: dict[str, Any] = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": context}
        return order(tmp_path / context, DataLoader(Noisy(), batch_size=4, shuffle=True, **extra))

    assert run("spawn") == run("fork")


def test_workers_that_live_on_and_draw_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def told(name: str, randomness: str) -> bool:
        caplog.clear()
        prepared(tmp_path, Any_, data=(LOADERS[name](), None), sections={"data": {"randomness": randomness}})
        return "persistent workers draw on" in caplog.text

    assert told("persistent workers", "global")
    assert not told("persistent workers", "keyed")
    assert not told("own sampler", "global")


def order(folder: Path, loader: Any, randomness: str = "keyed", **options: Any) -> list[Any]:
    """The labels of all batches of three epochs."""
    seen = []

    class Seen(Any_):
        def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
            seen.append(batch[0].sum().item())
            return super()._compute_loss(batch, outputs)

    sections = {"data": {"randomness": randomness}}
    given: dict[str, Any] = {"max_steps": None, "max_epochs": 3, "save_strategy": "no"} | options
    trained(folder, Seen, data=(loader, None), sections=sections, **given)
    return seen


def test_each_epoch_has_another_order_and_all_samples(tmp_path: Path) -> None:
    seen = order(tmp_path, loaders(SIZE)[0])
    assert len(set(seen)) == 3 * BATCHES
    whole = float(dataset(SIZE).tensors[0].sum())
    assert [sum(seen[at : at + BATCHES]) for at in (0, 5, 10)] == pytest.approx([whole] * 3, abs=1e-4)


def test_the_order_depends_on_the_seed_and_not_on_the_workers(tmp_path: Path) -> None:
    def run(seed: int, **kwargs: Any) -> list[Any]:
        return order(tmp_path / f"{seed}{len(kwargs)}", loaders(SIZE, **kwargs)[0], seed=seed)

    first = run(1)
    assert run(1, num_workers=2, multiprocessing_context="fork") == first != run(2)


@pytest.mark.parametrize("randomness", ["keyed", "global"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: loaders(SIZE)[0],
        LOADERS["batches of similar length"],
        LOADERS["sampler with replacement and a generator"],
        LOADERS["iterable data set"],
    ],
    ids=["shuffled", "similar length", "replacement", "iterable"],
)
def test_the_same_few_batches_are_used_over_and_over(tmp_path: Path, make: Any, randomness: str) -> None:
    seen = order(tmp_path, make(), randomness, overfit_batches=2)
    assert seen == seen[:2] * 3
    assert len(set(seen)) == 2


@pytest.mark.parametrize("source", ["fresh_loader", "sampled"])
def test_batches_that_are_drawn_can_be_kept_too(tmp_path: Path, source: str) -> None:
    options: dict[str, Any] = {"batch_source": source, "overfit_batches": 3, "max_steps": 9, "max_epochs": None}
    seen = order(tmp_path, loaders(SIZE)[0], **options)
    assert seen == seen[:3] * 3
    assert len(set(seen)) == 3


def test_a_model_learns_the_batches_that_it_is_given_over_and_over(tmp_path: Path) -> None:
    _, watch = trained(tmp_path, overfit_batches=2, max_steps=150, learning_rate=0.02, eval_strategy="no")
    assert sum(watch.losses[-10:]) / 10 < 0.2 < watch.losses[0]


def test_augmentation_in_a_class_of_the_users_own_is_keyed_too(tmp_path: Path) -> None:
    """A class that is derived from the plain one of torch may do anything."""

    class Augmented(TensorDataset):
        def __getitem__(self, index: int) -> Any:
            features, label = super().__getitem__(index)
            return features + torch.randn(features.shape), label

    def run(workers: int) -> list[Any]:
        extra: dict[str, Any] = {"num_workers": workers, "multiprocessing_context": "fork"} if workers else {}
        loader = DataLoader(Augmented(*dataset(SIZE).tensors), batch_size=4, shuffle=True, **extra)
        return order(tmp_path / str(workers), loader)

    assert run(0) == run(2)


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(torch.ones(2), id="tensor"),
        pytest.param({"x": torch.ones(2), "name": "a"}, id="dict"),
        pytest.param(UserDict(x=torch.ones(2), name="a"), id="mapping"),
        pytest.param(defaultdict(list, x=torch.ones(2)), id="defaultdict"),
        pytest.param([torch.ones(2), {"x": (torch.ones(1), None)}], id="nested"),
        pytest.param(Pair(torch.ones(2), 5), id="named tuple"),
    ],
)
def test_batches_move_with_all_that_is_in_them_and_keep_their_type(batch: Any) -> None:
    moved = move(batch, torch.device("meta"))
    devices = set()

    def look(value: Any) -> None:
        if isinstance(value, Tensor):
            devices.add(value.device.type)
        for one in value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ():
            look(one)

    look(moved)
    assert devices == {"meta"}
    assert type(moved) is type(batch)
    devices.clear()
    look(batch)
    assert devices == {"cpu"}


class Frozen(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return {"x": torch.ones(1)}[key]

    def __iter__(self) -> Iterator[str]:
        return iter(["x"])

    def __len__(self) -> int:
        return 1


def test_a_mapping_that_cannot_be_changed_becomes_a_dict() -> None:
    moved = move(Frozen(), torch.device("meta"))
    assert moved["x"].device.type == "meta"


def test_batches_are_fetched_for_a_whole_window_before_any_is_used(tmp_path: Path) -> None:
    log: list[str] = []

    class Loud(Any_):
        def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
            log.append("use")
            return super()._compute_loss(batch, outputs)

    def fetch(samples: Any) -> Any:
        log.append("fetch")
        return default_collate(samples)

    loader = DataLoader(dataset(12), batch_size=2, collate_fn=fetch)
    options: dict[str, Any] = {"gradient_accumulation_steps": 3, "max_steps": 2, "save_strategy": "no"}
    trained(tmp_path, Loud, data=(loader, None), **options)
    assert log == ["fetch"] * 3 + ["use"] * 3 + ["fetch"] * 3 + ["use"] * 3


def test_numpy_and_texts_in_a_batch_stay_what_they_are(tmp_path: Path) -> None:
    class Texts(Classifier):
        def _setup_model(self) -> nn.Module:
            return nn.Linear(1, 1)

        def _forward(self, batch: Any) -> Any:
            return self.wrapped_model(torch.tensor([[float(len(one))] for one in batch["text"]]))

        def _compute_loss(self, batch: Any, outputs: Any) -> dict[str, Any]:
            assert isinstance(batch["array"], np.ndarray)
            return {"loss": outputs.square().mean()}

    data = [{"text": ["a", "bc"], "array": np.ones(2)}] * 3
    _, watch = trained(tmp_path, Texts, data=(data, None), max_steps=6, gradient_accumulation_steps=2)
    assert isinstance(watch, Watch)
    assert len(watch.losses) == 6
