"""How each tool is asked to do the work of a scenario."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from _measure import Tool, python_files
from _scenarios import Move

OURS, START_UP, AST_GREP, GREP = "bem-migrate", "bem-migrate --version", "ast-grep", "grep -rlE"
AST_GREP_RELATIVE = "ast-grep + relative"
LIBCST, LIBCST_FIVE, BOWLER = "libcst rename, 1 move", "libcst rename, 5 moves", "bowler"
SUBSET_STEP = 40

# Imports and attribute chains of all moves are one rule each, since a rule for every move takes ast-grep longer. A list
# such as `from a import x, b` is left alone: a rule replaces a statement by a text, and there are too many ways to move
# one name of a list into a statement of its own.
AST_GREP_ALL = r"""
id: imports
language: python
rule:
  all:
    - kind: dotted_name
    - pattern: $NAME
    - regex: '^({old_re})(\..*)?$'
    - any:
        - inside: {{kind: import_from_statement, field: module_name}}
        - inside: {{kind: import_statement}}
        - inside: {{kind: aliased_import, inside: {{kind: import_statement}}}}
transform:
{steps}
fix: ${last}
---
id: chains
language: python
rule:
  all:
    - kind: attribute
    - pattern: $NAME
    - regex: '^({old_re})$'
transform:
{steps}
fix: ${last}
"""
AST_GREP_STEP = r"  {name}: {{replace: {{source: ${source}, replace: '^{old_re}\b', by: '{new}'}}}}"
AST_GREP_MOVE = r"""
id: move-{n}-child
language: python
rule: {{pattern: from {old_parent} import {old_child}}}
fix: from {new_parent} import {new_child} as {old_child}
---
id: move-{n}-child-alias
language: python
rule: {{pattern: from {old_parent} import {old_child} as $ALIAS}}
fix: from {new_parent} import {new_child} as $ALIAS
"""

# ast-grep knows no packages, so each relative spelling is a rule for the files in which it means the old module.
AST_GREP_RELATIVE_MOVE = r"""
id: move-{n}-relative-{k}
language: python
files: {files}
rule:
  all:
    - kind: relative_import
    - pattern: $NAME
    - regex: '^{old_re}$'
fix: '{new}'
"""

BOWLER_SCRIPT = """
import sys
from bowler import Query

query = Query(sys.argv[1:])
for old, new in {moves!r}:
    query = query.select_module(old).rename(new)
query.execute(write=True, silent=True, interactive=False)
"""


def ours(command: Sequence[str], mapping: Path) -> Tool:
    """Return the tool itself; exit code 1 only says that there are findings."""
    return Tool(OURS, [[*command, "imports", ".", "--mapping", str(mapping), "--quiet"]], ok_codes=(0, 1))


def start_up(command: Sequence[str]) -> Tool:
    """Return what the tool takes to say its version."""
    return Tool(START_UP, [[*command, "--version"]], verify=False)


def grep(moves: Sequence[Move]) -> Tool:
    """Return the reading of all files: no tool that has to find the names can be faster."""
    pattern = "|".join(re.escape(move.old) for move in moves)
    return Tool(GREP, [["grep", "-rlE", pattern, "."]], verify=False, ok_codes=(0, 1), note="only lists files")


def ast_grep(venv: Path, work: Path, moves: Sequence[Move], roots: Sequence[str], relative: bool) -> Tool:
    """Return ast-grep with all moves as rules of one scan."""
    rules = [_rule_for_all(moves), *(_child_rules(number, move) for number, move in enumerate(moves))]
    if relative:
        rules += [rule for number, move in enumerate(moves) for rule in _relative_rules(number, move, roots)]
    path = work / f"rules-{'relative' if relative else 'absolute'}.yml"
    path.write_text("---".join(rules), encoding="utf-8")
    command = [str(venv / "bin/ast-grep"), "scan", "--update-all", "--rule", str(path), "."]
    return Tool(AST_GREP_RELATIVE if relative else AST_GREP, [command], ok_codes=(0, 1))


def libcst_one(venv: Path, moves: Sequence[Move], tree: Path, full: bool, whole: bool) -> Tool:
    """Return LibCST's command for the first move, on all files or on every `SUBSET_STEP`-th with the time scaled up."""
    if full or whole:
        return Tool(LIBCST, [_libcst(venv, moves[0], ["."])], max_rounds=1, note="measured")
    files = python_files(tree)
    subset = files[::SUBSET_STEP]
    scale = sum(path.stat().st_size for path in files) / sum(path.stat().st_size for path in subset)
    names = [str(path.relative_to(tree)) for path in subset]
    note = f"{len(subset)} files measured, seconds scaled by bytes: x{scale:.0f}"
    return Tool(LIBCST, [_libcst(venv, moves[0], names)], max_rounds=1, scale=scale, verify=False, note=note)


def libcst_five(venv: Path, moves: Sequence[Move]) -> Tool:
    """Return LibCST's command once for each move: it takes one move a run."""
    return Tool(LIBCST_FIVE, [_libcst(venv, move, ["."]) for move in moves], max_rounds=1, note="measured")


def bowler(venv: Path, work: Path, moves: Sequence[Move]) -> Tool:
    """Return Bowler with all moves in one query."""
    script = work / "bowler_moves.py"
    script.write_text(BOWLER_SCRIPT.format(moves=[(move.old, move.new) for move in moves]), encoding="utf-8")
    return Tool(BOWLER, [[str(venv / "bin/python"), str(script), "."]], max_rounds=1)


def _rule_for_all(moves: Sequence[Move]) -> str:
    """Return rules whose transformation tries one move after the other, at most one of which applies."""
    names = ["NAME", *(f"STEP{number}" for number in range(len(moves)))]
    steps = [
        AST_GREP_STEP.format(name=name, source=source, old_re=re.escape(move.old), new=move.new)
        for source, name, move in zip(names, names[1:], moves, strict=False)
    ]
    old_re = "|".join(re.escape(move.old) for move in moves)
    return AST_GREP_ALL.format(old_re=old_re, steps="\n".join(steps), last=names[-1])


def _child_rules(number: int, move: Move) -> str:
    old_parent, _, old_child = move.old.rpartition(".")
    new_parent, _, new_child = move.new.rpartition(".")
    return AST_GREP_MOVE.format(
        n=number, old_parent=old_parent, old_child=old_child, new_parent=new_parent, new_child=new_child
    )


def _relative_rules(number: int, move: Move, roots: Sequence[str]) -> list[str]:
    """Return a rule for every ancestor package that old and new name share, up to three levels deep."""
    old, new = move.old.split("."), move.new.split(".")
    rules = []
    for depth in (d for d in range(1, len(old)) if old[:d] == new[:d]):
        for level in (1, 2, 3):
            files = ["/".join([*_prefix(root), *old[:depth], *["*"] * (level - 1), "*.py"]) for root in roots]
            rest_old, rest_new = ("." * level + ".".join(parts[depth:]) for parts in (old, new))
            rules.append(
                AST_GREP_RELATIVE_MOVE.format(
                    n=number, k=f"{depth}-{level}", files=files, old_re=re.escape(rest_old), new=rest_new
                )
            )
    return rules


def _prefix(root: str) -> list[str]:
    return [] if root == "." else [root]


def _libcst(venv: Path, move: Move, paths: Sequence[str]) -> list[str]:
    options = ["--no-format", "--hide-progress", "--old_name", move.old, "--new_name", move.new]
    return [str(venv / "bin/python"), "-m", "libcst.tool", "codemod", "rename.RenameCommand", *options, *paths]


def missing_system_tools() -> list[str]:
    """Return the programs that must be on the system and are not."""
    return [name for name in ("grep",) if shutil.which(name) is None]
