"""The part of a checkpoint that each rank writes for itself, in a folder inside of it.

`torch.distributed.checkpoint` plans, writes and reads, in the safetensors format of Hugging Face, whose files say which
part of which tensor they hold: so nothing is pickled, and any number of ranks can read it. The manifest of the
checkpoint has the digest of each file.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from bem_core.errors import CheckpointError
from bem_core.training.checkpoint_staging import sync_folder
from bem_core.training.checkpoint_store import SHARDS
from bem_core.training.distributed import Ranks

Keys = tuple[Any, ...]
_CHUNK_BYTES = 1 << 24


def write_shards(folder: Path, shards: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Any]:
    """Write the shards of all ranks; each of them has to call it.

    Args:
        folder: The checkpoint in work, which all ranks see.
        shards: Sharded tensors by name.
        ranks: The processes.

    Returns:
        Size and digest of each file, by its path in the checkpoint.

    Raises:
        CheckpointError: A rank cannot write; on all ranks.
    """
    unseen = [rank for rank, seen in enumerate(ranks.gather(folder.is_dir())) if not seen]
    if unseen:
        raise CheckpointError(
            f"{folder.parent}: rank {unseen[0]} does not see it; output.checkpoint_format: sharded needs a folder that "
            "all machines share"
        )
    place = folder / SHARDS
    try:
        save(dict(shards), storage_writer=HuggingFaceStorageWriter(str(place), save_distributed=True))
    except CheckpointException as error:
        raise CheckpointError(f"{folder.parent}: {_first(error)}") from error
    # The library numbers the files by rank, from 1.
    mine = sorted(place.glob(f"shard-{ranks.rank + 1:05d}-*"))
    entries = {f"{SHARDS}/{file.name}": {"bytes": file.stat().st_size, "xxh3_128": _digest(file)} for file in mine}
    found = {name: entry for part in ranks.gather(entries) for name, entry in part.items()}
    if ranks.is_main:
        sync_folder(place)
    return found


def _first(error: CheckpointException) -> str:
    rank, (cause, _) = next(iter(error.failures.items()))
    reason = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else str(cause)
    return f"rank {rank} cannot save its part of the checkpoint: {reason}; what was there is unchanged"


def check_shards(path: Path, files: Mapping[str, Any]) -> None:
    """See that all shards are what was saved.

    Args:
        path: The checkpoint.
        files: Those of its manifest.

    Raises:
        CheckpointError: One is not.
    """
    for name, entry in files.items():
        if name.startswith(f"{SHARDS}/") and _digest(path / name) != entry["xxh3_128"]:
            raise CheckpointError(f"{path / name}: damaged: not what was saved")


def _digest(file: Path) -> str:
    digest = xxhash.xxh3_128()
    try:
        with file.open("rb", buffering=0) as content:
            while chunk := content.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()


def add_shards(path: Path, tree: dict[str, Any], empty: Callable[[Keys, torch.Size, torch.dtype], Tensor]) -> None:
    """Add the tensors to a tree that its part `SHARDS` names; no rank waits for another.

    Args:
        path: The checkpoint, whose files were checked.
        tree: As `load_tree` returns it without shards; it loses the part.
        empty: Returns a tensor to fill, spread over the ranks in any way or not at all.

    Raises:
        CheckpointError: A shard cannot be read, or lacks something.
    """
    targets = {}
    for keys, name, shape, dtype in tree.pop(SHARDS):
        targets[name] = empty(tuple(keys), torch.Size(shape), getattr(torch, dtype))
        *above, last = keys
        place: dict[Any, Any] = tree
        for key in above:
            place = place.setdefault(key, {})
        place[last] = targets[name]
    _fill(path, targets)


def _fill(path: Path, targets: Mapping[str, Tensor]) -> None:
    place = path / SHARDS
    if not place.is_dir():
        raise CheckpointError(f"{place}: is not there; sharded checkpoints need a folder that all machines share")
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # It says that each process reads for itself, which is meant.
            warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
            load(dict(targets), storage_reader=HuggingFaceStorageReader(str(place)), no_dist=True)
    except CheckpointException as error:
        cause = next(iter(error.failures.values()))[0]
        raise CheckpointError(f"{place}: cannot be read: {cause}") from error
