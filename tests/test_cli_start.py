"""What the command line does before a subcommand runs: start quickly, suggest, turn exceptions into one line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from bem_core import __version__
from bem_core.errors import BemError, ConfigError
from migrate.cli import LazyCommand, Program, main

Run = Callable[..., subprocess.CompletedProcess[str]]

HEAVY = {"torch", "numpy", "libcst", "rich", "yaml", "ruamel", "deepdiff", "ahocorasick_rs", "pathspec", "asyncio"}
COMMANDS = ("configs", "imports", "doctor", "undo", "verify", "completion")


def loaded(args: list[str], **env: str) -> set[str]:
    """Return the top-level modules that one call of the command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "migrate.cli", *args]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60)
    rows = (line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:"))
    return {name.partition(".")[0] for name in rows}


@pytest.mark.parametrize(
    ("args", "env"),
    [
        pytest.param(["--help"], {}, id="help"),
        pytest.param(["verify", "trace", "--help"], {}, id="help-of-verify-trace"),
        pytest.param(["--version"], {}, id="version"),
        pytest.param([], {}, id="no-arguments"),
        pytest.param(["import"], {}, id="mistyped-command"),
        pytest.param(["completion", "zsh"], {}, id="completion-script"),
        pytest.param(
            [],
            {"_BEM_MIGRATE_COMPLETE": "zsh_complete", "COMP_WORDS": "bem-migrate ", "COMP_CWORD": "1"},
            id="completion-of-a-command",
        ),
    ],
)
def test_answers_without_heavy_modules(args: list[str], env: dict[str, str]) -> None:
    names = loaded(args, **env)
    assert "click" in names
    assert not names & HEAVY


def test_help_lists_every_command(run_cli: Run) -> None:
    done = run_cli("--help")
    assert done.returncode == 0
    listed = {line.split()[0] for line in done.stdout.partition("Commands:")[2].splitlines() if line.strip()}
    assert listed == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_its_own_help(name: str, run_cli: Run) -> None:
    done = run_cli(name, "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")
    assert f" {name} " in done.stdout.splitlines()[0]


def test_version(run_cli: Run) -> None:
    assert run_cli("--version").stdout == f"bem-migrate {__version__}\n"


@pytest.mark.parametrize(
    ("typed", "meant"), [("import", "imports"), ("docter", "doctor"), ("udno", "undo"), ("compl", "completion")]
)
def test_mistyped_command_gets_the_nearest_name(typed: str, meant: str) -> None:
    done = CliRunner().invoke(main, [typed])
    assert done.exit_code == 2
    assert repr(meant) in done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_for_the_installed_command(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0
    assert "_BEM_MIGRATE_COMPLETE" in done.stdout
    assert "bem-migrate" in done.stdout


@pytest.mark.parametrize(("typed", "offered"), [("im", {"imports"}), ("do", {"doctor"}), ("x", set())])
def test_completion_offers_commands(typed: str, offered: set[str], run_cli: Run) -> None:
    words = {"_BEM_MIGRATE_COMPLETE": "bash_complete", "COMP_WORDS": f"bem-migrate {typed}", "COMP_CWORD": "1"}
    lines = run_cli(**words).stdout.splitlines()
    assert {line.partition(",")[2] for line in lines if line} == offered


def test_closed_pipe_is_quiet() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        command = [sys.executable, "-m", "migrate.cli", "completion", "fish"]
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


FAILURES: dict[str, BaseException] = {
    "wrong-input": BemError("no such key 'lr'"),
    "wrong-config": ConfigError("moves.yaml:3: not a name"),
    "internal": ValueError("first\n  second"),
    "interrupted": KeyboardInterrupt(),
}


FAILING = """
import click

@click.command
@click.argument("name")
@click.pass_obj
def run(fail, name):
    fail(name)
"""


def fail(name: str) -> None:
    raise FAILURES[name]


@pytest.fixture
def failing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """A program with one subcommand, loaded on demand, that raises what its argument names."""
    (tmp_path / "failing_command.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_command", raising=False)
    return Program("program", commands=[LazyCommand("run", "failing_command:run", "Fail.")], params=main.params[:1])


@pytest.mark.parametrize(
    ("name", "code", "stderr"),
    [
        pytest.param("wrong-input", 2, "error: no such key 'lr'\n", id="wrong-input"),
        pytest.param("wrong-config", 2, "error: moves.yaml:3: not a name\n", id="child-of-bem-error"),
        pytest.param("internal", 2, "internal error: ValueError: first second; run with --debug\n", id="internal"),
        pytest.param("interrupted", 130, "interrupted\n", id="interrupted"),
    ],
)
def test_exception_becomes_one_line(failing: Program, name: str, code: int, stderr: str) -> None:
    done = CliRunner().invoke(failing, ["run", name], obj=fail)
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", stderr)


@pytest.mark.parametrize("args", [["--debug", "run"], ["run", "--debug"]], ids=["before", "after"])
@pytest.mark.parametrize("name", ["wrong-input", "internal"])
def test_debug_shows_the_traceback(failing: Program, name: str, args: list[str]) -> None:
    done = CliRunner().invoke(failing, [*args, name], obj=fail)
    assert done.exit_code == 2
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert "error: " in done.stderr.splitlines()[-1]


def test_usage_error_of_a_subcommand(failing: Program) -> None:
    done = CliRunner().invoke(failing, ["run"], obj=fail)
    assert done.exit_code == 2
    assert "Missing argument 'NAME'" in done.stderr
