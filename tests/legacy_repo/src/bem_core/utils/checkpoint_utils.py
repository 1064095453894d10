"""Checkpoints on disk."""

import glob
import os
import shutil
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import torch


def save_checkpoint(state_dict: Dict[str, Any], checkpoint_path: Union[str, Path], is_best: bool = False) -> None:
    path = Path(checkpoint_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state_dict, path)
    if is_best:
        shutil.copyfile(path, path.parent / "best_model.pt")


def load_checkpoint(
    checkpoint_path: Union[str, Path], device: Optional[torch.device] = None, strict: bool = True
) -> Dict[str, Any]:
    if strict and not os.path.exists(checkpoint_path):
        raise FileNotFoundError(f"no checkpoint at {checkpoint_path}")
    return torch.load(checkpoint_path, map_location=device or "cpu", weights_only=False)


def list_checkpoints(checkpoint_dir: Union[str, Path], pattern: str = "checkpoint-*.pt") -> List[Path]:
    found = [Path(name) for name in glob.glob(os.path.join(str(checkpoint_dir), pattern))]
    return sorted(found, key=lambda path: path.stat().st_mtime)


def find_latest_checkpoint(checkpoint_dir: Union[str, Path], pattern: str = "checkpoint-*.pt") -> Optional[Path]:
    found = list_checkpoints(checkpoint_dir, pattern)
    return found[-1] if found else None


def cleanup_checkpoints(
    checkpoint_dir: Union[str, Path],
    keep_last_n: int = 3,
    pattern: str = "checkpoint-*.pt",
    preserve_best: bool = True,
) -> None:
    for path in list_checkpoints(checkpoint_dir, pattern)[:-keep_last_n]:
        if not (preserve_best and "best" in path.name):
            path.unlink()


def get_checkpoint_info(checkpoint_path: Union[str, Path]) -> Dict[str, Any]:
    state = load_checkpoint(checkpoint_path)
    return {"keys": sorted(state), "global_step": state.get("global_step"), "size": os.path.getsize(checkpoint_path)}


def resume_from_checkpoint(
    checkpoint_path: Union[str, Path],
    model: torch.nn.Module,
    optimizer: Optional[torch.optim.Optimizer] = None,
    scheduler: Optional[Any] = None,
    device: Optional[torch.device] = None,
) -> Dict[str, Any]:
    state = load_checkpoint(checkpoint_path, device)
    model.load_state_dict(state["model_state_dict"])
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer_state_dict"])
    if scheduler is not None:
        scheduler.load_state_dict(state["scheduler_state_dict"])
    return state
