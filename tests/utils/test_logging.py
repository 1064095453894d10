"""Where records go, and what is left alone."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from bem_core.errors import BemError
from bem_core.utils.logging import configure_logging

log = logging.getLogger("some.library")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    configure_logging(console=False)
    root.setLevel(level)


def test_console_shows_the_level_and_above(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    log.debug("no")
    log.info("one %d", 1)
    log.error("two")
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(" ", 1)[1] for line in err.splitlines()] == [
        "INFO some.library: one 1",
        "ERROR some.library: two",
    ]


def test_calling_again_replaces_what_was_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", tmp_path / "a.log")
    configure_logging("debug", tmp_path / "b.log")
    configure_logging(logging.DEBUG, tmp_path / "b.log")
    log.debug("once")
    assert capsys.readouterr().err.count("once") == 1
    assert (tmp_path / "a.log").read_text() == ""
    assert (tmp_path / "b.log").read_text().count("DEBUG some.library: once") == 1


def test_handlers_of_others_stay_and_a_lower_level_too(caplog: pytest.LogCaptureFixture) -> None:
    root = logging.getLogger()
    stream = io.StringIO()
    other = logging.StreamHandler(stream)
    root.addHandler(other)
    try:
        before = [handler for handler in root.handlers if handler.get_name() != "bem_core.logging"]
        root.setLevel(logging.DEBUG)
        configure_logging("ERROR")
        log.debug("for the other one")
        configure_logging(console=False)
        assert root.handlers == before
    finally:
        root.removeHandler(other)
    assert stream.getvalue() == "for the other one\n"


def test_file_is_appended_to_in_utf8_and_its_folder_made(tmp_path: Path) -> None:
    for text in ("caf\u00e9", "two"):
        configure_logging("INFO", tmp_path / "run" / "train.log", console=False)
        log.info(text)
    lines = (tmp_path / "run" / "train.log").read_text(encoding="utf-8").splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == ["caf\u00e9", "two"]


def test_other_ranks_are_quiet_and_write_to_a_file_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("INFO", tmp_path / "train.log", rank=3)
    log.info("for the file")
    log.warning("for both")
    assert "for the file" not in (err := capsys.readouterr().err)
    assert "WARNING [rank 3] some.library: for both" in err
    assert [path.name for path in tmp_path.iterdir()] == ["train.rank3.log"]
    assert len((tmp_path / "train.rank3.log").read_text().splitlines()) == 2


def test_bad_level_and_bad_file_change_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO")
    with pytest.raises(BemError, match="unknown log level 'warn'; did you mean 'WARNING'"):
        configure_logging("warn")
    (tmp_path / "file").write_text("")
    with pytest.raises(BemError, match=r"x\.log: cannot write the log: "):
        configure_logging("INFO", tmp_path / "file" / "x.log")
    log.info("still here")
    assert "still here" in capsys.readouterr().err
