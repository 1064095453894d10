"""The trainings of the project's cases, made short: the old side recorded once, ours run in this process.

Both sides are made short in the same way, by constants of the modules that they share and by their own options, so that
the names and exceptions of the cases are in force.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import runpy
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migrate.verify.case_files import load_case
from migrate.verify.cases import Case
from migrate.verify.runner import Runner
from migrate.verify.trace.reader import Trace, read_trace

CASES = Path(__file__).parents[1] / "cases"


@dataclass(frozen=True, kw_only=True)
class Training:
    """A case, made short.

    Attributes:
        case: Name of its file.
        steps: Least number of steps of the trainer; optimizers of multipliers take more.
        constants: By module and name: what both sides read.
        old: Further words of the reference.
        ours: Further words of the candidate.
        settings: Options of the old multimodal trainer, in the file that both sides share.
        preparing: Further words of the first program that prepares what both sides read.
        seed: In place of that of the case, if it has one.
        number: Of the seed, from 0, the one that the case has.
    """

    case: str
    steps: int
    constants: dict[str, dict[str, Any]] = field(default_factory=dict)
    old: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    preparing: tuple[str, ...] = ()
    seed: int | None = None
    number: int = 0

    def seeded(self, number: int) -> Training:
        """Return the same training with another seed on both sides; where it goes on from a checkpoint, the same."""
        seed = 100 + number
        changes: dict[str, Any] = {"number": number}
        if not number or self.case.endswith("resumed"):
            return self
        if self.case.startswith("router"):
            changes["constants"] = {"router_task": self.constants["router_task"] | {"SEED": seed}}
        elif self.case == "safety":
            changes |= {"old": (*self.old, f"seed={seed}"), "ours": (*self.ours, f"seed={seed}")}
        elif self.case == "multimodal":
            # The images are encoded in the preparation, by an encoder that is drawn from the seed.
            changes |= {"preparing": (f"seed={seed}",), "ours": (*self.ours, f"seed={seed}")}
        else:
            changes["seed"] = seed
        return dataclasses.replace(self, **changes)

    def read(self) -> Case:
        """Return the case; it asks for no more steps than there are."""
        found = load_case(CASES / f"{self.case}.yaml")
        seeds = found.seeds if self.seed is None else [self.seed]
        return dataclasses.replace(found, steps=self.steps, seeds=seeds)

    def place(self, folder: Path) -> Path:
        """Return where its files are below a folder of all trainings."""
        return folder / (f"{self.case}.{self.number}" if self.number else self.case)

    def reference(self, folder: Path, level: str = "full") -> Trace:
        """Return what the old trainer did, recorded in a folder of its name if it is not there yet.

        Args:
            folder: Of all trainings.
            level: ``full``, or ``deep`` for the calls of all modules.

        Raises:
            RuntimeError: The old trainer failed.
        """
        place = self.place(folder)
        path = place / f"{level}.trace"
        if not path.exists():
            self._record(place, level)
        return read_trace(path)

    def _record(self, place: Path, level: str) -> None:
        case = self.read()
        if self.preparing:
            first, *others = case.prepare
            first = dataclasses.replace(first, command=[*first.command, *self.preparing])
            case = dataclasses.replace(case, prepare=[first, *others])
        runner = Runner(case, case.seeds[0], place)
        place.mkdir(parents=True, exist_ok=True)
        if not (runner.places(place).earlier or runner.shared).exists():
            runner.prepare()
            if self.settings:
                _change(runner.shared / "settings.json", self.settings)
        side = dataclasses.replace(case.reference, command=self._shortened(case.reference.command))
        recorded = runner.record(level, side, level=level)
        if recorded.finished.failure:
            raise RuntimeError(f"{self.case}: {recorded.finished.failure}\n{recorded.finished.tail[-2000:]}")

    def _shortened(self, command: list[str]) -> list[str]:
        """Return the command of a driver: it changes the constants, then runs the script."""
        at = next(number for number, word in enumerate(command) if word.endswith(".py"))
        lines = [
            f"import {module}; {module}.{name} = {value}"
            for module, values in self.constants.items()
            for name, value in values.items()
        ]
        script = "sys.argv = sys.argv[1:]; kept = runpy.run_path(sys.argv[0], run_name='__main__')"
        program = "\n".join(["import runpy, sys", *lines, script])
        words = [*command[at:], *self.old]
        return [*command[:at], "-c", program, *words]

    def run(self, folder: Path, out: Path) -> dict[str, Any]:
        """Run our trainer in this process.

        Args:
            folder: Of all trainings.
            out: For what it writes.

        Returns:
            The names of our driver, which hold what must live on.
        """
        case = self.read()
        for module, values in self.constants.items():
            for name, value in values.items():
                setattr(importlib.import_module(f"tests.parity.{module}"), name, value)
        out.mkdir(parents=True, exist_ok=True)
        seed = case.seeds[0]
        places = Runner(case, seed, self.place(folder)).places(out)
        words, _ = case.filled(case.candidate, seed, places, sys.executable)
        _, _, module, *given = words
        sys.argv = [module, *given, *self.ours]
        return runpy.run_module(module, run_name="__main__", alter_sys=True)

    @property
    def module(self) -> str:
        """Return the module of our driver."""
        return self.read().candidate.command[2]


def _change(file: Path, settings: dict[str, Any]) -> None:
    found = json.loads(file.read_text())
    own = {key: value for key, value in settings.items() if key in found}
    found["whole"] |= {key: value for key, value in settings.items() if key not in found}
    file.write_text(json.dumps(found | own))


def _perftrack(case: str) -> Training:
    # So few steps reach another norm.
    clip = {"PT1": 0.03, "PT2": 0.015, "PT3": 0.08, "PT4": 0.001}
    constants = {"perftrack_task": {"STEPS": 48, "EVERY": 7, "JOINT": 25, "CLIP": clip}}
    return Training(case=case, steps=48, constants=constants, ours=("save_steps=25",))


_MULTIMODAL = {"max_steps": 80, "warmup_steps": 12, "evaluation_steps": 30}

TRAININGS: dict[str, Training] = {
    one.case: one
    for one in (
        Training(case="router_bc", steps=40, constants={"router_task": {"EPOCHS": 2}}),
        Training(case="router_pg", steps=40, constants={"router_task": {"EPISODES": 3}}),
        Training(case="safety", steps=90, old=("epochs=3",), ours=("", "max_epochs=3")),
        Training(
            case="multimodal",
            steps=40,
            settings=_MULTIMODAL,
            ours=("max_steps=80", "warmup_steps=12", "eval_steps=30", "save_steps=30"),
        ),
        *map(_perftrack, ("pt1", "pt2", "pt3", "pt4")),
        Training(case="router_bc_resumed", steps=100),
        Training(case="safety_resumed", steps=60),
        Training(case="multimodal_resumed", steps=50),
        Training(case="pt4_resumed", steps=100),
    )
}
