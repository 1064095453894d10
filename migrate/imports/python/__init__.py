"""Python modules and snippets: ``rewrite(text, ctx)`` plans every reference to an old name.

The parser of the standard library finds the references, edits are spans of the text, and LibCST is given just the
statements that have to be taken apart.
"""

from __future__ import annotations

import ast
import re
import sys
import warnings

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.python.annotations import add_annotation_uses
from migrate.imports.python.bindings import names_to_watch, new_roots, read
from migrate.imports.python.comments import report_comments
from migrate.imports.python.gate import Gate, Unequal
from migrate.imports.python.plan import Planner
from migrate.imports.python.scopes import Found, Walker
from migrate.imports.python.source import Lines, Source, matching_lines, word_lines
from migrate.imports.python.strings import DYNAMIC_WORD, Hit, Strings
from migrate.imports.text import paths

# Expressions of thousands of terms occur in generated code; Python's own limit stops at a few hundred.
_DEPTH = 20_000


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Plan the rewriting of a module or snippet; pure: no file is touched.

    A text that does not parse gives one finding and no edit, and so does a result that fails the safety check.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEPTH))
    try:
        return _rewrite(text, ctx)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return _unparsable(text, ctx, error)
    finally:
        sys.setrecursionlimit(limit)


def _rewrite(text: str, ctx: Context) -> Rewrite:
    tree = _parse(text)
    planner = _plan(Source(text), tree, ctx)
    plan = planner.plan
    if not plan.edits:
        return Rewrite([], plan.findings)
    try:
        Gate(planner.source, plan).check(tree)
    except Unequal as error:
        hint = "please report this file; rewrite it by hand"
        return Rewrite([], [*plan.findings, ctx.finding(text, 0, "BM113", f"safety check failed: {error}", hint)])
    return Rewrite(plan.edits, plan.findings)


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _plan(source: Source, tree: ast.Module, ctx: Context) -> Planner:
    hits = [Hit(*found) for found in ctx.moves.find(source.text, tags=True)]
    import_lines = word_lines(source, ("import",))
    found = Walker(Lines(import_lines), (), with_expressions=False).walk(tree)
    reads = list(read(found.sites, ctx))
    watched = names_to_watch(reads, ctx.moves)
    path_hits = list(paths.find(source.text, ctx))
    lines = {source.line(hit.start) for hit in hits} | matching_lines(source, DYNAMIC_WORD)
    lines |= {source.line(start) for start, *_ in path_hits}
    examples = _examples(source, found, ctx)
    lines |= {source.line(offset) for offset in examples}
    if watched:
        names = watched | new_roots(watched, ctx.moves)
        lines |= word_lines(source, names)
    else:
        names = set()
    if watched or hits or examples or lines - import_lines:
        found = Walker(Lines(lines | import_lines), names).walk(tree)
        reads = list(read(found.sites, ctx))
    add_annotation_uses(source, found, names)
    planner = Planner(source, found, reads, ctx)
    strings = Strings(planner, reads, hits, path_hits, examples)
    strings.collect_attributes()
    planner.run()
    strings.run()
    report_comments(planner, hits, path_hits)
    return planner


def _examples(source: Source, found: Found, ctx: Context) -> list[int]:
    """Return the offsets of import statements in strings, such as the examples of docstrings.

    They needn't spell an old name out: ``from a import b`` does so in two places.
    """
    roots = "|".join(sorted(map(re.escape, ctx.moves.roots)))
    pattern = re.compile(rf"^[ \t]*(?:>>> |\.\.\. |In \[\d+\]: )?(?:from|import)[ \t]+(?:{roots})\b", re.MULTILINE)
    code = {site.node.lineno for site in found.sites}
    return [match.start() for match in pattern.finditer(source.text) if source.line(match.end()) not in code]


def _unparsable(text: str, ctx: Context, error: BaseException) -> Rewrite:
    line = getattr(error, "lineno", None) or 1
    offset = Source(text).starts[min(line, text.count("\n") + 1) - 1] if text else 0
    reason = getattr(error, "msg", None) or str(error) or type(error).__name__
    if isinstance(error, RecursionError | MemoryError):
        reason = "the code is nested too deeply"
    hint = "rewrite it by hand, or mend the syntax first"
    return Rewrite([], [ctx.finding(text, offset, "BM108", f"not valid Python 3: {reason}", hint)])
