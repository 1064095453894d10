"""The parts of generated modules: names and scopes, import statements, and expressions that use what they bind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tests.imports.stub_world import ALL, CLASS_ATTRIBUTES, EAGER, HANDED_ON, OLD

T = TypeVar("T")
# Bound by the program itself: names of old and new packages, of modules, and of what stands in them.
LOCALS = ("pa", "pb", "q", "m", "n", "sub", "f", "g", "C", "pz", "k", "x", "deep")


class Choose:
    """Draws the decisions of the generator."""

    def __init__(self, number: Callable[[int], int]) -> None:
        self._number = number

    def one(self, items: Sequence[T]) -> T:
        return items[self._number(len(items))]

    def below(self, limit: int) -> int:
        return self._number(limit)

    def rarely(self, out_of: int = 5) -> bool:
        """True once in ``out_of``; shrinks towards False."""
        return self._number(out_of) == out_of - 1


def children(path: str) -> list[str]:
    """Return the names that a module binds, and the attributes of a class."""
    handed_on = (place.rpartition(".") for place in HANDED_ON)
    if path in OLD:
        return [*OLD[path].split(), *(name for at, _, name in handed_on if at == path)]
    module, _, name = path.rpartition(".")
    return list(CLASS_ATTRIBUTES) if module in OLD and name[0].isupper() else []


def submodules(path: str) -> list[str]:
    return [module for module in OLD if module.rpartition(".")[0] == path]


@dataclass
class Env:
    """A scope of the module being written: what its names are bound to.

    Attributes:
        names: Name -> old dotted path of what it is bound to; empty text for a value of the program's own.
        read: Names of outer scopes that were read here, which may not be bound here any more.
    """

    kind: str
    parent: Env | None = None
    names: dict[str, str] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def visible(self) -> dict[str, str]:
        scopes: list[Env] = [self]
        outer = self.parent
        while outer is not None:
            if outer.kind != "class":
                scopes.append(outer)
            outer = outer.parent
        seen: dict[str, str] = {}
        for scope in reversed(scopes):
            seen.update(scope.names)
        return seen

    def note(self, name: str) -> None:
        """Remember that ``name`` was read here."""
        scope: Env | None = self
        while scope is not None and name not in scope.names:
            scope.read.add(name)
            scope = scope.parent

    def may_bind(self, name: str) -> bool:
        return self.kind == "module" or name in self.names or name not in self.read


class Parts:
    """Writes import statements and expressions, and keeps account of what they bind and need."""

    def __init__(self, choose: Choose, name: str, is_package: bool) -> None:
        self.choose = choose
        self.package = name if is_package else name.rpartition(".")[0]
        self.loaded: set[str] = set()
        self.counter = 0

    def fresh(self) -> str:
        self.counter += 1
        return f"v{self.counter}"

    # Imports

    def load(self, module: str) -> None:
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            one = ".".join(parts[:length])
            self.loaded.add(one)
            self.loaded.update(EAGER.get(one, ()))

    def bind(self, env: Env, name: str, path: str) -> bool:
        if not env.may_bind(name):
            return False
        env.names[name] = path
        return True

    def an_import(self, env: Env, depth: int) -> list[str]:
        lines = self.import_lines(env)
        if not lines:
            return []
        shape = self.choose.below(12)
        indented = [f"    {line}" for line in lines]
        if shape == 0:
            return ["try:", *indented, "except ImportError:", "    raise"]
        if shape == 1:
            return ["if True:", *indented]
        if shape == 2 and len(lines) == 1:
            use = self.a_record(env)
            if len(use) == 1 and "\n" not in use[0]:
                return [f"{lines[0]}; {use[0]}"]
        if shape == 3:
            return [*lines[:-1], f"{lines[-1]}  # noqa: F401"] if "\\" not in lines[-1] else lines
        if shape == 4:
            return ["if typing.TYPE_CHECKING:", "    import pa.n as checked", *lines]
        if shape == 5:
            return ["try:", *indented, "finally:", "    pass"]
        return lines

    def import_lines(self, env: Env) -> list[str]:
        choose = self.choose
        shape = choose.below(13)
        module = choose.one(list(OLD))
        if shape < 4:
            return self.plain(env, [module])
        if shape == 4:
            return self.plain(env, [module, choose.one(list(OLD))])
        if shape == 5 and env.kind == "module":
            return self.star(env, module)
        if shape == 6 and self.package:
            return self.relative(env)
        return self.from_import(env, module, module)

    def plain(self, env: Env, modules: Sequence[str]) -> list[str]:
        clauses = []
        for module in modules:
            root = module.partition(".")[0]
            alias = self.choose.one(LOCALS) if self.choose.rarely(3) else ""
            if not self.bind(env, alias or root, module if alias else root):
                continue
            self.load(module)
            clauses.append(f"{module} as {alias}" if alias else module)
        return [f"import {', '.join(clauses)}"] if clauses else []

    def star(self, env: Env, module: str) -> list[str]:
        self.load(module)
        names = ALL.get(module) or [*children(module), *(c.rpartition(".")[2] for c in EAGER.get(module, ()))]
        for name in names:
            env.names[name] = f"{module}.{name}"
        return [f"from {module} import *"]

    def relative(self, env: Env) -> list[str]:
        parts = self.package.split(".")
        level = 1 + self.choose.below(len(parts))
        base = ".".join(parts[: len(parts) - level + 1])
        inside = [module for module in OLD if f"{module}.".startswith(f"{base}.")]
        if not inside:
            return []
        module = self.choose.one(inside)
        return self.from_import(env, module, "." * level + module[len(base) + 1 :])

    def from_import(self, env: Env, module: str, spelled: str) -> list[str]:
        choose = self.choose
        names = [*children(module), *(child.rpartition(".")[2] for child in submodules(module))]
        chosen = [choose.one(names) for _ in range(1 + choose.below(3))]
        clauses: list[str] = []
        bound: set[str] = set()
        for name in dict.fromkeys(chosen):
            alias = choose.one(LOCALS) if choose.rarely(3) else ""
            if (alias or name) in bound or not self.bind(env, alias or name, f"{module}.{name}"):
                continue
            bound.add(alias or name)
            clauses.append(f"{name} as {alias}" if alias else name)
        if not clauses:
            return []
        self.load(module)
        layout = choose.below(8)
        if layout == 5:
            return [f"from {spelled} import ({', '.join(clauses)})"]
        if layout == 6:
            return [f"from {spelled} import (  # why", *(f"    {c},  # {n}" for n, c in enumerate(clauses)), ")"]
        if layout == 7:
            return [f"from {spelled} \\", f"    import {', '.join(clauses)}"]
        return [f"from {spelled} import {', '.join(clauses)}"]

    # Uses

    def chain(self, env: Env) -> tuple[str, list[str]] | None:
        """Return a visible name and attributes that lead on from it."""
        visible = env.visible()
        names = [name for name, path in visible.items() if path]
        if not names:
            return None
        name = self.choose.one(names)
        path, rest = visible[name], []
        env.note(name)
        while True:
            below = [c.rpartition(".")[2] for c in submodules(path) if c in self.loaded]
            below += children(path)
            if not below or (rest and self.choose.rarely(6)):
                break
            if not rest and self.choose.rarely(12):
                break
            rest.append(self.choose.one(below))
            path = f"{path}.{rest[-1]}"
        return name, rest

    def a_record(self, env: Env) -> list[str]:
        expression = self.expression(env)
        return [f"R({expression})"] if expression else []

    def expression(self, env: Env) -> str:
        if self.choose.rarely(14):
            return self.by_string()
        found = self.chain(env)
        if found is None:
            return ""
        name, rest = found
        text = ".".join([name, *rest])
        base = ".".join([name, *rest[:-1]])
        shapes: list[str] = [text] * 6
        shapes += [
            f"(lambda: {text})()",
            f"[{text} for _ in (1,)][0]",
            f"[{name} for {name} in ({text},)]",
            f"(lambda {name}: {name})({text})",
            f"(lambda {name}={text}: {name})()",
            f"{{'k': {text}}}['k']",
            f"({text}, 1)",
            f"{text} if {text} else None",
            f"list({text} for _ in range(1) if {text})",
            f"[pz for pz in ({text},)] + [{text}]",
            f"(lambda pz: {text})(1)",
            f"(lambda k=1, *pa: k)({text})",
        ]
        if env.kind != "class":
            shapes += [f"({self.fresh()} := {text})", f"[{self.fresh()} := {text} for _ in (1,)]"]
        if rest:
            shapes += [
                f"getattr({base}, '{rest[-1]}')",
                f'getattr({base}, "{rest[-1]}", None)',
                f"hasattr({base}, '{rest[-1]}')",
                "(" + "\n    .".join([name, *rest]) + ")",
                " . ".join([name, *rest]),
                f"({name}).{'.'.join(rest)}",
                f"{name}\\\n  .{'.'.join(rest)}",
            ]
        if rest and rest[-1] in ("f", "g", "h"):  # text: what a module or a class prints is not the same afterwards
            shapes += [
                f"f'{{{text}}}'",
                f"f'é{{{text}!s:>30}}' f\"{{{text}}}\"",
                f"'%s' % {text}",
                f"'é' + str({text})",
            ]
        return self.choose.one(shapes)

    def by_string(self) -> str:
        module = self.choose.one(list(OLD))
        name = self.choose.one(children(module))
        return self.choose.one(
            [
                f"importlib.import_module('{module}')",
                f'importlib.import_module("{module}").{name}',
                f"__import__('{module}', fromlist=['{name}']).{name}",
                f"__import__('{module}', None, None, ['{name}'])",
                f"pkgutil.resolve_name('{module}:{name}')",
                f"pkgutil.resolve_name('{module}.{name}')",
                f"getattr(importlib.import_module('{module}'), '{name}')",
                f"(importlib.import_module('{module}') and '{module}' in sys.modules)",
                f"mock.patch('{module}.{name}', 1).start()",
                f"importlib.import_module(name='{module}')",
                f"str('{module}.{name}')[:1]",
            ]
        )
