"""From samples to batches: padding and stacking, batches of similar length, a split for validation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler, Subset, random_split

from bem_core.errors import DataError
from bem_core.utils.seeding import sample_generator

T = TypeVar("T")


def collate(
    samples: Sequence[Mapping[str, Any]], padding: Mapping[str, float] | None = None, multiple_of: int = 1
) -> dict[str, Any]:
    """Make one batch of samples with the same keys.

    Numbers become a tensor of shape ``(B,)`` (float32, int64 or bool), tensors and NumPy's arrays of equal shape are
    stacked, lists of numbers become a tensor of shape ``(B, L)``. Texts and everything else stay lists. As the
    ``collate_fn`` of a loader: ``functools.partial(collate, padding={"input_ids": 0, "labels": -100})``.

    Args:
        samples: At least one.
        padding: For lists and tensors of one dimension under these keys: what the shorter ones are filled with.
        multiple_of: The length of padded keys is rounded up to this.

    Raises:
        DataError: The values under a key do not go together; names it.
    """
    if not samples:
        raise DataError("a batch of no samples")
    keys = samples[0].keys()
    for number, sample in enumerate(samples):
        if sample.keys() != keys:
            wrong = min(map(str, sample.keys() ^ keys))
            raise DataError(f"{wrong!r}: only some samples of the batch have it (samples 0 and {number} differ)")
    padding = padding or {}
    return {key: _join(key, [sample[key] for sample in samples], padding.get(key), multiple_of) for key in keys}


def _join(key: str, values: list[Any], pad: float | None, multiple_of: int) -> Any:
    kinds = {_kind(value) for value in values}
    if len(kinds) > 1:
        names = " and ".join(sorted({type(value).__name__ for value in values}))
        raise DataError(f"{key!r}: {names} in one batch")
    (kind,) = kinds
    if kind == "number":
        return _tensor(key, values)
    if kind == "other" or (kind == "list" and not all(_holds_numbers(value) for value in values)):
        return values
    rows = [torch.as_tensor(value) if kind == "tensor" else _tensor(key, value) for value in values]
    return _stack(key, rows) if pad is None else _pad(key, rows, pad, multiple_of)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return "tensor"
    if isinstance(value, Real):
        return "number"
    return "list" if isinstance(value, list | tuple) else "other"


def _holds_numbers(value: Sequence[Any]) -> bool:
    return not value or isinstance(value[0], Real | list | tuple)


def _tensor(key: str, values: Sequence[Any]) -> Tensor:
    try:
        # Through NumPy, which takes a tenth of the time for long lists.
        array = np.array(values)
        dtype = {"i": torch.int64, "u": torch.int64, "f": torch.float32, "b": torch.bool}[array.dtype.kind]
    except (ValueError, KeyError, OverflowError):
        raise DataError(
            f"{key!r}: expected numbers, or lists of them with equal lengths inside, got {values!r:.80}"
        ) from None
    # Of an empty list nothing says that it holds no integers, and these are what is padded most.
    return torch.from_numpy(array).to(dtype if array.size else torch.int64)


def _stack(key: str, rows: list[Tensor]) -> Tensor:
    shapes = sorted({tuple(row.shape) for row in rows})
    if len(shapes) > 1:
        listed = ", ".join(str(list(shape)) for shape in shapes[:5])
        raise DataError(f"{key!r}: shapes {listed} in one batch, and no padding for this key")
    return torch.stack(_same_dtype(rows))


def _same_dtype(rows: list[Tensor]) -> list[Tensor]:
    """Return the rows with the type that all of them go into; empty ones have no say."""
    dtypes = {row.dtype for row in rows if row.numel()} or {rows[0].dtype}
    dtype = dtypes.pop()
    for other in dtypes:
        dtype = torch.promote_types(dtype, other)
    return [row.to(dtype) for row in rows]


def _pad(key: str, rows: list[Tensor], pad: float, multiple_of: int) -> Tensor:
    if any(row.dim() != 1 for row in rows):
        raise DataError(f"{key!r}: padding is for flat lists and tensors of one dimension")
    rows = _same_dtype(rows)
    longest = max(len(row) for row in rows)
    batch = torch.full((len(rows), -(-longest // multiple_of) * multiple_of), pad, dtype=rows[0].dtype)
    for target, row in zip(batch, rows, strict=True):
        target[: len(row)] = row
    return batch


class LengthBatches(Sampler[list[int]]):
    """Batches of samples of similar length, every sample once, in an order that seed and epoch alone decide.

    The samples are shuffled and cut into pools; each pool is sorted by length and cut into batches; the batches of all
    pools are shuffled. The larger a pool, the less is padded and the less random are the batches.

    Args:
        lengths: Length of each sample.
        batch_size: Samples in a batch; the last may have fewer.
        seed: Seed of the run.
        pool_batches: Batches in a pool.
        shuffle: Without it, pools are cut from the samples as they are and batches stay in order.
        drop_last: Whether a smaller batch is left out.

    Raises:
        DataError: There are no samples, or a size is not positive.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        *,
        seed: int = 0,
        pool_batches: int = 100,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("pool_batches", pool_batches), ("lengths", len(lengths))):
            if value < 1:
                raise DataError(f"{name}: expected at least 1, got {value}")
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.pool_batches = pool_batches
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; without it, every pass has that of epoch 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches, the same in every epoch."""
        count = len(self.lengths)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the numbers of the samples of each batch."""
        generator = sample_generator(self.seed, self.epoch, 0)
        count = len(self.lengths)
        order = torch.randperm(count, generator=generator) if self.shuffle else torch.arange(count)
        batches: list[Tensor] = []
        for pool in torch.split(order, self.batch_size * self.pool_batches):
            batches += torch.split(pool[self.lengths[pool].argsort(stable=True)], self.batch_size)
        if self.drop_last:
            batches = [batch for batch in batches if len(batch) == self.batch_size]
        turns = torch.randperm(len(batches), generator=generator) if self.shuffle else torch.arange(len(batches))
        return (batches[turn].tolist() for turn in turns.tolist())


def split_validation(dataset: Dataset[T], validation: float | int, seed: int = 0) -> tuple[Subset[T], Subset[T]]:
    """Split a data set at random, into a part for training and one for validation.

    Args:
        dataset: With a length.
        validation: A share between 0 and 1 if it is a float, a number of samples if it is an int.
        seed: What decides the split; global generators are left alone.

    Raises:
        DataError: One part would be empty.
    """
    total = len(dataset)  # type: ignore[arg-type]
    count = validation if isinstance(validation, int) else round(total * validation)
    if not 0 < count < total:
        raise DataError(f"validation: {validation!r} of {total} samples leaves a part without samples")
    training, validating = random_split(dataset, [total - count, count], sample_generator(seed, 0, 0))
    return training, validating
