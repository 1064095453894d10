"""What is to be run: experiments by name, a job for each of them and each seed, and what is in its folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bem_core.config import ExperimentConfig, load_experiment_config
from bem_core.config.merge import dotted, overlay
from bem_core.errors import BemError, ConfigError, nearest
from bem_core.training.run_folder import write_json

RECORD, RESULTS, CONSOLE = "job.json", "results.json", "console.log"
SUFFIXES = (".yml", ".yaml")
WAITING, RUNNING, FINISHED, FAILED, INTERRUPTED = "waiting", "running", "finished", "failed", "interrupted"


class ExperimentsError(BemError):
    """A series of experiments cannot be run as it was asked for."""


def find_experiments(folder: Path, patterns: Iterable[str]) -> dict[str, Path]:
    """Return the files of experiments by name, in the order in which the patterns name them.

    Args:
        folder: Holds them; the name of an experiment is its path in there without suffix.
        patterns: Names, or patterns as in a shell. One without a slash means files in the folder itself.

    Raises:
        ExperimentsError: The folder does not exist, patterns match nothing (all of them are named), or two files have
            the same name.
    """
    if not folder.is_dir():
        raise ExperimentsError(f"{folder}: there is no such folder of experiments")
    known = _names(folder)
    found: dict[str, Path] = {}
    problems = []
    for pattern in patterns:
        names = [one for one in known if fnmatchcase(one, pattern) and one.count("/") == pattern.count("/")]
        if not names:
            hint = nearest(pattern, known) or f"; there are {_some(known)}"
            problems.append(f"{folder}: no experiment matches {pattern!r}{hint}")
        for name in names:
            if len(known[name]) > 1:
                problems.append(f"{name}: which one of {', '.join(map(str, known[name]))}?")
            found[name] = known[name][0]
    if problems:
        raise ExperimentsError("\n".join(problems))
    return found


def _names(folder: Path) -> dict[str, list[Path]]:
    names: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in SUFFIXES and path.is_file():
            names.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return names


def _some(names: Iterable[str], most: int = 8) -> str:
    listed = [name for name in names if "/" not in name]
    return ", ".join([*listed[:most], *(["..."] if len(listed) > most else [])]) or "none"


@dataclass(frozen=True, slots=True)
class Job:
    """One experiment with one seed.

    Attributes:
        experiment: Its name.
        config: Its file.
        seed: In place of ``training.seed``.
        overrides: ``dotted.key=value`` each.
        folder: Of the run.
        settings: The experiment as it will be run.
    """

    experiment: str
    config: Path
    seed: int
    overrides: tuple[str, ...]
    folder: Path
    settings: ExperimentConfig = field(compare=False, repr=False)

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.experiment} seed {self.seed}"

    def chosen(self) -> dict[str, Any]:
        """Return what the experiment sets otherwise than the defaults, by dotted key.

        Results of other settings must not be taken for those of this job. Defaults are left out, so that one more
        option in a later version is no other setting.
        """
        found = _flat(overlay(ExperimentConfig().to_dict(), self.settings.to_dict()))
        plain: dict[str, Any] = json.loads(json.dumps(found, default=str))
        return plain

    def command(self, processes: int = 1, trainer: str | None = None) -> list[str]:
        """Return the command line of the run, which goes on from its newest checkpoint.

        Args:
            processes: How many share the run; `torchrun` starts them if there are several.
            trainer: ``package.module:Class`` in place of the component of the experiment.
        """
        start = [sys.executable, "-m", "bem_core.run"]
        if processes > 1:
            spread = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
            start = [sys.executable, "-m", *spread, "-m", "bem_core.run"]
        chosen = ["--trainer", trainer] if trainer else []
        options = ["--output-dir", str(self.folder), "--resume", "auto", *chosen]
        return [*start, str(self.config), *self.overrides, f"training.seed={self.seed}", *options]

    def read_record(self) -> dict[str, Any]:
        """Return what the queue wrote about the job; empty where it wrote nothing."""
        try:
            found: dict[str, Any] = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return found

    def write_record(self, status: str, **more: Any) -> None:
        """Write down how it stands with the job."""
        write_json(self.folder / RECORD, {"status": status, **more, "settings": self.chosen()})

    def status(self) -> str:
        """Return how it stands with the job, by what is in its folder."""
        if (self.folder / RESULTS).is_file():
            return FINISHED
        status: str = self.read_record().get("status", WAITING)
        return INTERRUPTED if status in (RUNNING, FINISHED) else status


def _flat(data: Any, path: tuple[Any, ...] = ()) -> dict[str, Any]:
    if not isinstance(data, dict) or not data:
        return {dotted(path): data} if path else {}
    return {key: value for name, below in data.items() for key, value in _flat(below, (*path, name)).items()}


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    absent = object()
    return sorted(key for key in one.keys() | other.keys() if one.get(key, absent) != other.get(key, absent))


def make_jobs(
    experiments: dict[str, Path], seeds: Sequence[int] | None, overrides: Sequence[str], output: Path
) -> list[Job]:
    """Return a job for each experiment and seed; all of them are loaded, so that none fails for its file later.

    Args:
        experiments: Files by name.
        seeds: By default ``training.seeds`` of each experiment, else its ``training.seed``.
        overrides: For all of them.
        output: Gets a folder for each experiment, with one for each seed in it.

    Raises:
        ExperimentsError: It has the problems of all experiments.
    """
    jobs, problems = [], []
    for name, path in experiments.items():
        try:
            jobs += _jobs_of(name, path, seeds, tuple(overrides), output / name)
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ExperimentsError("\n".join(dict.fromkeys(problems)))
    return jobs


def _jobs_of(name: str, path: Path, seeds: Sequence[int] | None, overrides: tuple[str, ...], folder: Path) -> list[Job]:
    if not seeds:
        training = load_experiment_config(path, overrides).training
        seeds = training.seeds or [training.seed]
    unique = dict.fromkeys(seeds)
    loaded = {seed: load_experiment_config(path, [*overrides, f"training.seed={seed}"]) for seed in unique}
    return [Job(name, path, seed, overrides, folder / f"seed-{seed}", loaded[seed]) for seed in unique]


def check_baseline(baseline: str | None, names: Sequence[str]) -> None:
    """See that the baseline is one of the experiments.

    Raises:
        ExperimentsError: It is not.
    """
    if baseline is not None and baseline not in names:
        hint = nearest(baseline, names) or f"; there are {', '.join(names)}"
        raise ExperimentsError(f"--baseline: {baseline!r} is none of the experiments{hint}")


def check_folders(jobs: Iterable[Job], resume: bool) -> None:
    """See that the folders of jobs hold nothing, or what the same jobs left there.

    Raises:
        ExperimentsError: They do not; it names each of them.
    """
    problems = []
    held = 0
    for job in jobs:
        if not job.folder.is_dir() or not any(job.folder.iterdir()):
            continue
        held += 1
        record = job.read_record()
        if not record:
            problems.append(f"{job.folder}: holds something that was not made by a series of experiments")
        elif other := _differing(record.get("settings", {}), job.chosen()):
            problems.append(f"{job.folder}: holds a run of {job.name} with another {', '.join(other)}")
    if problems:
        raise ExperimentsError("\n".join([*problems, "choose another --output-dir"]))
    if held and not resume:
        raise ExperimentsError(
            f"{held} of these runs have been started before; --resume goes on with them and leaves out those that are "
            "finished, or choose another --output-dir"
        )
