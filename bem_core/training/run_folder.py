"""The folder of a run: what it was made with, and whether there is already a run in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from bem_core.config.base_config import ExperimentConfig
from bem_core.errors import TrainingError
from bem_core.utils.environment import describe_environment

CHECKPOINTS = "checkpoints"
CONFIG = "config.yaml"
# What a run leaves that another one would write over.
_RESULTS = ("metrics.jsonl", ".metrics.jsonl", "metrics.csv", "results.json", CHECKPOINTS)


def check_unused(folder: Path) -> None:
    """See that a new run would not write over the results of another one.

    Raises:
        TrainingError: It would.
    """
    try:
        held = [name for name in _RESULTS if _has_content(folder / name)]
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be read: {error.strerror or error}") from error
    if held:
        raise TrainingError(
            f"{folder}: holds a run already ({', '.join(held)}); resume it (--resume auto, or resume_from('auto')), "
            "or choose another output_dir"
        )


def _has_content(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.is_file() and path.stat().st_size > 0


def write_description(folder: Path, config: ExperimentConfig, run: dict[str, Any]) -> None:
    """Write what a run was made with: ``config.yaml``, ``sources.json``, ``environment.json`` and ``run.json``.

    Args:
        folder: Made where it is missing.
        config: The whole of it is written, defaults included; it loads to an equal one. ``sources.json`` says for each
            value that was set in which file and line.
        run: What else to write down, such as the component and the seed.

    Raises:
        TrainingError: The folder cannot be written to.
    """
    text = yaml.safe_dump(config.to_dict(), sort_keys=False, allow_unicode=True)
    files = {CONFIG: text, "sources.json": _json(config.sources), "run.json": _json(run)}
    files["environment.json"] = _json(describe_environment())
    for name, content in files.items():
        _write(folder / name, content)


def write_json(path: Path, data: Any) -> None:
    """Write JSON in the place of what is there, whole or not at all.

    Raises:
        TrainingError: The folder, which is made where it is missing, cannot be written to.
    """
    _write(path, _json(data))


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise TrainingError(f"{path.parent}: cannot be written to: {error.strerror or error}") from error


def _json(data: Any) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n"
