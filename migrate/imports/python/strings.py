"""Old names in string constants: rewritten where the position means a module, reported elsewhere."""

from __future__ import annotations

import ast
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from migrate.edits import Edit
from migrate.imports.prefilter import IMPORTERS
from migrate.imports.python.bindings import Read
from migrate.imports.python.plan import Attribute, Planner
from migrate.imports.python.scopes import Call, Scope, Text
from migrate.imports.python.source import Source
from migrate.imports.targets import in_text
from migrate.imports.tree import absolute

# Callable -> numbers and keywords of the arguments that name a module or an object by its dotted name.
MODULE_ARGUMENTS: dict[str, tuple[int | str, ...]] = {
    "__import__": (0, "name"),
    "importlib.import_module": (0, "name", 1, "package"),
    "importlib.__import__": (0, "name"),
    "importlib.util.find_spec": (0, "name", 1, "package"),
    "importlib.util.resolve_name": (1, "package"),
    "importlib.util.spec_from_file_location": (0, "name"),
    "importlib.resources.files": (0, "anchor", "package"),
    "importlib.resources.path": (0, "package"),
    "importlib.resources.open_text": (0, "package"),
    "importlib.resources.open_binary": (0, "package"),
    "importlib.resources.read_text": (0, "package"),
    "importlib.resources.read_binary": (0, "package"),
    "pkgutil.resolve_name": (0, "name"),
    "pkgutil.get_data": (0, "package"),
    "pkgutil.get_loader": (0,),
    "pkgutil.find_loader": (0,),
    "pkg_resources.resource_filename": (0,),
    "pkg_resources.resource_string": (0,),
    "pkg_resources.resource_stream": (0,),
    "runpy.run_module": (0, "mod_name"),
    "unittest.mock.patch": (0, "target"),
    "unittest.mock.patch.dict": (0, "in_dict"),
    "unittest.mock.patch.multiple": (0, "target"),
    "mock.patch": (0, "target"),
    "mock.patch.dict": (0, "in_dict"),
    "mock.patch.multiple": (0, "target"),
    "mocker.patch": (0, "target"),
    "mocker.patch.dict": (0, "in_dict"),
    "mocker.patch.multiple": (0, "target"),
    "monkeypatch.setattr": (0, "target"),
    "monkeypatch.delattr": (0, "target"),
    "pytest.importorskip": (0, "modname"),
    "hydra.utils.get_class": (0,),
    "hydra.utils.get_method": (0,),
    "hydra.utils.get_object": (0,),
    "sys.modules.get": (0,),
    "sys.modules.pop": (0,),
    "sys.modules.setdefault": (0,),
}
DYNAMIC = frozenset(
    {
        "__import__",
        "importlib.import_module",
        "importlib.__import__",
        "importlib.util.find_spec",
        "pkgutil.resolve_name",
        "runpy.run_module",
        "pytest.importorskip",
    }
)
# Callable(object, "attribute", ...): the pair names what ``object.attribute`` would.
ATTRIBUTE_CALLS = frozenset(
    {
        "getattr",
        "setattr",
        "hasattr",
        "delattr",
        "unittest.mock.patch.object",
        "mock.patch.object",
        "mocker.patch.object",
        "mocker.spy",
        "monkeypatch.setattr",
        "monkeypatch.delattr",
    }
)
CLASS_KEYS = frozenset({"_target_", "_component_", "class_path", "()", "target", "class", "entry_point", "entrypoint"})
SETUP_MODULES = frozenset({"packages", "py_modules", "namespace_packages"})
DYNAMIC_WORD = re.compile(rf"(?<!def )\b(?:{'|'.join(IMPORTERS)})\s*\(")
COMMAND = re.compile(r"(?:^|\s)-[mc](?:\s|$)|\bimport\s")
_LITERAL = re.compile(r"(?P<prefix>[rRuU]?)(?P<quote>\"\"\"|'''|\"|')", re.DOTALL)
_PYTHON = re.compile(r"python|pypy|torchrun|accelerate|coverage|deepspeed|pdb|kernprof|mpiexec|mprof")
_WORD = re.compile(r"\w+")
_ENTRY = re.compile(r"=\s*(?P<name>[\w.]+:[\w.]+)")


PathHit = tuple[int, int, str, str]


@dataclass(frozen=True, slots=True)
class Hit:
    """An old name in the text: its span and spelling."""

    start: int
    end: int
    name: str


def body_span(source: Source, node: ast.Constant) -> tuple[int, int] | None:
    """Return the span between the quotes, when the text there is the value itself: no escapes, one literal."""
    start, end = source.span(node)
    found = _LITERAL.match(source.text, start, end)
    if found is None:
        return None
    begin, stop = found.end(), end - len(found["quote"])
    return (begin, stop) if source.text[begin:stop] == node.value else None


class Strings:
    """Plans the string constants of one module."""

    def __init__(
        self, planner: Planner, reads: list[Read], hits: list[Hit], paths: list[PathHit], examples: list[int]
    ) -> None:
        self.planner = planner
        self.source = planner.source
        self.ctx = planner.ctx
        self.hits = hits
        self.starts = [hit.start for hit in hits]
        self.paths = paths
        self.examples = examples
        self.imported = {
            (scope, binding.name): binding.path
            for one in reads
            for binding in one.bindings
            for scope in (binding.scope,)
        }

    @cached_property
    def related(self) -> bool:
        """Whether the module mentions, or lies in, a top-level package of the list of moves."""
        around = {part for module in self.ctx.modules for part in module.split(".")}
        return any(root in self.source.text or root in around for root in self.ctx.moves.roots)

    def callee(self, call: ast.Call, scope: Scope) -> str:
        """Return the dotted name of what is called, through the imports seen from ``scope``."""
        parts: list[str] = []
        node: ast.expr = call.func
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        seen: Scope | None = scope
        while seen is not None and (seen, node.id) not in self.imported:
            seen = seen.parent
        root = self.imported[seen, node.id] if seen is not None else node.id
        root = "monkeypatch" if root == "mp" else root
        return ".".join([root, *reversed(parts)])

    def collect_attributes(self) -> None:
        """Note the calls such as ``getattr(module, "name")`` before the uses of ``module`` are planned."""
        for call in self.planner.found.calls:
            if len(call.node.args) < 2 or self.callee(call.node, call.scope) not in ATTRIBUTE_CALLS:
                continue
            holder, name = call.node.args[:2]
            if isinstance(name, ast.Constant) and isinstance(name.value, str) and body_span(self.source, name):
                self.planner.attributes[id(holder)] = Attribute(name.value, name)

    def run(self) -> None:
        """Rewrite or report every string that holds an old name, and report computed module names."""
        callees = {id(call.node): self.callee(call.node, call.scope) for call in self.planner.found.calls}
        for text in self.planner.found.texts:
            start, end = self.source.span(text.node)
            first, last = bisect_left(self.starts, start), bisect_left(self.starts, end)
            inside = [hit for hit in self.hits[first:last] if hit.end <= end]
            files = [path for path in self.paths if start <= path[0] and path[1] <= end]
            nearest = bisect_right(self.examples, start)
            example = nearest < len(self.examples) and self.examples[nearest] < end and self._names_a_leaf(start, end)
            if (inside or files or example) and not text.annotation:
                self._text(text, inside, files, callees)
        for call in self.planner.found.calls:
            self._dynamic(call, callees[id(call.node)])

    def _names_a_leaf(self, start: int, end: int) -> bool:
        """Whether the last component of an old name occurs, as it does in every way to spell one."""
        return not self.ctx.moves.leaves.isdisjoint(_WORD.findall(self.source.text, start, end))

    def _text(self, text: Text, inside: list[Hit], files: list[PathHit], callees: dict[int, str]) -> None:
        span = body_span(self.source, text.node)
        if isinstance(text.parents[-1], ast.JoinedStr):
            # Before Python 3.12 the literal parts of an f-string have the span of all of it, code included.
            span = None
            inside = [hit for hit in inside if hit.name in str(text.node.value)]
        if span is not None and (text.docstring or self._is_prose(text, span)):
            self._delegate(span, "docstring")
            return
        report_paths(self.planner, files)
        if not inside:
            return
        if span is None:
            self._report_all(inside)
        elif self._names_module(text, callees):
            self._whole(span, inside)
        elif self._in_setup(text, "entry_points"):
            self._entry_points(span)
        elif COMMAND.search(self.source.text, *span) and self._delegate(span, "command"):
            return
        else:
            self._report_all(inside)

    def _is_prose(self, text: Text, span: tuple[int, int]) -> bool:
        """Whether a string statement that isn't the docstring documents the attribute above it."""
        return isinstance(text.parents[-1], ast.Expr) and span[1] > span[0]

    def _delegate(self, span: tuple[int, int], form: str) -> bool:
        """Hand the text between the quotes to the rewriter of documentation or of command lines."""
        from migrate.imports.text import docstring, shell

        begin, stop = span
        line = self.source.line(begin)
        body = self.source.text[begin:stop]
        rewriter = docstring.rewrite if form == "docstring" else shell.rewrite
        result = rewriter(body, self.ctx.as_snippet(line - 1))
        self.planner.plan.edits += [Edit(begin + e.start, begin + e.end, e.new, e.kind) for e in result.edits]
        self.planner.plan.findings += result.findings
        return True

    def _names_module(self, text: Text, callees: dict[int, str]) -> bool:
        """Whether the position of a string means a module or a class by its dotted name."""
        parent, node = text.parents[-1], text.node
        if isinstance(parent, ast.Call):
            return self._argument(callees.get(id(parent), ""), _position(parent, node))
        if isinstance(parent, ast.keyword) and isinstance(text.parents[-2], ast.Call):
            call = text.parents[-2]
            return self._argument(callees.get(id(call), ""), parent.arg or "")
        if isinstance(parent, ast.List | ast.Tuple | ast.Set):
            return self._element(text, parent)
        if isinstance(parent, ast.Dict):
            return self._dict_value(parent, node) or self._modules_dict(text, callees)
        if isinstance(parent, ast.Subscript):
            return ast.unparse(parent.value) == "sys.modules"
        if isinstance(parent, ast.Compare):
            return any(ast.unparse(c) == "sys.modules" for c in parent.comparators)
        return isinstance(parent, ast.Assign) and _assigned(parent) == "pytest_plugins"

    def _argument(self, callee: str, position: int | str) -> bool:
        if callee == "logging.getLogger":
            return self.ctx.logger_names and position in (0, "name")
        return position in MODULE_ARGUMENTS.get(callee, ())

    def _element(self, text: Text, parent: ast.List | ast.Tuple | ast.Set) -> bool:
        at = next((n for n, item in enumerate(parent.elts) if item is text.node), 0)
        before = parent.elts[at - 1] if at else None
        if isinstance(before, ast.Constant) and before.value in ("-m", "--module"):
            return _runs_python(parent.elts[: at - 1])
        holder = text.parents[-2]
        if isinstance(holder, ast.Assign) and _assigned(holder) == "pytest_plugins":
            return True
        return any(self._in_setup(text, name) for name in SETUP_MODULES)

    def _in_setup(self, text: Text, keyword: str) -> bool:
        """Whether the string stands inside ``setup(keyword=...)``."""
        for outer, inner in zip(text.parents, text.parents[1:], strict=False):
            if isinstance(inner, ast.keyword) and inner.arg == keyword and isinstance(outer, ast.Call):
                return ast.unparse(outer.func).rpartition(".")[2] == "setup"
        return False

    def _dict_value(self, parent: ast.Dict, node: ast.Constant) -> bool:
        return any(
            value is node and isinstance(key, ast.Constant) and key.value in CLASS_KEYS
            for key, value in zip(parent.keys, parent.values, strict=True)
        )

    def _modules_dict(self, text: Text, callees: dict[int, str]) -> bool:
        """Whether the string is a key of the mapping given to ``patch.dict("sys.modules", {...})``."""
        call = text.parents[-2] if len(text.parents) > 1 else None
        if not isinstance(call, ast.Call) or not callees.get(id(call), "").endswith("patch.dict") or not call.args:
            return False
        target = call.args[0]
        named = isinstance(target, ast.Constant) and target.value == "sys.modules"
        parent = text.parents[-1]
        assert isinstance(parent, ast.Dict)
        return (named or ast.unparse(target) == "sys.modules") and any(key is text.node for key in parent.keys)

    def _whole(self, span: tuple[int, int], inside: list[Hit]) -> None:
        """Rewrite a string that is an old name from quote to quote."""
        value = self.source.text[slice(*span)]
        renamed = self.ctx.moves.rename(value)
        if renamed is None or inside[0].start != span[0] or inside[0].end != span[1]:
            self._report_all(inside)
            return
        new, target = renamed
        if target.blocked:
            self.planner.judge(span[0], value, target)
        if new != value:
            self.planner.plan.edits.append(Edit(*span, new, "string"))

    def _entry_points(self, span: tuple[int, int]) -> None:
        for found in _ENTRY.finditer(self.source.text, *span):
            renamed = self.ctx.moves.rename(found["name"])
            if renamed is not None and renamed[0] != found["name"]:
                self.planner.plan.edits.append(Edit(found.start("name"), found.end("name"), renamed[0], "entry point"))

    def _report_all(self, hits: list[Hit]) -> None:
        for hit in hits:
            report_text(self.planner, hit)

    def _dynamic(self, call: Call, callee: str) -> None:
        """Report a call that imports a module whose name is computed, or from which names moved away."""
        node = call.node
        if callee not in DYNAMIC or not (node.args or node.keywords) or not self.related:
            return
        argument = node.args[0] if node.args else node.keywords[0].value
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            self._literal(call, argument.value)
            return
        known = next(_constant_parts(argument), "")
        about = f" that begins with {known!r}" if known else ""
        self.planner.report(
            self.source.span(node)[0],
            "BM102",
            f"{callee} gets a computed name{about}",
            "check where the name comes from; old names in those places are not seen",
        )

    def _literal(self, call: Call, name: str) -> None:
        """Report what needs a look about an import of a module by its literal name."""
        if not name.startswith("."):
            self._escaping(call, name)
            return
        values = [*call.node.args[1:2], *(k.value for k in call.node.keywords if k.arg == "package")]
        package = next((v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)), "")
        level = len(name) - len(name.lstrip("."))
        full = absolute(level, name[level:], package, is_package=True) if package else None
        target = self.ctx.moves.resolve(full) if full else None
        moved = self.ctx.moves.resolve(package) if package else None
        along = f"{moved.dotted if moved else package}.{name[level:]}"
        if not package or (target is not None and target.dotted != along):
            what = f"{full} moved" if target is not None else "the package of this relative name is computed"
            hint = f"it is {target.dotted} now" if target is not None else "check what the package is"
            self.planner.report(self.source.span(call.node)[0], "BM102", what, hint)

    def _escaping(self, call: Call, module: str) -> None:
        """Report a module imported by name whose attributes are used: names that moved out of it are not seen."""
        if self.ctx.moves.loses(module) and not isinstance(call.parent, ast.Expr):
            self.planner.report(
                self.source.span(call.node)[0],
                "BM103",
                f"module {module} is imported as an object; names that moved out of it are not seen there",
                "check what is read from it, and import moved names from their new modules",
            )


def report_text(planner: Planner, hit: Hit) -> None:
    """Report an old name in a comment or in a string that means nothing certain."""
    planner.remark(hit.start, in_text(planner.ctx, hit.name))


def report_paths(planner: Planner, hits: Iterable[PathHit]) -> None:
    """Report the paths of moved modules."""
    for start, _, message, hint in hits:
        planner.report(start, "BM112", message, hint)


def _runs_python(words: list[ast.expr]) -> bool:
    """Whether the words before ``-m`` can be a Python program: ``git commit -m`` takes no module."""
    literal = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
    return len(literal) < len(words) or not words or any(_PYTHON.search(word) for word in literal)


def _position(call: ast.Call, node: ast.AST) -> int:
    return next((number for number, argument in enumerate(call.args) if argument is node), -1)


def _assigned(node: ast.Assign) -> str:
    target = node.targets[0]
    return target.id if isinstance(target, ast.Name) else ""


def _constant_parts(node: ast.expr) -> Iterator[str]:
    """Yield the literal beginning of an f-string or of a concatenation."""
    first = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
    while isinstance(first, ast.BinOp):
        first = first.left
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        yield first.value
