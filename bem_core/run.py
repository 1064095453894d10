"""``python -m bem_core.run``: trains and evaluates one experiment.

Torch is imported only after the arguments and the experiment turned out to be valid.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bem_core.command_line import ERROR, Command
from bem_core.errors import BemError, ConfigError, TrainingError, TrainingInterrupted, nearest

if TYPE_CHECKING:
    from bem_core.config import ExperimentConfig
    from bem_core.running import Report
    from bem_core.training.base_trainer import BaseTrainer

GATES_FAILED = 1
_FIRST_SAYS_S = 5.0
_SUFFIXES = (".yml", ".yaml")


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("experiment")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--output-dir", metavar="DIR", help="Folder of the run; else output.output_dir, else outputs/NAME.")
@click.option("--resume", metavar="auto|PATH", help="Go on from the newest checkpoint of the folder, or from this one.")
@click.option("--evaluate-only", is_flag=True, help="Evaluate a checkpoint of the run; write evaluation.json.")
@click.option("--trainer", metavar="MODULE:CLASS", help="The trainer, in place of the component of the experiment.")
@click.pass_context
def main(
    ctx: click.Context,
    experiment: str,
    overrides: tuple[str, ...],
    output_dir: str | None,
    resume: str | None,
    evaluate_only: bool,
    trainer: str | None,
) -> None:
    """Train and evaluate the experiment in a file; KEY=VALUE sets a value of it, such as training.max_steps=10.

    The trainer is the entry point of the group bem_core.components whose name is the experiment_type. Under torchrun
    all processes run this command.

    Exit codes: 0 done; 1 done, and a quality gate failed; 2 an error; 130, 138, 143 stopped by SIGINT, SIGUSR1, SIGTERM
    and saved, so that --resume auto goes on.
    """
    rank = int(os.environ.get("RANK", "0"))
    try:
        config = _load(experiment, overrides)
        report = _run(config, output_dir, resume, evaluate_only, trainer, rank)
    except ConfigError:
        if rank:
            # All processes have found it, and the first one says it. Were this one gone before, torchrun would end it.
            time.sleep(_FIRST_SAYS_S)
            ctx.exit(ERROR)
        raise
    except TrainingInterrupted as error:
        if rank:
            ctx.exit(error.exit_code)
        raise
    if rank:  # torchrun ends the others when one fails, so only the first one does, when all is said.
        return
    click.echo(str(report))
    ctx.exit(GATES_FAILED if report.failed else 0)


def _load(experiment: str, overrides: Sequence[str]) -> ExperimentConfig:
    from bem_core.config import load_experiment_config
    from bem_core.utils.logging import configure_logging

    configure_logging("WARNING")
    path = Path(experiment)
    if not path.is_file():
        raise ConfigError(f"{experiment}: there is no such experiment{_nearest_file(path)}")
    return load_experiment_config(path, overrides)


def _nearest_file(path: Path) -> str:
    if path.is_dir():
        return "; it is a folder"
    folder = path.parent
    names = [one.name for one in folder.iterdir() if one.suffix in _SUFFIXES] if folder.is_dir() else []
    return nearest(path.name, names) or (nearest(f"{path.name}.yml", names) if not path.suffix else "")


def _run(
    config: ExperimentConfig, output_dir: str | None, resume: str | None, only: bool, given: str | None, rank: int
) -> Report:
    from bem_core.components import find_trainer
    from bem_core.training.setup import output_dir as folder_of
    from bem_core.utils.logging import configure_logging

    kind = find_trainer(config, given)
    folder = folder_of(config, output_dir)
    chosen = config.logging
    log = Path(chosen.log_file) if chosen.log_file else folder / "train.log"
    trial = config.training.fast_dev_run > 0
    configure_logging(chosen.level, None if trial else log, chosen.console_output, rank)
    try:
        return _train(kind, config, folder, resume, only)
    except BemError:
        raise
    except Exception as error:
        raise _Failed(error, None if trial else log, rank) from error
    finally:
        _leave_group()


def _train(kind: type[BaseTrainer], config: ExperimentConfig, folder: Path, resume: str | None, only: bool) -> Report:
    from bem_core import running

    trainer = kind(config, folder)
    if only:
        return running.evaluate_only(trainer, resume)
    if resume is not None:
        trainer.resume_from(resume)
    return running.train_and_evaluate(trainer)


class _Failed(TrainingError):
    """Code of a component raised something; the traceback goes to the log."""

    def __init__(self, error: Exception, log: Path | None, rank: int) -> None:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        where = "run with --debug"
        if log is not None:
            log = log.with_name(f"{log.stem}.rank{rank}{log.suffix}") if rank else log
            with log.open("a", encoding="utf-8") as file:
                file.write("".join(traceback.format_exception(error)))
            where = f"the traceback is in {log}"
        super().__init__(f"{text}; {where}")


def _leave_group() -> None:
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


if __name__ == "__main__":
    main(prog_name="python -m bem_core.run")
