"""Whole files before and after; ``golden_text/findings.txt`` has what they report.

``UPDATE_GOLDEN=1 pytest tests/imports/test_text_golden.py`` writes what the rewriters give now: read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migrate import moves_file
from migrate.edits import apply
from migrate.imports.context import Context
from migrate.imports.kinds import kind_of, rewriter

FOLDER = Path(__file__).parent / "golden_text"
BEFORE, AFTER, FINDINGS = FOLDER / "before", FOLDER / "after", FOLDER / "findings.txt"
PATHS = sorted(path.relative_to(BEFORE).as_posix() for path in BEFORE.rglob("*") if path.is_file())
UPDATE = "UPDATE_GOLDEN" in os.environ


def rewritten(path: str) -> tuple[str, list[str]]:
    """Rewrite a file of the folder twice; return its new text and the findings of the first time."""
    text = (BEFORE / path).read_bytes().decode()
    ctx = Context(path, moves_file.load(FOLDER / "moves.yaml"))
    rewrite = rewriter(str(kind_of(path)))
    result = rewrite(text, ctx)
    after = apply(text, result.edits)
    assert rewrite(after, ctx).edits == []
    return after, [f"{f.path}:{f.line}:{f.column} {f.code} {f.message}; {f.hint}" for f in result.findings]


@pytest.mark.parametrize("path", PATHS)
def test_file(path: str) -> None:
    after, _ = rewritten(path)
    if UPDATE:
        (AFTER / path).parent.mkdir(parents=True, exist_ok=True)
        (AFTER / path).write_bytes(after.encode())
    assert after.encode() == (AFTER / path).read_bytes()


def test_findings() -> None:
    lines = [line for path in PATHS for line in rewritten(path)[1]]
    if UPDATE:
        FINDINGS.write_text("\n".join(lines) + "\n")
    assert lines == FINDINGS.read_text().splitlines()
