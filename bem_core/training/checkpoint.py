"""Checkpoints without pickle: saved whole or not at all, checked when they are read."""

from bem_core.training.checkpoint_folder import CheckpointFolder, Entry
from bem_core.training.checkpoint_model import load_model_part, model_mismatch
from bem_core.training.checkpoint_store import load_tree, read_manifest, read_meta, save_tree

__all__ = [
    "CheckpointFolder",
    "Entry",
    "load_model_part",
    "load_tree",
    "model_mismatch",
    "read_manifest",
    "read_meta",
    "save_tree",
]
