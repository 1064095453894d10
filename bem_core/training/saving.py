"""The checkpoints of a run, on one rank or many: who writes, who reads, and that all go on from the same one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bem_core.errors import CheckpointError
from bem_core.training.checkpoint import load_model_part, load_tree
from bem_core.training.checkpoint_store import SHARDS
from bem_core.training.foreign import restore_foreign
from bem_core.training.parallel import is_sharded
from bem_core.training.persistence import load_state_tree, state_tree

if TYPE_CHECKING:
    from bem_core.training.base_trainer import BaseTrainer
    from bem_core.training.distributed import Ranks

_log = logging.getLogger(__name__)
Tree = dict[str, Any]


def save(trainer: BaseTrainer, best: bool) -> Path | None:
    """Save everything that a run needs to go on; all ranks have to call it.

    Returns:
        Where it is, or will be; None on ranks that do not write the names and plain values.

    Raises:
        CheckpointError: A rank cannot save; on all ranks.
    """
    ranks, tree = trainer.ranks, state_tree(trainer)
    shards: dict[str, Any] = {}
    if is_sharded(trainer.model):
        # One process needs none of it, and it takes long to import.
        from bem_core.training.sharding import split, whole

        if trainer.config.output.checkpoint_format == "sharded":
            tree, shards, index = split(tree)
            tree[SHARDS] = index
        tree = whole(tree, ranks)
    metric = trainer.progress.best if best else None
    # None leaves what is known of this step as it is, where it was saved before.
    write = partial(trainer.checkpoints.save, trainer.progress.step, tree, metric, best or None)
    path = None
    with ranks.together():
        if shards:
            path = _save_shards(write, shards, ranks)
        elif ranks.is_main:
            path = write()
    return path


def _save_shards(write: Callable[..., Path], shards: dict[str, Any], ranks: Ranks) -> Path | None:
    from bem_core.training.checkpoint_shards import write_shards

    if not ranks.is_main:
        place = ranks.broadcast(None)
        if place is not None:
            write_shards(Path(place), shards, ranks)
        return None
    told = False

    def more(place: Path) -> dict[str, Any]:
        nonlocal told
        told = True
        return write_shards(Path(ranks.broadcast(str(place))), shards, ranks)

    try:
        return write(more=more)
    finally:
        if not told:
            ranks.broadcast(None)


def restore(trainer: BaseTrainer, source: Path | str) -> None:
    """Put a run back to a checkpoint; all ranks have to call it, and only the first one needs to see the files.

    Args:
        trainer: Set up.
        source: A checkpoint, a file that the component's old trainer wrote, or ``auto`` for the newest one of the run
            that is whole; without any nothing is done.

    Raises:
        CheckpointError: It is damaged, or of another model or run; or none of those of the run is whole.
    """
    if source != "auto" and Path(source).is_file():
        restore_foreign(trainer, Path(source))
        return
    # A run that was ended before it saved anything begins anew, in its own folder.
    trainer.owns_folder |= source == "auto"
    found = _read(trainer, source)
    if found is None:
        return
    load_state_tree(trainer, found[1], found[0])
    if found[0].resolve().parent == trainer.checkpoints.root.resolve():
        trainer.owns_folder, trainer.saved_at = True, trainer.progress.step
    if source == "auto":
        _log.info("resumed from %s", found[0])


def restore_best(trainer: BaseTrainer) -> None:
    """Load the weights of the best checkpoint, where there is one; all ranks have to call it."""
    best = None
    with trainer.ranks.together():
        if trainer.ranks.is_main:
            trainer.checkpoints.wait()
            best = trainer.checkpoints.best()
    path = trainer.ranks.broadcast(None if best is None else best.path)
    found = None if path is None else _read(trainer, path, ["model"])
    if found is not None:
        load_model_part(trainer.model, found[1]["model"], found[0])


def _read(trainer: BaseTrainer, source: Path | str, parts: Collection[str] | None = None) -> tuple[Path, Tree] | None:
    """Return a checkpoint, with its tensors spread as the model is; the first rank decides which one ``auto`` is."""
    ranks = trainer.ranks
    place = "cpu" if ranks.spread else trainer.device
    path, tree = None, None
    with ranks.together():
        if ranks.is_main and source == "auto":
            found = trainer.checkpoints.load_latest(place, parts, shards=not ranks.spread)
            path, tree = (found[0].path, found[1]) if found else (None, None)
            if found is None and trainer.checkpoints.names():
                raise CheckpointError(f"{trainer.checkpoints.root}: none of the checkpoints in it is whole")
        elif ranks.is_main:
            path, tree = Path(source), load_tree(source, place, parts, shards=not ranks.spread)
    if not ranks.spread:
        return None if path is None or tree is None else (path, tree)
    path = ranks.broadcast(path)
    return None if path is None else (path, _spread(trainer, path, tree))


def _spread(trainer: BaseTrainer, path: Path, tree: Tree | None) -> Tree:
    from bem_core.training.checkpoint_shards import add_shards
    from bem_core.training.sharding import Layout, deal

    layout = Layout(trainer.model, trainer.device)
    dealt = deal(tree, trainer.ranks, layout)
    with trainer.ranks.together():
        if SHARDS in dealt:
            add_shards(path, dealt, layout.empty)
    return dealt


def check_source(trainer: BaseTrainer, path: Path | str) -> None:
    """See that a checkpoint to resume from is there; all ranks have to call it.

    Raises:
        CheckpointError: It is not.
    """
    with trainer.ranks.together():
        if trainer.ranks.is_main and path != "auto" and not Path(path).exists():
            raise CheckpointError(
                f"{path}: there is no such checkpoint; 'auto' takes the newest of {trainer.checkpoints.root}"
            )
