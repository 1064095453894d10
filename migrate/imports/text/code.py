"""Python inside other texts: snippets, arguments of ``python -c``, blocks whose language nobody named."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import replace

from migrate.edits import Rewrite
from migrate.imports.context import Context
from migrate.imports.kinds import rewriter
from migrate.imports.text import ipython
from migrate.imports.text.plan import Plan
from migrate.imports.text.view import LINE_BREAK, Builder, View
from migrate.imports.text.words import Word

# New code that means the same inside any kind of quotes.
_SAFE = re.compile(r"[\w.,:; ()=*]*")
_IMPORT = re.compile(r"^[ \t]*(?:import|from)[ \t]", re.MULTILINE)


def rewrite_python(text: str, ctx: Context) -> Rewrite:
    """Rewrite a snippet with the rewriter of Python files."""
    return rewriter("py")(text, ctx)


def parse(text: str) -> ast.Module | None:
    """Parse a snippet; None when it isn't Python."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes are not our business
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def python(plan: Plan, view: View) -> None:
    """Rewrite a snippet: as a whole, else without lines for IPython, else its import statements alone."""
    if not plan.mentions(view.text):
        plan.claim(view)
        return
    tree = parse(view.text)
    if tree is None:
        view = ipython.masked(view, plan)
        tree = parse(view.text)
    if tree is None:
        statements(plan, view)
        return
    before = len(plan.findings)
    plan.nested(view, rewrite_python)
    _unbound(plan, view, tree, before)


def argument(plan: Plan, word: Word) -> None:
    """Rewrite the code of ``python -c``; a finding where quotes or variables make that unsafe."""
    if not plan.mentions(word.value):
        return
    if word.quoted and not word.expands and parse(word.value) is not None:
        plan.nested(replace(word.view, encode=lambda new: new if _SAFE.fullmatch(new) else None), rewrite_python)
        return
    plan.claim(word.view)
    for start, _, name in plan.ctx.moves.find(word.value):
        if "." in name or _IMPORT.search(word.value) or re.search(rf"\bimport {re.escape(name)}\b", word.value):
            plan.mention(word.view.nearest(start), name)


def has_old_import(text: str, tree: ast.Module, ctx: Context) -> bool:
    """Tell whether a snippet imports something that moved."""
    if not _IMPORT.search(text):
        return False
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        if any(_old(name, ctx) for name in names):
            return True
    return False


def _old(dotted: str, ctx: Context) -> bool:
    return ctx.moves.resolve(dotted) is not None or ctx.moves.leads_to(dotted)


def statements(plan: Plan, view: View) -> None:
    """Rewrite the lines of a text that are import statements of something that moved, each by itself."""
    for start, end in _import_lines(view.text):
        piece = View(view.text[start:end], view.starts[start:end], view.ends[start:end], view.encode)
        tree = parse(piece.text)
        if tree is not None and has_old_import(piece.text, tree, plan.ctx):
            plan.nested(piece, rewrite_python)


def _import_lines(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of lines that look like an import statement, to the closing parenthesis."""
    for found in _IMPORT.finditer(text):
        start = found.end() - len(found.group().lstrip())
        end = LINE_BREAK.search(text, start)
        stop = end.start() if end else len(text)
        if "(" in text[start:stop] and ")" not in text[start:stop]:
            closing = text.find(")", stop)
            stop = closing + 1 if closing >= 0 else stop
        yield start, stop


def _unbound(plan: Plan, view: View, tree: ast.Module, before: int) -> None:
    """Report old names used in a snippet that doesn't import them: it goes on from an earlier one."""
    bound = {name for node in ast.walk(tree) for name in _binds(node)}
    reported = {offset for offset, _ in plan.findings[before:]}
    seen: set[ast.AST] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or node in seen:
            continue
        seen.update(child for child in ast.walk(node) if child is not node)
        chain = _chain(node)
        if chain is None or chain.partition(".")[0] in bound or not _old(chain, plan.ctx):
            continue
        line = view.text.splitlines(keepends=True)[node.lineno - 1]
        column = len(line.encode()[: node.col_offset].decode()) + 1
        offset = view.nearest(view.offset(node.lineno, column))
        if offset not in reported:
            plan.mention(offset, chain)


def _chain(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _binds(node: ast.AST) -> Iterator[str]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg


def block(plan: Plan, view: View) -> bool:
    """Rewrite a block whose language isn't known, if it tells: Python with an old import, or shell commands.

    Returns:
        Whether it was taken for code.
    """
    if not plan.mentions(view.text):
        return False
    tree = parse(view.text)
    if tree is not None and has_old_import(view.text, tree, plan.ctx):
        python(plan, view)
        return True
    from migrate.imports.text import shell  # a shell line may hold Python, and the other way round

    if shell.looks_like(view.text):
        if tree is None:
            statements(plan, view)
        plan.nested(view, shell.rewrite)
        return True
    if tree is None and _IMPORT.search(view.text):
        statements(plan, view)
    return False


def program(plan: Plan, views: list[View]) -> None:
    """Rewrite pieces of one program that a document shows one after the other."""
    good: list[View] = []
    for view in views:
        if parse(view.text) is not None:
            good.append(view)
        else:
            python(plan, view)
    if not any(plan.mentions(view.text) for view in good):
        for view in good:
            plan.claim(view)
        return
    whole = joined(good)
    inner = rewrite_python(whole.text, replace(plan.ctx.as_snippet(), prefix_lines=0))
    if any(finding.code in ("BM108", "BM113") for finding in inner.findings):
        for view in good:
            python(plan, view)
        return
    for view in good:
        plan.claim(view)
    plan.adopt(whole, inner)


def joined(views: list[View]) -> View:
    """Return several pieces as one text, each ended by a line break."""
    builder, parts, size = Builder(), [], 0
    for view in views:
        parts.append((size, view.encode))
        builder.parts.append(view.text)
        builder.starts.extend(view.starts)
        builder.ends.extend(view.ends)
        if not view.text.endswith(("\n", "\r")):
            builder.synthetic("\n")
        size = len(builder.starts)
    return replace(builder.view(), parts=tuple(parts))
