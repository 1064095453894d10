"""Measure what a training step of each component costs, beside one of the trainer that it replaces; see README.md.

Each run is a process of its own, on one thread; a pair has one run of either side. A hook on the optimizer reads the
CPU time at each step, so set-up, evaluation at the beginning and the first steps do not count, on both sides alike.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import _component_router
import _component_safety
from _component_multimodal import multimodal_new, multimodal_old

ROOT = Path(__file__).resolve().parents[1]
# The old packages are `src.bem2`, so that both sides can have the base model of `bem_core`.
OLD_PATH = os.pathsep.join(map(str, (ROOT / "tests/legacy_repo", ROOT)))
WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Case:
    """A training on both sides.

    Attributes:
        component: Which one.
        goal: What the ratio should be at most.
        old: Trains for a number of steps with the old trainer, in a folder.
        new: The same with ours.
    """

    component: str
    goal: float
    old: Callable[[int, Path], object]
    new: Callable[[int, Path], object]


def main() -> int:
    """Print the ratio of each case; exit code 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--component", action="append", choices=sorted({case.component for case in CASES.values()}))
    parser.add_argument("--case", action="append", choices=CASES, help="only this (may be repeated)")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="steps of a run")
    parser.add_argument("--json", type=Path, help="write all figures here")
    parser.add_argument("--run", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run(*args.run, args.steps)))
        return 0
    wanted = [name for name, case in CASES.items() if not args.component or case.component in args.component]
    figures = {name: measure(name, args.pairs, args.steps) for name in args.case or wanted}
    show(figures)
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return int(any(one["ratio"] > one["goal"] for one in figures.values()))


def run(name: str, side: str, steps: int) -> float:
    """Do one run in this process; return the median CPU time of a step, in ms."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    torch.set_num_threads(1)
    times: list[float] = []
    hook = register_optimizer_step_post_hook(lambda *_: times.append(time.process_time()))
    with tempfile.TemporaryDirectory() as folder:
        getattr(CASES[name], side)(steps, Path(folder))
    hook.remove()
    between = [1000 * (after - before) for before, after in pairwise(times)]
    return median(between[WARM_UP:])


def measure(name: str, pairs: int, steps: int) -> dict[str, float]:
    """Return the medians of both sides and of the ratios of the pairs."""
    found: dict[str, list[float]] = {"old": [], "new": []}
    for number in range(pairs):
        for side in ("old", "new") if number % 2 else ("new", "old"):
            found[side].append(in_process(name, side, steps))
    ratios = [new / old for old, new in zip(found["old"], found["new"], strict=True)]
    medians = {f"{side}_ms": median(values) for side, values in found.items()}
    return {**medians, "ratio": median(ratios), "lowest": min(ratios), "highest": max(ratios), "goal": CASES[name].goal}


def in_process(name: str, side: str, steps: int) -> float:
    """Do one run in a process of its own."""
    path = OLD_PATH if side == "old" else str(ROOT)
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "ignore", str(Path(__file__)), "--run", name, side, "--steps", str(steps)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}, {side}: {done.stderr[-2000:]}")
    return float(done.stdout.splitlines()[-1])


def show(figures: dict[str, dict[str, float]]) -> None:
    """Print a table."""
    print(f"{'case':28}{'old ms':>9}{'new ms':>9}{'ratio':>8}  {'of pairs':14}{'goal':>6}")
    for name, one in figures.items():
        spread = f"{one['lowest']:.2f} to {one['highest']:.2f}"
        print(f"{name:28}{one['old_ms']:9.2f}{one['new_ms']:9.2f}{one['ratio']:8.2f}  {spread:14}{one['goal']:6.2f}")


# Performance track: SVDs of activations and of weights in each old step.

_PERFTRACK = {"vocab_size": 256, "hidden_size": 512, "intermediate_size": 1024, "num_layers": 1, "context_length": 64}
_BATCH = 8
_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "PT1": ("head_gating", {}),
    "PT2": ("dynamic_rank_mask", {}),
    "PT3": ("kronecker", {"u_dim": 32, "v_dim": 32}),
    "PT4": ("residual_film", {}),
}


def _tokens(seed: int) -> Any:
    import torch

    generator = torch.Generator().manual_seed(seed)
    return torch.randint(_PERFTRACK["vocab_size"], (64, _PERFTRACK["context_length"]), generator=generator)


def perftrack_old(variant: str, steps: int, folder: Path) -> None:
    """Train a variant with the old trainer."""
    import importlib

    from src.bem2.perftrack.lm_wrapper import PTLanguageModel
    from src.bem2.perftrack.training import PTTrainer, PTTrainingConfig
    from torch.utils.data import DataLoader, TensorDataset

    from bem_core.models.tiny import TinyConfig, TinyDecoder

    modules = {"PT1": "pt1_head_gating.HeadGroupGatingConfig", "PT2": "pt2_dynamic_mask.DynamicRankMaskConfig"}
    modules |= {"PT3": "pt3_kronecker.KroneckerConfig", "PT4": "pt4_residual_film.ResidualFiLMConfig"}
    module, name = modules[variant].split(".")
    config = getattr(importlib.import_module(f"src.bem2.perftrack.{module}"), name)(**_VARIANTS[variant][1])
    model = PTLanguageModel(TinyDecoder(TinyConfig(**_PERFTRACK)), variant, config)
    data, held_out = (TensorDataset(one, one.roll(-1, 1)) for one in (_tokens(0), _tokens(1)[:_BATCH]))
    trainer = PTTrainer(PTTrainingConfig(max_steps=steps, eval_steps=10**6, save_steps=10**6, logging_steps=10**6))
    loaders = DataLoader(data, _BATCH, shuffle=True), DataLoader(held_out, _BATCH)
    trainer.train_variant(model, *loaders, variant, folder)


def perftrack_new(variant: str, pooling: str, steps: int, folder: Path) -> None:
    """Train a variant with ours, with the loop of the old one.

    The old controllers see the mean over the whole sequence; ``prefix`` computes one for each position.
    """
    from torch.utils.data import DataLoader

    from bem2.perftrack.data import TokenSequences
    from bem2.perftrack.unified_trainer import PerformanceTrainer
    from bem_core.utils.batching import collate

    section, settings = _VARIANTS[variant]
    config = {
        "name": variant,
        "experiment_type": "performance",
        "variant_id": variant,
        "compat": "legacy",
        "model": {"base_model": "tiny", **_PERFTRACK},
        "training": {"max_steps": steps, "learning_rate": 5e-4, "eval_steps": 10**6, "save_strategy": "no"},
        "hardware": {"device": "cpu"},
        "perftrack": {"pooling": pooling},
        section: settings,
    }
    trainer = PerformanceTrainer(config, folder / "run")
    loader = DataLoader(TokenSequences(_tokens(0)), _BATCH, shuffle=True, collate_fn=collate)
    held_out = DataLoader(TokenSequences(_tokens(1)[:_BATCH]), _BATCH, collate_fn=collate)
    trainer.setup_training(loader, held_out)
    trainer.train()


CASES: dict[str, Case] = {}
for _variant in _VARIANTS:
    for _goal, _pooling in ((0.5, "sequence"), (1.0, "prefix")):
        CASES[f"perftrack {_variant} {_pooling}"] = Case(
            "perftrack", _goal, partial(perftrack_old, _variant), partial(perftrack_new, _variant, _pooling)
        )

CASES |= {name: Case("router", *sides) for name, sides in _component_router.CASES.items()}
CASES["multimodal"] = Case("multimodal", 1.0, multimodal_old, multimodal_new)
CASES["safety"] = Case("safety", 1.0, _component_safety.old, _component_safety.new)


if __name__ == "__main__":
    sys.exit(main())
