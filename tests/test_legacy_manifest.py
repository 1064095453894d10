"""The legacy repository is frozen: every file has the bytes of the manifest, and there is no other file.

Where it has to be mended, renew the manifest in the same commit:

    cd tests/legacy_repo && git ls-files -z | LC_ALL=C sort -z | xargs -0 sha256sum > ../legacy_repo.sha256
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

REPO = Path(__file__).parent / "legacy_repo"
MANIFEST = Path(__file__).parent / "legacy_repo.sha256"
# What a run leaves behind; none of it is in git.
LEFT_BEHIND = {"__pycache__"}


def differences(folder: Path, manifest: str) -> list[str]:
    """Return a line for each file that is not as the manifest says."""
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in manifest.splitlines())}
    found = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob("*")
        if path.is_file() and not LEFT_BEHIND & set(path.parts)
    }
    lines = [f"{name}: not in the manifest" for name in found.keys() - expected.keys()]
    for name, digest in expected.items():
        if name not in found:
            lines.append(f"{name}: missing")
        elif hashlib.sha256(found[name].read_bytes()).hexdigest() != digest:
            lines.append(f"{name}: changed")
    return sorted(lines)


def test_nothing_changed() -> None:
    assert differences(REPO, MANIFEST.read_text(encoding="utf-8")) == []


CHANGES = {
    "changed": lambda path: path.write_bytes(path.read_bytes() + b" "),
    "missing": lambda path: path.unlink(),
    "not in the manifest": lambda path: (path.parent / "new.py").touch(),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_each_kind_of_change_is_seen(tmp_path: Path, kind: str) -> None:
    copy = shutil.copytree(REPO, tmp_path / "repo", ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    CHANGES[kind](copy / "src" / "bem2" / "router" / "training.py")
    (line,) = differences(copy, MANIFEST.read_text(encoding="utf-8"))
    assert line.endswith(kind)
