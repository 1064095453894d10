"""References in Jupyter notebooks: the code cells of one notebook are one program; outputs and metadata stay."""

from __future__ import annotations

import bisect
import json
import re
from dataclasses import dataclass

from migrate.edits import Rewrite, apply
from migrate.imports.context import Context
from migrate.imports.text import code, config_json, ipython, languages, markdown, shell
from migrate.imports.text.nodes import Atoms, Node, flattened
from migrate.imports.text.plan import Plan
from migrate.imports.text.view import Builder, Encode, View

_CELL_MAGIC = re.compile(r"\s*%%(?P<name>\w+)(?P<arguments>[^\r\n]*)(?:\r\n|\r|\n|$)")
_PYTHON_MAGICS = frozenset("time timeit capture prun python python3 py px memit mprun heat scalene".split())
_SHELL_MAGICS = frozenset("bash sh zsh shell cmd system sx".split())


@dataclass(frozen=True, slots=True)
class _Cell:
    number: int
    kind: str
    source: View


def rewrite(text: str, ctx: Context) -> Rewrite:
    """Rewrite a notebook of format 3 or 4."""
    plan = Plan(text, ctx)
    if not plan.mentions(text):
        return plan.result()
    root = config_json.parse(text)
    skeleton = _skeleton(text)
    if root is None or root.kind != "map" or skeleton is None:
        plan.find(0, "BM108", "the notebook is not JSON", "open and save it with Jupyter first")
        return plan.result()
    if _language(root) in ("", "python", "ipython"):
        _cells(plan, root)
    result = plan.result()
    if result.edits and not _same_outside(text, root, skeleton, result):
        message = "the notebook would not be the same outside of its sources"
        return Rewrite([], [ctx.finding(text, result.edits[0].start, "BM113", message)])
    return result


def _same_outside(text: str, root: Node, skeleton: Atoms, result: Rewrite) -> bool:
    """Tell whether every edit lies in a source, and the notebook without its sources is the same afterwards."""
    spans = [(node.start, node.end) for node in _source_nodes(root)]
    starts = [start for start, _ in spans]
    for edit in result.edits:
        index = bisect.bisect_right(starts, edit.start) - 1
        if index < 0 or edit.end > spans[index][1]:
            return False
    return _skeleton(apply(text, result.edits)) == skeleton


def _skeleton(text: str) -> Atoms | None:
    """Return a notebook as another parser sees it, without the sources of its cells."""

    def without_source(pairs: list[tuple[str, object]]) -> object:
        is_cell = any(key == "cell_type" for key, _ in pairs)
        return tuple((key, None if is_cell and key in ("source", "input") else value) for key, value in pairs)

    try:
        return flattened(json.loads(text, object_pairs_hook=without_source))
    except (ValueError, RecursionError):
        return None


def _language(root: Node) -> str:
    metadata = root.get("metadata")
    kernel = metadata.get("kernelspec") if metadata else None
    info = metadata.get("language_info") if metadata else None
    named = (kernel.get("language") if kernel else None) or (info.get("name") if info else None)
    return named.text.lower().rstrip("0123456789") if named else ""


def _cells(plan: Plan, root: Node) -> None:
    program: list[View] = []
    for cell in _found(root, plan.text):
        if cell.kind == "markdown":
            plan.nested(cell.source, markdown.rewrite)
        elif cell.kind == "code":
            view = _code_cell(plan, cell)
            if view is not None:
                program.append(view)
    code.program(plan, program)


def _cell_nodes(root: Node) -> list[Node]:
    sheets = root.get("worksheets")
    holders = sheets.items if sheets else [root]
    return [node for holder in holders if (cells := holder.get("cells")) for node in cells.items]


def _source_nodes(root: Node) -> list[Node]:
    return [source for node in _cell_nodes(root) if (source := node.get("source", "input"))]


def _found(root: Node, text: str) -> list[_Cell]:
    found: list[_Cell] = []
    for number, node in enumerate(_cell_nodes(root), 1):
        source, kind = node.get("source", "input"), node.get("cell_type")
        view = _source(source, text) if source else None
        if view is not None and kind is not None:
            found.append(_Cell(number, kind.text, view))
    return found


def _source(node: Node, text: str) -> View | None:
    """Return the text of a cell, which is one string or a list of lines."""
    parts = [node] if node.kind == "str" else node.items
    builder = Builder()
    for part in parts:
        view = part.view
        if view is None:
            return None
        builder.parts.append(view.text)
        builder.starts.extend(view.starts)
        builder.ends.extend(view.ends)
    return builder.view(config_json.encoded if node.kind == "str" else _as_lines(node, text))


def _as_lines(node: Node, text: str) -> Encode:
    """Spell new text in a list of lines: a line break ends one string and starts the next."""
    if len(node.items) > 1:
        between = text[node.items[0].end : node.items[1].start]
    else:
        between = "," + text[node.start + 1 : node.items[0].start] if node.items else ", "

    def encode(new: str) -> str:
        lines = new.splitlines(keepends=True)
        ended = new.endswith(("\n", "\r"))
        joined = f'"{between}"'.join(config_json.encoded(line) for line in lines)
        return f'{joined}"{between}"' if ended else joined

    return encode


def _code_cell(plan: Plan, cell: _Cell) -> View | None:
    """Return the Python of a cell as one more piece of the program; rewrite a cell in another language."""
    view = cell.source
    magic = _CELL_MAGIC.match(view.text)
    if magic is not None:
        body = ipython.piece(view, magic.end(), len(view.text))
        name = magic["name"]
        if name in _SHELL_MAGICS or (name == "script" and re.search(r"\b(?:ba|z)?sh\b", magic["arguments"])):
            plan.nested(body, shell.rewrite)
            return None
        if name == "writefile":
            _written_file(plan, magic["arguments"], body)
            return None
        if name in ("markdown", "md"):
            plan.nested(body, markdown.rewrite)
            return None
        if name not in _PYTHON_MAGICS:
            return None
        view = body
    masked = ipython.masked(view, plan)
    if code.parse(masked.text) is None:
        _unparsable(plan, cell, masked)
        return None
    return masked


def _written_file(plan: Plan, arguments: str, body: View) -> None:
    name = arguments.split()[-1] if arguments.split() else ""
    suffix = name.rpartition(".")[2]
    if suffix == "py":
        code.python(plan, body)
    elif (rewriter := languages.rewriter(suffix)) is not None:
        plan.nested(body, rewriter)


def _unparsable(plan: Plan, cell: _Cell, view: View) -> None:
    if any(True for _ in plan.ctx.moves.find(view.text)):
        message = f"code cell {cell.number} is not valid Python and was left alone"
        plan.find(view.nearest(0), "BM108", message, "rewrite it by hand")
