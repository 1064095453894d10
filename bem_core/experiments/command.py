"""The command line of ``scripts/utilities/run_bem_experiments.py``.

What it runs is imported when it is run, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bem_core.command_line import Command
from bem_core.errors import BemError

if TYPE_CHECKING:
    from bem_core.experiments.jobs import Job
    from bem_core.experiments.launchers import Launcher
    from bem_core.experiments.queue import Task
    from bem_core.experiments.summary import Summary

_FAILED = 1


class Words(click.ParamType[Any]):
    """Texts with commas between them."""

    name = "words"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the texts."""
        words = [word.strip() for word in value.split(",") if word.strip()]
        return words or self.fail(f"{value!r} has no name in it", param, ctx)


class Seeds(Words):
    """Whole numbers with commas between them; ``1-5`` are five."""

    name = "seeds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:  # type: ignore[override]
        """Return the numbers."""
        found: list[int] = []
        for word in super().convert(value, param, ctx):
            low, dash, high = word.partition("-")
            if not low.isdecimal() or (dash and not high.isdecimal()) or (dash and int(high) < int(low)):
                self.fail(f"{word!r} is no seed; expected numbers such as 1,2,3 or 1-5", param, ctx)
            found += range(int(low), int(high or low) + 1)
        return found


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--experiments", required=True, type=Words(), metavar="NAMES", help="As in v1_dynrank,v2_*.")
@click.option("--seeds", type=Seeds(), help="As in 1,2,3 or 1-5; else training.seeds of each, else training.seed.")
@click.option("--experiments-dir", default="experiments", show_default=True, type=click.Path(path_type=Path))
@click.option("--output-dir", default="runs", show_default=True, type=click.Path(path_type=Path))
@click.option("--jobs", type=click.IntRange(1), help="Runs at the same time; else 1, and with slurm all.")
@click.option("--launcher", type=click.Choice(["local", "slurm"]), default="local", show_default=True)
@click.option("--gpus-per-run", type=click.IntRange(0), default=0, help="GPUs that each run has for itself.")
@click.option("--processes-per-run", type=click.IntRange(1), help="Started by torchrun; else one for each GPU.")
@click.option("--slurm-option", "slurm_options", multiple=True, metavar="KEY=VALUE", help="As in slurm_partition=gpu.")
@click.option(
    "--slurm-cluster", default="slurm", show_default=True, type=click.Choice(["slurm", "local"]), help="local: try out."
)
@click.option("--baseline", metavar="NAME", help="What the other experiments are compared with.")
@click.option(
    "--test",
    type=click.Choice(["permutation", "t", "wilcoxon"]),
    default="permutation",
    show_default=True,
    help="Paired, over seeds; t shows more with few seeds, if the differences are near normal.",
)
@click.option("--resume", is_flag=True, help="Go on with what is in the output folder.")
@click.option("--retry-failed", is_flag=True, help="With --resume: run again what failed.")
@click.option("--trainer", metavar="MODULE:CLASS", help="The trainer, in place of the components of the experiments.")
@click.option("--plots/--no-plots", default=True, help="Whether the HTML file has figures; they need the extra plots.")
@click.option("--dry-run", is_flag=True, help="Print the commands; start and write nothing.")
@click.pass_context
def main(ctx: click.Context, /, **options: Any) -> None:
    """Run experiments, each with several seeds, and summarise them; KEY=VALUE sets a value in all of them.

    Each run has a folder OUTPUT/EXPERIMENT/seed-N. summary.json, summary.md and summary.html are in OUTPUT.
    Ctrl-C lets the runs save and end; --resume goes on with them.

    Exit codes: 0 all done; 1 a run failed or a quality gate did; 2 an error; 130, 138, 143 stopped by a signal.
    """
    jobs = _jobs(options)
    if options["dry_run"]:
        _print_commands(jobs, options)
        return
    code, summary = _run(jobs, options)
    ctx.exit(_exit_code(summary) if code is None else code)


def _jobs(options: dict[str, Any]) -> list[Job]:
    from bem_core.components import find_entry
    from bem_core.experiments import jobs

    found = jobs.find_experiments(options["experiments_dir"], options["experiments"])
    jobs.check_baseline(options["baseline"], list(found))
    made = jobs.make_jobs(found, options["seeds"], options["overrides"], options["output_dir"])
    if options["trainer"] is None:
        for kind in dict.fromkeys(job.settings.experiment_type for job in made):
            find_entry(kind)
    return made


def _processes(options: dict[str, Any]) -> int:
    return int(options["processes_per_run"] or max(options["gpus_per_run"], 1))


def _print_commands(jobs: list[Job], options: dict[str, Any]) -> None:
    import shlex

    for job in jobs:
        click.echo(f"{job.status():<12}{shlex.join(job.command(_processes(options), options['trainer']))}")


def _run(jobs: list[Job], options: dict[str, Any]) -> tuple[int | None, Summary]:
    from rich.console import Console

    from bem_core.experiments import plots
    from bem_core.experiments.jobs import check_folders
    from bem_core.experiments.queue import Queue, make_tasks
    from bem_core.experiments.view import View

    check_folders(jobs, options["resume"])
    if options["plots"]:
        plots.require()
    launcher, slots = _launcher(options, len(jobs))
    tasks = make_tasks(jobs, options["retry_failed"])
    view = View(tasks, Console(stderr=True))

    def command(job: Job) -> list[str]:
        return job.command(_processes(options), options["trainer"])

    with view.shown():
        code = Queue(tasks, launcher, command, slots, view.changed, view.tick).run()
    return code, _summarize(tasks, options)


def _launcher(options: dict[str, Any], num_jobs: int) -> tuple[Launcher, int]:
    from bem_core.experiments.launchers import LocalLauncher, visible_gpus
    from bem_core.experiments.slurm import SlurmLauncher

    wanted = options["gpus_per_run"]
    if options["launcher"] == "slurm":
        folder = options["output_dir"] / ".slurm"
        chosen = _slurm_options(options["slurm_options"])
        made = SlurmLauncher(folder, _processes(options), wanted, options["slurm_cluster"], chosen)
        return made, options["jobs"] or num_jobs
    if not wanted:
        jobs = options["jobs"] or 1
        return LocalLauncher(environment=_share_of_cores(jobs * _processes(options))), jobs
    gpus = visible_gpus()
    if len(gpus) < wanted:
        raise BemError(f"--gpus-per-run {wanted}: there are {len(gpus)} GPUs here")
    return LocalLauncher(gpus, wanted), min(options["jobs"] or 1, len(gpus) // wanted)


def _share_of_cores(processes: int) -> dict[str, str]:
    """Return how many threads each of several processes may use, unless somebody has said so."""
    if processes == 1 or "OMP_NUM_THREADS" in os.environ:
        return {}
    return {"OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // processes, 1))}


def _slurm_options(texts: tuple[str, ...]) -> dict[str, Any]:
    import yaml

    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise BemError(f"--slurm-option {text!r}: expected KEY=VALUE")
        found[name] = yaml.safe_load(value)
    return found


def _summarize(tasks: list[Task], options: dict[str, Any]) -> Summary:
    from bem_core.experiments import plots, report
    from bem_core.experiments.results import read_outcomes
    from bem_core.experiments.summary import summarize

    configs = {task.job.experiment: task.job.settings for task in tasks}
    summary = summarize(read_outcomes(tasks), options["baseline"], configs, test=options["test"])
    drawn = plots.figures(summary) if options["plots"] else []
    paths = report.write(summary, options["output_dir"], drawn)
    click.echo(report.markdown(summary), nl=False)
    click.echo(f"\nwritten to {', '.join(map(str, paths))}")
    return summary


def _exit_code(summary: Summary) -> int:
    unfinished = set(summary.counts()) != {"finished"}
    broken = any(gate.status == "fail" for gates in summary.gates.values() for gate in gates.results)
    broken = broken or any(run.gates.get("fail") for run in summary.outcomes)
    return _FAILED if unfinished or broken else 0
