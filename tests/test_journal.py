from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bem_core.errors import BemError
from migrate.journal import FOLDER, Busy, Change, Journal, JournalError, Outcome, Run, Writer

# A flush costs nothing there, and up to 10 ms on a busy disk.
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
COMMAND = ("bem-migrate", "imports", "src")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


def put(path: Path, data: bytes, mode: int = 0o644) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def state(root: Path) -> dict[str, tuple[bytes, int] | str]:
    """Return everything below a folder but its journal: contents, modes, links."""
    found: dict[str, tuple[bytes, int] | str] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if name.split("/")[0] == FOLDER:
            continue
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = "folder"
        else:
            found[name] = (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
    return found


def perform(
    root: Path, *changes: Change, command: Sequence[str] = COMMAND, roots: Sequence[Path] = ()
) -> list[Outcome]:
    with Journal(root).start(command) as run:
        outcomes = run.writer(roots or [root]).replace(changes)
        run.finish({"files": len(changes)})
    return outcomes


def errors(outcomes: Sequence[Outcome]) -> list[str | None]:
    return [outcome.error for outcome in outcomes]


# Writing


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o664, 0o4755])
def test_a_replaced_file_keeps_its_mode_and_undo_brings_it_back(project: Path, mode: int) -> None:
    path = put(project / "a.py", b"old", mode)
    assert perform(project, Change(str(path), b"old", b"new")) == [Outcome(str(path), None)]
    assert state(project) == {"a.py": (b"new", mode)}
    assert Journal(project).undo().restored == ("a.py",)
    assert state(project) == {"a.py": (b"old", mode)}


def test_created_and_deleted_files(project: Path) -> None:
    gone = put(project / "gone.py", b"gone", 0o755)
    before = state(project)
    old_umask = os.umask(0o027)
    try:
        made = Change(str(project / "p/q/made.py"), None, b"made")
        assert errors(perform(project, made, Change(str(gone), b"gone", None))) == [None, None]
    finally:
        os.umask(old_umask)
    assert state(project) == {"p": "folder", "p/q": "folder", "p/q/made.py": (b"made", 0o640)}
    assert Journal(project).undo().restored == ("gone.py", "p/q/made.py")
    assert state(project) == before


def test_undo_keeps_a_created_folder_that_has_something_else_in_it_now(project: Path) -> None:
    perform(project, Change(str(project / "p/q/made.py"), None, b"made"))
    put(project / "p/mine.py", b"mine")
    Journal(project).undo()
    assert state(project) == {"p": "folder", "p/mine.py": (b"mine", 0o644)}


def test_a_deleted_file_comes_back_though_its_folder_is_gone(project: Path) -> None:
    path = put(project / "p/q/a.py", b"a")
    perform(project, Change(str(path), b"a", None))
    shutil.rmtree(project / "p")
    Journal(project).undo()
    assert path.read_bytes() == b"a"


def test_a_link_is_kept_and_its_target_replaced(project: Path) -> None:
    put(project / "real/a.py", b"old")
    (project / "link.py").symlink_to("real/a.py")
    (project / "folder").symlink_to("real")
    assert errors(perform(project, Change(str(project / "link.py"), b"old", b"new"))) == [None]
    assert errors(perform(project, Change(str(project / "folder/a.py"), b"new", b"newer"))) == [None]
    assert state(project) == {
        "folder": "real",
        "link.py": "real/a.py",
        "real": "folder",
        "real/a.py": (b"newer", 0o644),
    }
    journal = Journal(project)
    assert [journal.undo().restored, journal.undo().restored] == [("real/a.py",), ("real/a.py",)]
    assert (project / "real/a.py").read_bytes() == b"old"


def test_a_file_named_twice_is_changed_once(project: Path) -> None:
    put(project / "a.py", b"old")
    (project / "b.py").symlink_to("a.py")
    changes = [Change(str(project / name), b"old", b"new") for name in ("a.py", "b.py")]
    assert errors(perform(project, *changes))[0] is None
    assert (project / "a.py").read_bytes() == b"new"
    Journal(project).undo()
    assert (project / "a.py").read_bytes() == b"old"


def test_several_changes_of_one_file_in_one_run_are_undone_together(project: Path) -> None:
    path = put(project / "a.py", b"1")
    with Journal(project).start(COMMAND) as run:
        for worker in (run.writer([project]), run.writer([project])):
            now = path.read_bytes()
            assert errors(worker.replace([Change(str(path), now, now + b"+")])) == [None]
        run.finish({})
    assert path.read_bytes() == b"1++"
    Journal(project).undo()
    assert path.read_bytes() == b"1"


PROBLEMS: dict[str, tuple[Change, str]] = {
    "changed during the run": (Change("a.py", b"other", b"new"), "changed during the run"),
    "deleted during the run": (Change("none.py", b"old", b"new"), "changed during the run"),
    "there already": (Change("a.py", None, b"new"), "exists already"),
    "read-only": (Change("read_only.py", b"old", b"new"), "read-only"),
    "read-only, to be deleted": (Change("read_only.py", b"old", None), "read-only"),
    "a folder": (Change("folder.py", b"old", b"new"), "not a regular file"),
    "a pipe": (Change("pipe.py", b"old", b"new"), "not a regular file"),
    "outside the project": (Change("../../out.py", b"old", b"new"), "outside the given paths: {tmp}/out.py"),
    "outside the given paths": (Change("../a.py", b"old", b"new"), "outside the given paths: {tmp}/project/a.py"),
    "a sibling with the same start": (
        Change("../in2/a.py", b"old", b"new"),
        "outside the given paths: {tmp}/project/in2/a.py",
    ),
    "link to the outside": (Change("link.py", b"old", b"new"), "outside the given paths: {tmp}/out.py"),
    "through a linked folder": (Change("linked/a.py", b"old", b"new"), "outside the given paths: {tmp}/project/a.py"),
    "made outside": (Change("../made.py", None, b"new"), "outside the given paths: {tmp}/project/made.py"),
    "a link, to be deleted": (Change("inner.py", b"old", None), "a symbolic link; only its target could be changed"),
    "a link in the way": (Change("broken.py", None, b"new"), "a symbolic link; only its target could be changed"),
    "below a file": (Change("a.py/b.py", None, b"new"), "Not a directory"),
    "a name too long": (Change("x" * 300, None, b"new"), "File name too long"),
    "no name": (Change("a\0b", None, b"new"), "no possible path"),
}


@pytest.mark.parametrize(("change", "message"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_a_problem_concerns_one_file_and_leaves_it_alone(
    project: Path, monkeypatch: pytest.MonkeyPatch, change: Change, message: str
) -> None:
    inside = project / "in"
    for name in ("a.py", "z.py", "../a.py", "../in2/a.py", "../../out.py"):
        put(inside / name, b"old")
    put(inside / "read_only.py", b"old", 0o444)
    (inside / "folder.py").mkdir()
    os.mkfifo(inside / "pipe.py")
    for name, target in {"link.py": "../../out.py", "linked": "..", "inner.py": "a.py", "broken.py": "none"}.items():
        (inside / name).symlink_to(target)
    monkeypatch.chdir(inside)
    before = _listing(project.parent)

    outcomes = perform(project, change, Change("z.py", b"old", b"new"), roots=[inside])

    assert errors(outcomes) == [message.format(tmp=project.parent), None]
    assert _listing(project.parent) == before | {"project/in/z.py": b"new"}
    assert Journal(project).undo().restored == ("in/z.py",)


def _listing(root: Path) -> dict[str, object]:
    paths = [path for path in root.rglob("*") if FOLDER not in path.parts]
    return {str(path.relative_to(root)): path.read_bytes() if path.is_file() else path.is_dir() for path in paths}


def test_nothing_outside_the_project_is_written_though_it_was_given(project: Path) -> None:
    outside = put(project.parent / "outside.py", b"old")
    (error,) = errors(perform(project, Change(str(outside), b"old", b"new"), roots=[outside]))
    assert error == f"outside the given paths: {outside}"


def test_no_file_is_touched_when_its_original_cannot_be_saved(project: Path) -> None:
    path = put(project / "a.py", b"old")
    with Journal(project).start(COMMAND) as run:
        writer = run.writer([project])
        shutil.rmtree(run.folder)
        (error,) = errors(writer.replace([Change(str(path), b"old", b"new")]))
    assert error == "its original could not be saved: the run has ended"
    assert path.read_bytes() == b"old"


def test_long_names_have_short_temporary_names(project: Path) -> None:
    path = put(project / ("ä" * 120 + ".py"), b"old")
    assert errors(perform(project, Change(str(path), b"old", b"new"))) == [None]


def _work(writer: Writer, changes: list[Change]) -> list[Outcome]:
    return writer.replace(changes)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_write_packs_of_their_own(project: Path, method: str) -> None:
    paths = [put(project / f"{i}.py", b"old%d" % i) for i in range(12)]
    with Journal(project).start(COMMAND) as run:
        writer = run.writer([project])
        writer.replace([Change(str(paths[0]), b"old0", b"new")])  # a fork must not go on in this pack
        jobs = [(writer, [Change(str(p), p.read_bytes(), b"new")]) for p in paths[1:]]
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert all(o.error is None for outcomes in pool.starmap(_work, jobs, chunksize=3) for o in outcomes)
        assert 2 <= len(_packs(project)) <= 3
        run.finish({})
    assert len(Journal(project).undo().restored) == 12
    assert {path.read_bytes() for path in paths} == {b"old%d" % i for i in range(12)}


def test_a_writer_pickles_without_its_pack(project: Path) -> None:
    path = put(project / "a.py", b"old")
    with Journal(project).start(COMMAND) as run:
        writer: Writer = pickle.loads(pickle.dumps(run.writer([project])))
        assert errors(writer.replace([Change(str(path), b"old", b"new")])) == [None]


# Undoing


def test_undo_refuses_where_a_file_changed_since_and_touches_nothing(project: Path) -> None:
    names = ["a.py", "b.py", "c.py", "d.py"]
    perform(project, *(Change(str(put(project / name, b"old")), b"old", b"new") for name in names))
    (project / "b.py").write_bytes(b"mine")
    (project / "c.py").unlink()
    before = state(project)
    report = Journal(project).undo()
    assert (report.state, report.restored) == ("refused", ())
    assert report.kept == (Outcome("b.py", "changed since the run"), Outcome("c.py", "deleted since the run"))
    assert state(project) == before


def test_undo_can_keep_what_changed_and_look_at_it_again_later(project: Path) -> None:
    names = ["a.py", "b.py"]
    perform(project, *(Change(str(put(project / name, b"old")), b"old", b"new") for name in names))
    run_id = Journal(project).runs()[0].id
    (project / "b.py").write_bytes(b"mine")
    report = Journal(project).undo(keep_changed=True)
    assert (report.state, report.restored) == ("undone", ("a.py",))
    assert report.kept == (Outcome("b.py", "changed since the run"),)
    assert state(project) == {"a.py": (b"old", 0o644), "b.py": (b"mine", 0o644)}
    assert Journal(project).undo().state == "nothing"

    (project / "b.py").write_bytes(b"new")
    assert Journal(project).undo(run_id).restored == ("a.py", "b.py")
    assert Journal(project).undo(run_id).state == "already"
    assert (project / "b.py").read_bytes() == b"old"


CHANGED_KINDS = {
    "folder in its place": "not a regular file",
    "link in its place": "a symbolic link",
    "linked parent": "leads elsewhere by a symbolic link now",
}


@pytest.mark.parametrize(("kind", "message"), CHANGED_KINDS.items(), ids=CHANGED_KINDS.keys())
def test_undo_does_not_write_through_what_took_the_place_of_a_file(project: Path, kind: str, message: str) -> None:
    path = put(project / "p/a.py", b"old")
    perform(project, Change(str(path), b"old", b"new"))
    shutil.move(project / "p", project / "moved")
    if kind == "linked parent":
        (project / "p").symlink_to("moved")
    else:
        (project / "p").mkdir()
        path.mkdir() if kind == "folder in its place" else path.symlink_to("../moved/a.py")
    assert Journal(project).undo().kept == (Outcome("p/a.py", message),)
    assert (project / "moved/a.py").read_bytes() == b"new"


def test_a_file_with_its_old_bytes_counts_as_restored(project: Path) -> None:
    path = put(project / "a.py", b"old", 0o755)
    perform(project, Change(str(path), b"old", b"new"))
    put(path, b"old", 0o600)
    assert Journal(project).undo().restored == ("a.py",)
    assert state(project) == {"a.py": (b"old", 0o755)}


@pytest.mark.parametrize("left", [b"", b"\0" * 100], ids=["empty", "zeros"])
def test_what_a_loss_of_power_leaves_is_restored(project: Path, left: bytes) -> None:
    path = put(project / "a.py", b"old")
    perform(project, Change(str(path), b"old", b"new"))
    path.write_bytes(left)
    assert Journal(project).undo().restored == ("a.py",)
    assert path.read_bytes() == b"old"


def test_a_run_that_lost_all_but_its_originals_can_be_undone(project: Path) -> None:
    perform(project, Change(str(put(project / "a.py", b"old")), b"old", b"new"))
    (folder,) = (project / FOLDER / "runs").iterdir()
    for path in folder.glob("*.json"):
        path.write_bytes(b"")
    assert Journal(project).runs()[0].command == ("(unknown)",)
    assert Journal(project).undo().restored == ("a.py",)


def test_a_file_that_became_a_folder_is_a_file_again(project: Path) -> None:
    path = put(project / "a", b"old")
    changes = [Change(str(path), b"old", None), Change(str(path / "b/c.py"), None, b"new")]
    with Journal(project).start(COMMAND) as run:
        for change in changes:
            assert errors(run.writer([project]).replace([change])) == [None]
        run.finish({})
    assert Journal(project).undo().restored == ("a", "a/b/c.py")
    assert state(project) == {"a": (b"old", 0o644)}


def test_undo_takes_the_newest_run_first_then_the_ones_before(project: Path) -> None:
    path = put(project / "a.py", b"1")
    for old, new in ((b"1", b"2"), (b"2", b"3")):
        perform(project, Change(str(path), old, new))
    journal = Journal(project)
    first, second = journal.runs()[1], journal.runs()[0]
    assert journal.undo(first.id).state == "refused"
    seen = []
    for _ in range(3):
        report = journal.undo()
        seen.append((report.run.id if report.run else "", report.state, path.read_bytes()))
    assert seen == [(second.id, "undone", b"2"), (first.id, "undone", b"1"), ("", "nothing", b"1")]


def test_a_run_has_its_command_files_and_summary(project: Path) -> None:
    put(project / "a.py", b"old")
    perform(project, Change(str(project / "a.py"), b"old", b"new"))
    (info,) = Journal(project).runs()
    assert (info.command, info.files, info.summary, info.state) == (COMMAND, ("a.py",), {"files": 1}, "finished")
    Journal(project).undo()
    assert Journal(project).runs()[0].state == "undone"


def test_runs_of_one_moment_and_of_a_clock_set_back_keep_their_order(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(project / "a.py", b"0")
    for number, moment in enumerate((1_000_000.5, 1_000_000.5, 999.25, 1_000_000.5)):
        monkeypatch.setattr("migrate.journal.time.time", lambda moment=moment: moment)
        perform(project, Change(str(path), b"%d" % number, b"%d" % (number + 1)))
    for number in (3, 2, 1, 0):
        assert Journal(project).undo().state == "undone"
        assert path.read_bytes() == b"%d" % number


@pytest.mark.parametrize("part", [slice(-4, None), slice(0, 15)], ids=["end", "start"])
def test_a_run_can_be_named_by_part_of_its_id(project: Path, part: slice) -> None:
    perform(project, Change(str(put(project / "a.py", b"old")), b"old", b"new"))
    assert Journal(project).undo(Journal(project).runs()[0].id[part]).state == "undone"


def test_an_unknown_or_ambiguous_run_is_an_error(project: Path) -> None:
    for old, new in ((b"1", b"2"), (b"2", b"3")):
        perform(project, Change(str(put(project / "a.py", old)), old, new))
    with pytest.raises(JournalError, match="no run 'x' in "):
        Journal(project).undo("x")
    with pytest.raises(JournalError, match="'2' stands for 2 runs"):
        Journal(project).undo("2")
    with pytest.raises(JournalError, match=r"no run '2.*did you mean '2"):
        Journal(project).undo(Journal(project).runs()[0].id[:-1] + "x")


def test_undo_without_a_journal_is_an_error_and_makes_none(project: Path) -> None:
    with pytest.raises(JournalError, match=f"no journal in {project}"):
        Journal(project).undo()
    assert list(project.iterdir()) == []


def test_a_run_that_changes_nothing_leaves_nothing_to_undo(project: Path) -> None:
    path = put(project / "a.py", b"same")
    assert errors(perform(project, Change(str(path), b"same", b"same"))) == [None]
    journal = Journal(project)
    assert journal.runs() == []
    assert journal.undo().state == "nothing"
    assert list((project / FOLDER / "runs").iterdir()) == []


def test_the_journal_is_ignored_by_git(project: Path) -> None:
    perform(project, Change(str(put(project / "a.py", b"old")), b"old", b"new"))
    assert (project / FOLDER / ".gitignore").read_text() == "*\n"


# Damage


def _packs(root: Path) -> list[Path]:
    return list((root / FOLDER / "runs").glob("*/*.pack"))


def test_what_is_complete_in_a_pack_is_used_wherever_it_is_cut(project: Path) -> None:
    names = ["a.py", "b.py"]
    perform(project, *(Change(str(put(project / name, b"old")), b"old", b"new") for name in names))
    (pack,) = _packs(project)
    whole = pack.read_bytes()
    seen = []
    for size in range(len(whole), -1, -1):
        os.truncate(pack, size)
        seen.append(len(Journal(project).runs()[0].files if Journal(project).runs() else ()))
    record_size = seen.count(1)
    assert seen == [2] + [1] * record_size + [0] * (len(whole) - record_size)
    assert record_size == len(whole) // 2


def test_damage_in_the_middle_of_a_pack_costs_one_record(project: Path) -> None:
    names = ["a.py", "b.py", "c.py"]
    perform(project, *(Change(str(put(project / name, b"old " * 9)), b"old " * 9, b"new") for name in names))
    (pack,) = _packs(project)
    data = pack.read_bytes()
    pack.write_bytes(data.replace(b'"path": "b.py"', b'"path": "x.py"'))
    assert Journal(project).runs()[0].files == ("a.py", "c.py")


def test_a_damaged_original_is_never_restored(project: Path) -> None:
    names = ["a.py", "b.py"]
    perform(
        project,
        *(Change(str(put(project / name, f"old {name}".encode())), f"old {name}".encode(), b"new") for name in names),
    )
    (pack,) = _packs(project)
    pack.write_bytes(pack.read_bytes().replace(b"old b.py", b"odd b.py"))
    (kept,) = Journal(project).undo().kept
    assert kept == Outcome("b.py", f"its original in {pack} is damaged")
    assert Journal(project).undo(keep_changed=True).restored == ("a.py",)
    assert state(project) == {"a.py": (b"old a.py", 0o644), "b.py": (b"new", 0o644)}


def test_originals_that_look_like_records_are_no_records(project: Path) -> None:
    perform(project, Change(str(put(project / "a.py", b"1")), b"1", b"2"))
    (pack,) = _packs(project)
    fake = pack.read_bytes()
    path = put(project / "b.py", fake)
    perform(project, Change(str(path), fake, b"new"))
    assert Journal(project).runs()[0].files == ("b.py",)
    Journal(project).undo()
    assert path.read_bytes() == fake


# Two at once


def test_a_second_run_says_who_is_at_work_and_stops(project: Path) -> None:
    with Journal(project).start(COMMAND) as run:
        for attempt in (lambda: Journal(project).start(["other"]), lambda: Journal(project).undo()):
            with pytest.raises(Busy, match=rf"process {os.getpid()}, `bem-migrate imports src`, since \d\d\d\d-"):
                attempt()
        run.finish({})
    Journal(project).start(COMMAND).close()


HOLDER = """
import os, sys, time
from migrate.journal import Journal
run = Journal(sys.argv[1]).start(["bem-migrate", "imports", "elsewhere"])
if sys.argv[2] == "alone" or os.fork() == 0:
    print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(project: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process with a run of its own, perhaps with a worker that outlives it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(project), request.param],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    process.stdout.readline()
    yield process
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("holder", ["alone", "fork"], indirect=True)
def test_the_run_of_another_process_is_in_the_way_until_that_dies(project: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(Busy, match=f"process {holder.pid}, `bem-migrate imports elsewhere`"):
        Journal(project).start(COMMAND)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    Journal(project).start(COMMAND).close()


def test_a_worker_that_outlives_its_run_cannot_write(project: Path) -> None:
    path = put(project / "a.py", b"1")
    left = Journal(project).start(COMMAND)
    writer = left.writer([project])
    writer.replace([Change(str(path), b"1", b"2")])
    left.close()  # as if the main process had been killed
    assert Journal(project).undo().state == "undone"
    (error,) = errors(writer.replace([Change(str(path), b"1", b"2")]))
    assert error == "its original could not be saved: the run has ended"
    assert path.read_bytes() == b"1"


def test_a_run_left_without_an_end_is_interrupted_and_can_be_undone(project: Path) -> None:
    path = put(project / "a.py", b"1")
    journal = Journal(project)
    with journal.start(COMMAND) as run:
        run.writer([project]).replace([Change(str(path), b"1", b"2")])
        assert [info.state for info in journal.runs()] == ["running"]
    assert [info.state for info in journal.runs()] == ["interrupted"]
    assert journal.undo().restored == ("a.py",)


def test_a_journal_that_cannot_be_written_is_an_error(project: Path) -> None:
    put(project / FOLDER, b"a file")
    with pytest.raises(JournalError, match=f"cannot write the journal {project}/{FOLDER}: "):
        Journal(project).start(COMMAND)
    assert issubclass(JournalError, BemError)


# Law

names = st.lists(st.sampled_from(["a", "b.py", "ü", "c d", "x" * 60]), min_size=1, max_size=3).map("/".join)
contents = st.one_of(st.none(), st.binary(max_size=30))
modes = st.sampled_from([0o644, 0o755, 0o600])
rounds = st.lists(st.dictionaries(names, contents, max_size=5), min_size=1, max_size=3)


@given(start=st.dictionaries(names, st.tuples(st.binary(max_size=30), modes), max_size=6), rounds=rounds)
def test_undoing_every_run_gives_the_tree_back(
    start: dict[str, tuple[bytes, int]], rounds: list[dict[str, bytes | None]]
) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        root = Path(folder)
        for name, (data, mode) in start.items():
            if not any((root / parent).is_file() for parent in Path(name).parents) and not (root / name).is_dir():
                put(root / name, data, mode)
        states = []
        for wanted in rounds:
            states.append(state(root))
            before = len(Journal(root).runs())
            _bring(root, wanted)
            if len(Journal(root).runs()) == before:
                states.pop()
        for expected in reversed(states):
            assert Journal(root).undo().state == "undone"
            assert state(root) == expected
        assert Journal(root).undo().state == "nothing"


def _bring(root: Path, wanted: dict[str, bytes | None]) -> None:
    """Try to give every file the wanted bytes; where a folder is in the way, that file fails."""
    changes = []
    for name, data in wanted.items():
        path = root / name
        old = path.read_bytes() if path.is_file() else None
        if old is not None or data is not None:
            changes.append(Change(str(path), old, data))
    with Journal(root).start(COMMAND) as run:
        _replace_some(run, root, changes)
        run.finish({})


def _replace_some(run: Run, root: Path, changes: list[Change]) -> None:
    half = len(changes) // 2
    for part in (changes[:half], changes[half:]):
        for outcome, change in zip(run.writer([root]).replace(part), part, strict=True):
            path = Path(change.path)
            if outcome.error is None:
                assert (path.read_bytes() if path.is_file() else None) == change.new
