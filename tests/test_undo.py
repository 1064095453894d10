from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from migrate.journal import Busy, Change, Journal, JournalError
from migrate.undo import undo


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which one run has changed two files."""
    monkeypatch.chdir(tmp_path)
    for name in ("src/a.py", "src/b.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"old")
    change(tmp_path, b"old", b"new", "src/a.py", "src/b.py")
    return tmp_path


def change(root: Path, old: bytes, new: bytes, *names: str) -> str:
    with Journal(root).start(["bem-migrate", "imports", "src"]) as run:
        run.writer([root]).replace([Change(str(root / name), old, new) for name in names])
        run.finish({})
    return run.id


def call(*args: str) -> Result:
    result = CliRunner().invoke(undo, args)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def contents(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((root / "src").iterdir())]


def test_undo_says_which_run_and_which_files(project: Path) -> None:
    result = call()
    assert (result.exit_code, result.stderr) == (0, "")
    assert re.fullmatch(
        r"Undid run \S+ of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: bem-migrate imports src\n"
        r"2 files restored:\n  src/a\.py\n  src/b\.py\n",
        result.stdout,
    )
    assert contents(project) == [b"old", b"old"]


@pytest.mark.parametrize("where", [".", "src"])
def test_undo_finds_the_journal_upwards(project: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    monkeypatch.chdir(project / where)
    (project / "src/pyproject.toml").touch()
    assert call().exit_code == 0
    assert (project / "src/a.py").read_bytes() == b"old"


def test_undo_takes_another_root(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert call("--root", str(project)).exit_code == 0
    assert contents(project) == [b"old", b"old"]


def test_undo_refuses_where_files_changed_since(project: Path) -> None:
    (project / "src/b.py").write_bytes(b"mine")
    result = call()
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.fullmatch(
        r"error: not undone, nothing was touched: 1 file of run \S+:\n  src/b\.py: changed since the run\n"
        r"With --keep-changed these stay as they are and the others are restored\.\n",
        result.stderr,
    )
    assert contents(project) == [b"new", b"mine"]


def test_undo_names_the_later_run_that_is_in_the_way(project: Path) -> None:
    first = Journal(project).runs()[0].id
    later = change(project, b"new", b"newer", "src/a.py")
    result = call(first)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"Undo what came later first: {later}.\n")


def test_keep_changed_restores_the_others(project: Path) -> None:
    (project / "src/b.py").write_bytes(b"mine")
    result = call("--keep-changed")
    assert result.exit_code == 0
    assert result.stdout.endswith(
        "1 file restored:\n  src/a.py\n1 file left as changed since:\n  src/b.py: changed since the run\n"
    )
    assert contents(project) == [b"old", b"mine"]


def test_undo_of_an_undone_run_says_so(project: Path) -> None:
    run_id = Journal(project).runs()[0].id
    call()
    assert re.fullmatch(rf"Run {run_id} was undone already, at [\d :-]+\.\n", call(run_id).stdout)
    assert call().stdout == "Nothing to undo: every run is undone already, or none has changed a file.\n"
    assert contents(project) == [b"old", b"old"]


def test_a_failure_is_reported_and_undo_can_be_tried_again(project: Path) -> None:
    (temp,) = {record for record in _temps(project) if record.startswith(".a.py")}
    (project / "src" / temp).mkdir()  # takes the name of the temporary file
    result = call()
    assert result.exit_code == 2
    assert "1 file restored:\n  src/b.py\n" in result.stdout
    assert "1 file could not be restored:\n  src/a.py: File exists\n" in result.stderr
    (project / "src" / temp).rmdir()
    assert call().exit_code == 0
    assert contents(project) == [b"old", b"old"]


def _temps(root: Path) -> set[str]:
    (pack,) = (root / ".bem-migrate/runs").glob("*/*.pack")
    return {name.decode() for name in re.findall(rb'"temp": "([^"]+)"', pack.read_bytes())}


def test_many_files_stay_on_one_screen(project: Path) -> None:
    names = [f"src/{i:03}.py" for i in range(100)]
    for name in names:
        (project / name).write_bytes(b"old")
    change(project, b"old", b"new", *names)
    lines = call().stdout.splitlines()
    assert len(lines) < 24
    assert lines[1] == "100 files restored:"
    assert lines[-1] == "  and 85 more (all of them with --format json)"


def test_quiet_prints_problems_only(project: Path) -> None:
    assert call("--quiet").output == ""
    change(project, b"old", b"new", "src/a.py")
    (project / "src/a.py").write_bytes(b"mine")
    assert "changed since the run" in call("--quiet").stderr


def test_json(project: Path) -> None:
    (project / "src/b.py").write_bytes(b"mine")
    refused = call("--format", "json")
    assert (refused.exit_code, refused.stderr) == (2, "")
    kept = [{"path": "src/b.py", "error": "changed since the run"}]
    report = json.loads(refused.stdout)
    assert (report["state"], report["restored"], report["kept"], report["failed"]) == ("refused", [], kept, [])
    assert report["run"]["command"] == ["bem-migrate", "imports", "src"]
    done = json.loads(call("--format", "json", "--keep-changed").stdout)
    assert (done["state"], done["restored"], done["kept"]) == ("undone", ["src/a.py"], kept)


def test_list_shows_the_runs_newest_first(project: Path) -> None:
    call()
    change(project, b"old", b"new", "src/a.py")
    lines = call("--list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["run", *(info.id for info in Journal(project).runs())]
    assert [re.split(r"  +", line.strip())[2:] for line in lines[1:]] == [
        ["bem-migrate imports src", "1", "finished"],
        ["bem-migrate imports src", "2", "undone"],
    ]
    assert contents(project) == [b"new", b"old"]


def test_list_as_json(project: Path) -> None:
    (info,) = json.loads(call("--list", "--format", "json").stdout)
    assert info["files"] == ["src/a.py", "src/b.py"]


def test_list_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("--list").stdout == "No run has changed a file here.\n"


def test_errors_are_for_the_program_to_show(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(JournalError, match="no run 'x'"):
        call("x")
    with (
        Journal(project).start(["bem-migrate", "imports", "src"]),
        pytest.raises(Busy, match="`bem-migrate imports src`"),
    ):
        call()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(JournalError, match="no journal in"):
        call()


def test_undo_names_the_file_whose_original_is_damaged(project: Path) -> None:
    (pack,) = (project / ".bem-migrate/runs").rglob("*.pack")
    pack.write_bytes(pack.read_bytes()[:-2])
    result = call()
    assert result.exit_code == 2
    assert "src/b.py: its original in the journal is damaged" in result.stderr
    assert contents(project) == [b"old", b"new"]


def test_a_journal_that_is_a_link_is_not_written(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (tmp_path / ".bem-migrate").symlink_to(tmp_path_factory.mktemp("outside"))
    with pytest.raises(JournalError, match="is a link"):
        Journal(tmp_path).start(["bem-migrate"])


def test_undo_finds_the_only_journal_just_below(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.parent / "outer").mkdir()
    project.rename(project.parent / "outer" / "inner")
    monkeypatch.chdir(project.parent / "outer")
    assert call().exit_code == 0
    assert contents(project.parent / "outer" / "inner") == [b"old", b"old"]
