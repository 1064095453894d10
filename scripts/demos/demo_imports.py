"""Run the imports job on a copy of the bundled legacy repository, print what it does, and check each claim it makes.

Ends with 1 when a claim does not hold. The copy stays in ``.demo/`` to look at.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / ".demo" / "legacy_repo"
PROGRAM = Path(sys.executable).parent / "bem-migrate"
DIFF_LINES = 40

Tree = dict[str, tuple[int, str]]


class ClaimError(Exception):
    """Something that the demo says is so is not."""


def main() -> int:
    """Show the whole cycle: look, rewrite, check, take it back."""
    if DEMO.exists():
        shutil.rmtree(DEMO)
    shutil.copytree(ROOT / "tests" / "legacy_repo", DEMO, symlinks=True)
    before = snapshot(DEMO)
    say(f"A copy of tests/legacy_repo: {len(before)} files in {DEMO.relative_to(ROOT)}")
    try:
        look(before)
        rewrite(before)
        take_back(before)
    except ClaimError as error:
        print(f"\ndemo failed: {error}", file=sys.stderr)
        return 1
    say("Every claim above was checked. The copy is as it was: try the commands there yourself.")
    return 0


def look(before: Tree) -> None:
    """Show what is wrong today and what would change; nothing is written."""
    say("Which imports lead nowhere today, and which would after the moves?")
    run("doctor", ".", codes={0, 1})
    say("What would change?")
    run("imports", ".", "--diff", "--quiet", codes={1}, limit=DIFF_LINES)
    claim(snapshot(DEMO) == before, "--diff and doctor write nothing")


def rewrite(before: Tree) -> None:
    """Rewrite, and show that a second run finds nothing to change."""
    say("Rewrite. Exit code 1 says that findings are left for a person.")
    run("imports", ".", codes={0, 1})
    after = snapshot(DEMO)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    claim(bool(changed), f"{len(changed)} files were rewritten")
    claim((DEMO / ".bem-migrate").is_dir(), "their originals are in the journal, .bem-migrate/")
    claim(before.keys() == after.keys(), "no file was added or removed")
    claim(all(before[path][0] == after[path][0] for path in before), "every file kept its mode")

    say("The same again, and the check for CI: nothing is left to rewrite, only to look at.")
    run("imports", ".", "--quiet", codes={0, 1})
    claim(snapshot(DEMO) == after, "a second run changes no byte")
    rest = run("imports", ".", "--check", codes={0, 1})
    claim("0 to change" in rest, "--check has no file to change")
    say("And the imports now?")
    run("doctor", ".", codes={0, 1})


def take_back(before: Tree) -> None:
    """Undo, and compare every byte with the original."""
    say("Take it back.")
    run("undo", codes={0})
    claim(snapshot(DEMO) == before, f"undo put back every byte of {len(before)} files")


def say(text: str) -> None:
    """Print a heading."""
    print(f"\n# {text}", flush=True)


def claim(holds: bool, text: str) -> None:
    """Print `text` as checked.

    Raises:
        ClaimError: It does not hold.
    """
    if not holds:
        raise ClaimError(f"not true: {text}")
    print(f"  checked: {text}", flush=True)


def run(*args: str, codes: set[int], limit: int = 0) -> str:
    """Run ``bem-migrate`` in the copy, print the command line as a person types it, and its output.

    Args:
        args: Arguments of the command.
        codes: Exit codes that are right here.
        limit: Lines of output to show; 0 shows all.

    Returns:
        The whole output.

    Raises:
        ClaimError: The command ended with another exit code.
    """
    print("\n$ " + shlex.join(["bem-migrate", *args]) + (f" | head -n {limit}" if limit else ""), flush=True)
    # Not on a terminal here, so the width is said.
    env = {**os.environ, "COLUMNS": "120"}
    done = subprocess.run(
        [PROGRAM, *args], cwd=DEMO, env=env, stdout=subprocess.PIPE, text=True, errors="replace", encoding="utf-8"
    )
    lines = done.stdout.splitlines()
    if lines:
        print("\n".join(lines[: limit or None]), flush=True)
    if done.returncode not in codes:
        raise ClaimError(f"exit code {done.returncode} of bem-migrate {shlex.join(args)}")
    return done.stdout


def snapshot(folder: Path) -> Tree:
    """Return mode and content hash of every file under `folder`, without the journal that undo keeps."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file())
    inside = ((path, path.relative_to(folder)) for path in paths)
    return {name.as_posix(): fingerprint(path) for path, name in inside if name.parts[0] != ".bem-migrate"}


def fingerprint(path: Path) -> tuple[int, str]:
    """Return the mode of a file and the hash of its bytes, or of where a link points."""
    data = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
    return path.lstat().st_mode, hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
