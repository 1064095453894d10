"""Decides what changes in a Python module: import statements first, then the uses that the new spelling demands."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from migrate.edits import Edit
from migrate.imports.context import Context
from migrate.imports.python import stars
from migrate.imports.python.anchor import Anchor, Problem, spell
from migrate.imports.python.bindings import Binding, Read
from migrate.imports.python.bound import BoundGroup
from migrate.imports.python.rooted import RootedGroup
from migrate.imports.python.scopes import Found, Scope, Use
from migrate.imports.python.source import Source
from migrate.imports.python.statements import Placed, StatementEdit, edit_from, edit_import, insert_after
from migrate.imports.targets import Remark, blocked, missing
from migrate.moves import Target
from migrate.report import Finding


@dataclass(frozen=True, slots=True)
class Attribute:
    """The literal in ``getattr(module, "name")``: its value and its node."""

    value: str
    node: ast.Constant


@dataclass(slots=True)
class Plan:
    """What is to change.

    Attributes:
        edits: Replacements of spans.
        findings: What a person must look at.
        statements: For each changed import statement, by identity: how many statements take its place.
        inserted: For each statement behind which imports are put, by identity: how many.
    """

    edits: list[Edit] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    statements: dict[int, int] = field(default_factory=dict)
    inserted: dict[int, int] = field(default_factory=dict)


class Planner:
    """Plans the rewriting of one module."""

    def __init__(self, source: Source, found: Found, reads: list[Read], ctx: Context) -> None:
        self.source = source
        self.found = found
        self.reads = reads
        self.ctx = ctx
        self.plan = Plan()
        self.clauses: dict[int, dict[int, str]] = defaultdict(dict)
        self.insertions: dict[int, dict[str, None]] = defaultdict(dict)
        self.nodes: dict[int, ast.Import | ast.ImportFrom] = {}
        self.attributes: dict[int, Attribute] = {}
        self.given: set[str] = set()

    def run(self) -> Plan:
        """Plan statements, then uses, and turn the decisions into edits."""
        for one in self.reads:
            self.nodes[id(one.site.node)] = one.site.node
            if isinstance(one.site.node, ast.ImportFrom):
                self._from(one, one.site.node)
            else:
                self._aliased(one)
        uses = self._uses()
        for (scope, name), bindings in self._grouped().items():
            kind = RootedGroup if any(binding.dotted for binding in bindings) else BoundGroup
            kind(self, scope, name, bindings, uses.get((scope, name), [])).plan()
        self._flush()
        return self.plan

    def report(self, offset: int, code: str, message: str, hint: str = "") -> None:
        """Add a finding at an offset."""
        self.plan.findings.append(self.ctx.finding(self.source.text, offset, code, message, hint))

    def remark(self, offset: int, remark: Remark | None) -> None:
        """Add a finding at an offset, if there is anything to say."""
        if remark is not None:
            self.report(offset, *remark)

    def judge(self, offset: int, old: str, target: Target) -> None:
        """Report a target that is blocked, or that isn't there."""
        self.remark(offset, blocked(old, target) if target.blocked else missing(self.ctx, old, target))

    def place_of(self, node: ast.AST) -> int:
        """Return the offset at which a node starts."""
        return self.source.span(node)[0]

    def insert(self, node: ast.Import | ast.ImportFrom, statement: str) -> None:
        """Have an import statement put behind ``node``; the same one only once."""
        self.insertions[id(node)][statement] = None

    def fresh(self, module: str) -> str:
        """Return a name for a module that occurs nowhere in the text, and that a class body does not mangle."""
        name = module.replace(".", "_")
        while name in self.given or re.search(rf"\b{name}\b", self.source.text):
            name = f"{name}_"
        self.given.add(name)
        return name

    def _from(self, one: Read, node: ast.ImportFrom) -> None:
        reading = one.reading
        if isinstance(reading, Problem):
            self.report(self.place_of(node), reading.code, reading.message, reading.hint)
            return
        if reading is None:
            return
        if one.star:
            stars.plan(self, node, reading, one.site.scope)
            return
        if reading.stays and all(self.ctx.moves.resolve(binding.path) is None for binding in one.bindings):
            return
        spelled = "." * node.level + (node.module or "")
        placed = [
            self.place(binding.path, binding.name, node.names[binding.index].name, node, reading)
            for binding in one.bindings
        ]
        if self._circular(node, one, placed) or self._twice(node, one.bindings):
            for binding in one.bindings:
                binding.new_path = binding.path
            return
        unchanged = all(p.module == spelled and p.name == a.name for p, a in zip(placed, node.names, strict=True))
        if not unchanged:
            self.apply(node, edit_from(self.source, node, spelled, placed))

    def place(self, path: str, bound: str, name: str, node: ast.ImportFrom, reading: Anchor) -> Placed:
        """Decide where one name of a ``from`` statement comes from.

        Args:
            path: Its old dotted name.
            bound: The name it is bound to.
            name: The name it is imported under today.
            node: The statement.
            reading: The module that the statement names.
        """
        target = self.ctx.moves.resolve(path)
        if target is None:
            return Placed(spell(node, reading, reading.base), name, bound)
        offset = next((self.place_of(a) for a in node.names if a.name == name), self.place_of(node))
        self.judge(offset, path, target)
        parts = target.dotted.split(".")
        length = target.module_length or len(parts) - 1
        attributes = parts[length:]
        if not attributes:
            length, attributes = len(parts) - 1, parts[-1:]
        if not length:
            return Placed("", target.dotted, bound)
        module = ".".join(parts[:length])
        if reading.stays or attributes == [name]:
            module = spell(node, reading, module)
        if len(attributes) == 1:
            return Placed(module, attributes[0], bound)
        taken = attributes[0] in self.given or attributes[0] in self.ctx.moves.leaves
        free = not taken and not re.search(rf"\b{attributes[0]}\b", self.source.text)
        helper = attributes[0] if free else self.fresh(f"_{attributes[0].lstrip('_')}")
        self.given.add(helper)
        return Placed(module, attributes[0], bound, ".".join(attributes[1:]), helper)

    def _circular(self, node: ast.ImportFrom, one: Read, placed: Iterable[Placed]) -> bool:
        """Whether a single name would be imported from the very module it stands in: this file is its new home."""
        targets = [self.ctx.moves.resolve(binding.path) for binding in one.bindings]
        homes = {
            place.module
            for place, target in zip(placed, targets, strict=True)
            if target is not None and target.move.kind == "symbol" and place.module in self.ctx.modules
        }
        if not homes:
            return False
        self.report(
            self.place_of(node),
            "BM110",
            f"this file is {min(homes)}, the new home of a name that it still imports from elsewhere",
            "move the definition here, then delete the import",
        )
        return True

    def _twice(self, node: ast.ImportFrom, bindings: list[Binding]) -> bool:
        """Whether a statement binds one name twice, where the order decides."""
        twice = len({binding.name for binding in bindings}) < len(bindings)
        if twice:
            what = "one name is bound twice in this import"
            self.report(self.place_of(node), "BM110", what, "delete the one that has no effect")
        return twice

    def apply(self, node: ast.stmt, edit: StatementEdit) -> None:
        """Take over the edits of a statement."""
        self.plan.edits += edit.edits
        self.plan.statements[id(node)] = edit.statements

    def _aliased(self, one: Read) -> None:
        """Plan ``import a.b as c``; names without alias depend on their uses and are planned as groups."""
        for binding in one.bindings:
            if binding.plain:
                continue
            target = self.ctx.moves.resolve(binding.imported)
            if target is None:
                continue
            offset = self.place_of(one.site.node.names[binding.index])
            if target.blocked:
                self.judge(offset, binding.imported, target)
            elif target.module_length and target.module_length < len(target.dotted.split(".")):
                self._object_for_module(binding, offset, target.dotted)
                continue
            else:
                self.judge(offset, binding.imported, target)
            if target.dotted != binding.imported:
                self.clauses[id(one.site.node)][binding.index] = f"{target.dotted} as {binding.name}"

    def _object_for_module(self, binding: Binding, offset: int, new: str) -> None:
        binding.new_path = binding.path
        self.report(
            offset,
            "BM110",
            f"module {binding.imported} became {new}, which is no module",
            "import it with 'from ... import ...' and adapt its uses",
        )

    def _grouped(self) -> dict[tuple[Scope, str], list[Binding]]:
        groups: dict[tuple[Scope, str], list[Binding]] = defaultdict(list)
        moves = self.ctx.moves
        wanted = set()
        for one in self.reads:
            for binding in one.bindings:
                key = (binding.scope, binding.name)
                groups[key].append(binding)
                if binding.new_path != binding.path or moves.leads_to(binding.path) or moves.resolve(binding.imported):
                    wanted.add(key)
        return {key: groups[key] for key in groups if key in wanted}

    def _uses(self) -> dict[tuple[Scope, str], list[Use]]:
        """Return the uses by the scope whose binding they see."""
        uses: dict[tuple[Scope, str], list[Use]] = defaultdict(list)
        for use in self.found.uses:
            seen = use.scope.lookup(use.name)
            if seen is not None:
                uses[seen, use.name].append(use)
        return uses

    def _flush(self) -> None:
        """Turn the clauses and insertions collected per statement into edits."""
        for key, clauses in self.clauses.items():
            node = self.nodes[key]
            assert isinstance(node, ast.Import)
            self.apply(node, edit_import(self.source, node, [clauses.get(n) for n in range(len(node.names))]))
        for key, statements in self.insertions.items():
            self.plan.edits.append(insert_after(self.source, self.nodes[key], list(statements)))
            self.plan.inserted[key] = len(statements)
