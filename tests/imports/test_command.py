"""``bem-migrate imports`` from the command line: files, formats, exit codes, and what must stay as it was."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., "subprocess.CompletedProcess[str]"]

MOVES = "old: new\nold.part.Thing: new.things:Thing\n"
BEFORE = "from old.mod import f\nimport old.other\nold.other.g(f)\n"
AFTER = "from new.mod import f\nimport new.other\nnew.other.g(f)\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small repository with one file to change and one to leave alone."""
    (tmp_path / "pyproject.toml").write_text('[tool.bem-migrate]\nmapping = "moves.yaml"\n')
    (tmp_path / "moves.yaml").write_text(MOVES)
    package = tmp_path / "src" / "app"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "main.py").write_text(BEFORE)
    (package / "other.py").write_text("import json\n")
    return tmp_path


def main(project: Path) -> Path:
    return project / "src" / "app" / "main.py"


def tree(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder but the journal."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".bem-migrate" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_writes_and_prints_one_screen(project: Path, run_cli: Cli) -> None:
    done = run_cli("imports", "src")
    assert done.returncode == 0
    assert main(project).read_text() == AFTER
    assert "1 changed" in done.stdout
    assert "bem-migrate undo" in done.stdout
    assert len(done.stdout.splitlines()) < 24


def test_second_run_has_nothing_to_do(project: Path, run_cli: Cli) -> None:
    run_cli("imports", "src")
    before = tree(project)
    done = run_cli("imports", "src", "--check")
    assert (done.returncode, tree(project)) == (0, before)


def test_list_of_moves_itself_is_left_alone(project: Path, run_cli: Cli) -> None:
    run_cli("imports", ".")
    assert (project / "moves.yaml").read_text() == MOVES


@pytest.mark.parametrize("mode", ["--check", "--diff"])
def test_shows_without_writing(project: Path, run_cli: Cli, mode: str) -> None:
    before = tree(project)
    done = run_cli("imports", "src", mode)
    assert (done.returncode, tree(project)) == (1, before)
    assert "src/app/main.py" in done.stdout
    assert not (project / ".bem-migrate").exists()


def test_diff_is_a_patch(project: Path, run_cli: Cli) -> None:
    main(project).write_bytes(BEFORE.encode().replace(b"\n", b"\r\n")[:-2])
    patch = run_cli("imports", "src", "--diff").stdout
    assert "+from new.mod import f" in patch
    assert "\\ No newline at end of file" in patch


def test_undo_restores_every_byte(project: Path, run_cli: Cli) -> None:
    before = tree(project)
    run_cli("imports", ".")
    assert tree(project) != before
    assert run_cli("undo").returncode == 0
    assert tree(project) == before


def test_standard_input(project: Path, run_cli: Cli, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "migrate.cli", "imports", "-"], cwd=project, input=BEFORE.encode(), capture_output=True
    )
    assert (done.returncode, done.stdout.decode()) == (0, AFTER)


def test_undecodable_standard_input_comes_back_as_it_is(project: Path) -> None:
    command = [sys.executable, "-m", "migrate.cli", "imports", "-"]
    done = subprocess.run(command, cwd=project, input=b"import old  # \xff\n", capture_output=True)
    assert (done.returncode, done.stdout) == (1, b"import old  # \xff\n")
    assert b"BM108" in done.stderr


def test_settings_of_another_project_are_not_passed_over(project: Path, run_cli: Cli) -> None:
    (project.parent / "elsewhere").mkdir(exist_ok=True)
    done = run_cli("imports", "src", "../elsewhere", cwd=project)
    assert done.returncode == 2
    assert "run once for each project" in done.stderr


def test_undo_command_names_the_project_when_run_from_outside(project: Path, run_cli: Cli, tmp_path: Path) -> None:
    done = run_cli("imports", str(project / "src"), cwd=tmp_path.parent)
    command = next(line for line in done.stdout.splitlines() if line.startswith("undo")).split("bem-migrate ")[1]
    assert run_cli(*command.split(), cwd=tmp_path.parent).returncode == 0
    assert main(project).read_text() == BEFORE


def test_json_has_everything(project: Path, run_cli: Cli) -> None:
    (project / "src/app/late.py").write_text("import importlib\nimportlib.import_module(f'old.{name}')\n")
    report = json.loads(run_cli("imports", "src", "--check", "--format", "json").stdout)
    assert report["files"]["scanned"] == 4
    assert report["files"]["changed"] == [
        {"path": "src/app/main.py", "line": 1, "references": {"from import": 1, "import": 1, "attribute": 1}}
    ]
    assert report["references"] == {"from import": 1, "import": 1, "attribute": 1}
    (finding,) = report["findings"]
    assert (finding["path"], finding["line"], finding["column"], finding["code"]) == ("src/app/late.py", 2, 1, "BM102")
    assert finding["source"] == "importlib.import_module(f'old.{name}')"
    assert report["exit_code"] == 1


def test_sarif_names_rules_and_places(project: Path, run_cli: Cli) -> None:
    log = json.loads(run_cli("imports", "src", "--check", "--format", "sarif").stdout)
    (run,) = log["runs"]
    (result,) = run["results"]
    assert result["ruleId"] == "BM100"
    assert result["ruleId"] in {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "src/app/main.py"


def test_github_annotations_are_escaped(project: Path, run_cli: Cli) -> None:
    (project / "src/app/a,b.py").write_text("import importlib\nimportlib.import_module(f'old.100%{x}')\n")
    lines = run_cli("imports", "src", "--check", "--format", "github").stdout.splitlines()
    assert any(line.startswith("::error file=src/app/main.py,line=1,col=1,title=BM100::") for line in lines)
    (warning,) = [line for line in lines if line.startswith("::warning")]
    assert "file=src/app/a%2Cb.py,line=2" in warning
    assert "100%25" in warning


def test_quiet_prints_nothing(project: Path, run_cli: Cli) -> None:
    done = run_cli("imports", "src", "--quiet")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_no_color_by_default_in_a_pipe(project: Path, run_cli: Cli) -> None:
    assert "\x1b" not in run_cli("imports", "src").stdout


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        pytest.param(["imports", "scr"], "did you mean 'src'", id="misspelled path"),
        pytest.param(["imports", "src", "--kinds", "pyy"], "pyy is no kind of file", id="unknown kind"),
        pytest.param(["imports", "src", "--ignore", "BM1O2"], "BM1O2", id="unknown code"),
        pytest.param(["imports", "src", "--mapping", "none.yaml"], "none.yaml", id="missing list"),
        pytest.param(["imports", "src", "-"], "stands alone", id="stdin among paths"),
        pytest.param(["imports", "src", "--diff", "--format", "json"], "--format does not apply", id="patch as JSON"),
        pytest.param(["imports", "-", "--format", "json"], "do not apply", id="stdin as JSON"),
        pytest.param(["imports", "src", "--stdin-filename", "x.md"], "only applies to '-'", id="name without stdin"),
    ],
)
def test_bad_input_is_one_clear_error(project: Path, run_cli: Cli, arguments: list[str], error: str) -> None:
    before = tree(project)
    done = run_cli(*arguments)
    assert done.returncode == 2
    assert error in done.stderr
    assert "Traceback" not in done.stderr
    assert tree(project) == before


def test_comment_silences_a_finding(project: Path, run_cli: Cli) -> None:
    path = project / "src/app/late.py"
    path.write_text("import importlib\nimportlib.import_module('old.' + a)  # bem-migrate: ignore[BM102]\n")
    assert run_cli("imports", "src/app/late.py", "--check").returncode == 0
    path.write_text("import importlib\nimportlib.import_module('old.' + a)  # bem-migrate: ignore[BM101]\n")
    assert run_cli("imports", "src/app/late.py", "--check").returncode == 1


def test_ignored_codes(project: Path, run_cli: Cli) -> None:
    (project / "src/app/late.py").write_text("import importlib\nimportlib.import_module('old.' + a)\n")
    assert run_cli("imports", "src/app/late.py", "--check", "--ignore", "BM101,BM102").returncode == 0


def test_kinds_include_and_exclude(project: Path, run_cli: Cli) -> None:
    (project / "README.md").write_text("```python\nfrom old.mod import f\n```\n")
    run_cli("imports", ".", "--kinds", "md")
    assert main(project).read_text() == BEFORE
    assert "new.mod" in (project / "README.md").read_text()
    run_cli("imports", ".", "--exclude", "src/app/main.py")
    assert main(project).read_text() == BEFORE
    run_cli("imports", ".", "--include", "*.md")
    assert main(project).read_text() == BEFORE


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xef\xbb\xbf" + BEFORE.encode(), id="byte order mark"),
        pytest.param(BEFORE.replace("\n", "\r\n").encode(), id="CR LF"),
        pytest.param(BEFORE.replace("\n", "\r\n", 1).encode(), id="mixed newlines"),
        pytest.param(BEFORE.encode()[:-1], id="no final newline"),
        pytest.param(BEFORE.encode() + b"   \n  \n", id="blank lines at the end"),
        pytest.param(b"# coding: latin-1\n# \xe4\n" + BEFORE.encode() + b"x = '\xe4'\n", id="latin-1"),
        pytest.param(b"\x0c\nif 1:\n\tpass\n\x0c\n" + BEFORE.encode(), id="form feeds and tabs"),
        pytest.param(
            "# ü𝒳\n".encode() + BEFORE.replace("g(f)", "g('ü', f)").encode(), id="characters of 2 and 4 bytes"
        ),
    ],
)
def test_other_bytes_stay(project: Path, run_cli: Cli, data: bytes) -> None:
    main(project).write_bytes(data)
    assert run_cli("imports", "src").returncode == 0
    assert main(project).read_bytes() == data.replace(b"old", b"new")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"import old.x\nprint 'old.x'\n", id="Python 2"),
        pytest.param(b"import old.x  # \xff\n", id="undeclared encoding"),
        pytest.param(b"# coding: klingon\nimport old.x\n", id="unknown encoding"),
        pytest.param("import old.x\n".encode("utf-16"), id="UTF-16"),
        pytest.param(b"import old.x\nx = " + b"(" * 3000 + b")" * 3000, id="too many parentheses"),
        pytest.param(b"import old.x\nx = " + b"-" * 30_000 + b"1\n", id="nested too deeply"),
    ],
)
def test_what_cannot_be_parsed_is_left_alone_and_listed(project: Path, run_cli: Cli, data: bytes) -> None:
    main(project).write_bytes(data)
    done = run_cli("imports", "src/app/main.py", "--format", "json")
    assert main(project).read_bytes() == data
    report = json.loads(done.stdout)
    if b"o\x00" not in data:
        assert [finding["code"] for finding in report["findings"]] == ["BM108"]
        assert done.returncode == 1


def test_long_chains_of_operators_are_no_obstacle(project: Path, run_cli: Cli) -> None:
    text = "import old.x\ny = " + " + ".join(["old.x.a"] * 900) + "\n"
    main(project).write_text(text)
    run_cli("imports", "src/app/main.py")
    assert main(project).read_text() == text.replace("old", "new")


def test_large_data_files_are_left_alone_and_listed(project: Path, run_cli: Cli) -> None:
    data = project / "results.json"
    data.write_text(json.dumps([{"_target_": "old.part.Thing", "loss": n} for n in range(40_000)]))
    before = data.read_bytes()
    report = json.loads(run_cli("imports", "results.json", "--format", "json").stdout)
    assert [(f["code"], "too large" in f["message"]) for f in report["findings"]] == [("BM108", True)]
    assert data.read_bytes() == before


def test_read_only_file_is_an_error_for_itself_alone(project: Path, run_cli: Cli) -> None:
    locked = project / "src/app/locked.py"
    locked.write_text(BEFORE)
    locked.chmod(0o444)
    done = run_cli("imports", "src")
    assert done.returncode == 2
    assert "locked.py" in done.stderr
    assert locked.read_text() == BEFORE
    assert main(project).read_text() == AFTER


def test_unreadable_file_is_an_error_for_itself_alone(project: Path) -> None:
    setpriv = shutil.which("setpriv")
    if os.geteuid() == 0 and setpriv is None:
        pytest.skip("root reads everything, and setpriv is not here to take that away")
    away = "-dac_override,-dac_read_search"
    drop = [str(setpriv), f"--inh-caps={away}", f"--bounding-set={away}"] if os.geteuid() == 0 else []
    closed = project / "src/app/closed.py"
    closed.write_text(BEFORE)
    closed.chmod(0)
    command = [*drop, sys.executable, "-m", "migrate.cli", "imports", "src"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    closed.chmod(0o644)
    assert (done.returncode, "closed.py: cannot be read" in done.stderr) == (2, True)
    assert closed.read_text() == BEFORE
    assert main(project).read_text() == AFTER


@pytest.mark.parametrize(
    ("short", "text", "after"),
    [
        pytest.param(
            "lib.old: lib.new",
            "import lib.old\nlib.old.f()\n",
            "import lib.new\nlib.new.f()\n",
            id="imported as a module",
        ),
        pytest.param(
            "lib.mod.old: lib.other.new",
            "import lib.mod\nlib.mod.old()\n",
            "import lib.mod\nimport lib.other\nlib.other.new()\n",
            id="only its parent is imported",
        ),
        pytest.param(
            "lib.mod.Old: lib.other.New",
            "import lib.mod as m\nm.Old()\n",
            "import lib.mod as m\nimport lib.other\nlib.other.New()\n",
            id="a class by its name",
        ),
    ],
)
def test_short_form_finds_out_what_a_name_is(project: Path, run_cli: Cli, short: str, text: str, after: str) -> None:
    (project / "moves.yaml").write_text(f"{{{short}}}\n")
    main(project).write_text(text)
    run_cli("imports", "src")
    assert main(project).read_text() == after


def test_mode_and_links_are_kept(project: Path, run_cli: Cli) -> None:
    main(project).chmod(0o750)
    link = project / "src" / "link.py"
    link.symlink_to("app/main.py")
    run_cli("imports", "src")
    assert stat.S_IMODE(main(project).stat().st_mode) == 0o750
    assert link.is_symlink()
    assert os.readlink(link) == "app/main.py"
    assert main(project).read_text() == AFTER


def test_nothing_outside_the_paths_is_written(
    project: Path, run_cli: Cli, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "real.py"
    outside.write_text(BEFORE)
    (project / "src" / "link.py").symlink_to(outside)
    (project / "scripts").mkdir()
    (project / "scripts" / "run.py").write_text(BEFORE)
    run_cli("imports", "src")
    assert outside.read_text() == BEFORE
    assert (project / "scripts" / "run.py").read_text() == BEFORE


def test_processes_give_what_one_gives(project: Path, run_cli: Cli) -> None:
    for number in range(60):
        (project / "src" / "app" / f"m{number}.py").write_text(BEFORE + "# filler\n" * 800)
    alone = run_cli("imports", "src", "--check", "--format", "json", "--jobs", "1")
    many = run_cli("imports", "src", "--check", "--format", "json", "--jobs", "3")
    one, three = json.loads(alone.stdout), json.loads(many.stdout)
    assert {**one, "seconds": 0} == {**three, "seconds": 0}
    assert run_cli("imports", "src", "--jobs", "3").returncode == 0
    assert run_cli("imports", "src", "--check").returncode == 0


def test_an_interrupt_stops_the_run_and_tells_how_to_go_back(project: Path, run_cli: Cli) -> None:
    before = BEFORE + "# filler\n" * 4000
    for number in range(1500):
        (project / "src" / "app" / f"m{number}.py").write_text(before)
    command = [sys.executable, "-m", "migrate.cli", "imports", "src", "--jobs", "2"]
    running = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not any((project / ".bem-migrate" / "runs").glob("*/*.pack")) and running.poll() is None:
        time.sleep(0.01)
    assert running.poll() is None, "the run ended before it could be interrupted"
    os.killpg(running.pid, signal.SIGINT)
    _, message = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "bem-migrate undo" in message
    texts = [path.read_text() for path in (project / "src" / "app").glob("m[0-9]*.py")]
    assert set(texts) == {before, before.replace("old", "new")}
    assert run_cli("undo").returncode == 0
    assert {path.read_text() for path in (project / "src" / "app").glob("m[0-9]*.py")} == {before}


def test_ignored_files_and_environments_are_skipped(project: Path, run_cli: Cli) -> None:
    (project / ".gitignore").write_text("generated/\n")
    for folder in ("generated", ".hidden", "venv"):
        (project / folder).mkdir()
        (project / folder / "x.py").write_text(BEFORE)
    run_cli("imports", ".")
    for folder in ("generated", ".hidden", "venv"):
        assert (project / folder / "x.py").read_text() == BEFORE


def test_target_that_is_not_there_is_reported_with_the_nearest_name(project: Path, run_cli: Cli) -> None:
    new = project / "src" / "new"
    new.mkdir()
    (new / "__init__.py").write_text("")
    (new / "mod.py").write_text("def frobnicate(): ...\n")
    main(project).write_text("from old.mod import frobnicat\n")
    report = json.loads(run_cli("imports", "src/app", "--format", "json").stdout)
    (finding,) = report["findings"]
    assert finding["code"] == "BM104"
    assert "frobnicate" in finding["hint"]


def test_file_still_to_be_moved_is_no_missing_target(project: Path, run_cli: Cli) -> None:
    for name, text in (("new", ""), ("old", "")):
        (project / "src" / name).mkdir()
        (project / "src" / name / "__init__.py").write_text(text)
    (project / "src" / "old" / "mod.py").write_text("def f(): ...\n")
    main(project).write_text("from old.mod import f\n")
    assert run_cli("imports", "src/app").returncode == 0


def test_absolute_imports_through_another_root_follow(project: Path, run_cli: Cli) -> None:
    for name in ("src/lib/__init__.py", "src/lib/old.py", "tests/__init__.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("")
    (project / "moves.yaml").write_text("lib.old: lib.new\nlib.gone: elsewhere.gone\n")
    test = project / "tests" / "test_lib.py"
    test.write_text("from src.lib.old import x\nimport src.lib.gone\nfrom lib.old import y\n")
    run_cli("imports", ".")
    assert test.read_text() == "from src.lib.new import x\nimport elsewhere.gone\nfrom lib.new import y\n"


def test_relative_import_of_a_file_moved_on_disk_before_the_run(project: Path, run_cli: Cli) -> None:
    for name, text in {
        "lib/__init__.py": "",
        "lib/core/__init__.py": "",
        "lib/core/add.py": "Add = 1\n",
        "lib/core/functions/__init__.py": "",
        "lib/core/functions/base.py": "from .add import Add\nfrom . import add\n",
    }.items():
        path = project / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (project / "moves.yaml").write_text("lib.core.function: lib.core.functions.base\n")
    assert run_cli("imports", "src").returncode == 0
    moved = (project / "src/lib/core/functions/base.py").read_text()
    assert moved == "from lib.core.add import Add\nfrom lib.core import add\n"
    environment = {**os.environ, "PYTHONPATH": str(project / "src")}
    subprocess.run([sys.executable, "-c", "import lib.core.functions.base"], env=environment, check=True)


def test_star_import_is_expanded_when_sure(project: Path, run_cli: Cli) -> None:
    part = project / "src" / "old"
    part.mkdir()
    (part / "__init__.py").write_text("")
    (part / "part.py").write_text("class Thing: ...\nclass Other: ...\n")
    main(project).write_text("from old.part import *\nThing(), Other()\n")
    assert run_cli("imports", "src/app").returncode == 0
    assert main(project).read_text() == ("from new.part import *\nfrom new.things import Thing\nThing(), Other()\n")
