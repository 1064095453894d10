"""Every code is documented, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from migrate.report import CODES


def test_every_code_has_a_section() -> None:
    text = (Path(__file__).parents[1] / "docs" / "findings.md").read_text()
    assert set(re.findall(r"^## (BM\d+)$", text, re.MULTILINE)) == set(CODES)
    assert set(re.findall(r"^\| \[(BM\d+)\]", text, re.MULTILINE)) == set(CODES)
