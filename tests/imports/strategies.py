"""Generated modules and lists of moves: few names, so that bindings, shadows and moves meet often.

Everything is drawn through a `Choose`, so the same generator serves Hypothesis, which shrinks, and plain `random`,
which makes thousands of modules a minute.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.imports.generated_parts import LOCALS, Choose, Env, Parts, children, submodules
from tests.imports.stub_world import OLD

HEADER = "import importlib, pkgutil, sys\nimport typing\nfrom unittest import mock\n"
NEW_MODULES = ("pz", "pz.k", "pz.m", "pb.x", "pb.z", "pa.k", "pa.sub.k", "k", "m", "sub", "q.z", "pb.pa", "x", "deep")
PLACES = (("user", False), ("user", False), ("pa.user", False), ("pa.sub.user", False), ("pa.own", True))


def chooser(seed: int) -> Choose:
    """Return a chooser on top of ``random``."""
    return Choose(random.Random(seed).randrange)


@dataclass(frozen=True)
class Case:
    """A module, the place it stands at, and a list of moves."""

    code: str
    name: str
    is_package: bool
    moves: str


class Writer(Parts):
    """Writes one module."""

    def module(self) -> str:
        choose = self.choose
        future = "from __future__ import annotations\n" if choose.rarely(8) else ""
        env = Env("module")
        lines = self.block(env, 2 + choose.below(7), 0, first=True)
        if choose.rarely(8) and env.names:
            names = [name for name in env.names if env.names[name]]
            lines.append(f"__all__ = {names[:2]!r}")
        return future + HEADER + "\n".join(lines) + "\n"

    def block(self, env: Env, size: int, depth: int, first: bool = False) -> list[str]:
        lines: list[str] = []
        for number in range(size):
            if (first and number == 0) or self.choose.below(10) < 3:
                lines += self.an_import(env, depth)
            elif self.choose.below(10) < 6:
                lines += self.a_record(env)
            else:
                lines += self.a_construct(env, depth)
        if not any(line.startswith("R(") for line in lines):
            lines += self.a_record(env)
        return lines or ["pass"]

    def a_construct(self, env: Env, depth: int) -> list[str]:
        if depth > 2:
            return self.a_record(env)
        makers = [self.function, self.function, self.klass, self.shadow, self.shadow, self.annotated, self.loop]
        makers += [self.decorated, self.default, self.guarded, self.rebind, self.deleted, self.stored, self.declared]
        makers += [self.matched, self.patched, self.comprehended]
        return self.choose.one(makers)(env, depth)

    @staticmethod
    def indent(lines: Sequence[str]) -> list[str]:
        return [f"    {line}" if line.strip() else line for line in "\n".join(lines).split("\n")]

    def function(self, env: Env, depth: int) -> list[str]:
        name, inner = self.fresh(), Env("function", env)
        kind = self.choose.below(4)
        head, call = f"def {name}():", f"{name}()"
        if kind == 2:
            shadow = self.choose.one(LOCALS)
            inner.names[shadow] = ""
            head, call = f"def {name}({shadow}):", f"{name}('given')"
        elif kind == 3:
            shadow = self.choose.one(LOCALS)
            inner.names[shadow] = ""
            head, call = f"def {name}(*{shadow}, pz=1):", f"{name}('given')"
            inner.names["pz"] = ""
        body = self.block(inner, 1 + self.choose.below(4), depth + 1)
        env.names[name] = ""
        return [head, *self.indent(body), call]

    def klass(self, env: Env, depth: int) -> list[str]:
        name, inner = self.fresh(), Env("class", env)
        body = self.block(inner, 1 + self.choose.below(3), depth + 1)
        if self.choose.rarely(2):
            method = Env("function", inner)
            lines = self.block(method, 1 + self.choose.below(2), depth + 2)
            body += ["def meth(self):", *self.indent(lines)]
            return [f"class {name}:", *self.indent(body), f"{name}().meth()"]
        return [f"class {name}:", *self.indent(body)]

    def shadow(self, env: Env, depth: int) -> list[str]:
        name = self.choose.one(LOCALS)
        if not self.bind(env, name, ""):
            return []
        return [f"{name} = 'own'", f"R({name})"]

    def annotated(self, env: Env, depth: int) -> list[str]:
        """A string annotation, read back as a type: of names of the module, where such strings are evaluated."""
        if env.kind != "module":
            return []
        classes = self.classes(env)
        if not classes:
            return []
        text, name = self.choose.one(classes), self.fresh()
        quoted = self.choose.one(
            [f'"{text}"', f"'{text}'", text, f'"typing.Optional[{text}]"', f'typing.List["{text}"]']
        )
        return [
            f"def {name}(a: {quoted} = None) -> {quoted}:",
            "    pass",
            f"R(str(typing.get_type_hints({name})['a'])[-20:] and typing.get_type_hints({name})['return'] == {text})",
            f"{self.fresh()}: {quoted} = {text}",
        ]

    def classes(self, env: Env) -> list[str]:
        """Return the spellings of all classes that can be reached from here."""
        found: list[str] = []
        for name, path in env.visible().items():
            queue = [(name, path)] if path else []
            while queue:
                text, at = queue.pop()
                if at.rpartition(".")[2][0].isupper():
                    found.append(text)
                    continue
                steps = [*children(at), *(c.rpartition(".")[2] for c in submodules(at) if c in self.loaded)]
                queue += [(f"{text}.{step}", f"{at}.{step}") for step in steps]
        for text in found:
            env.note(text.partition(".")[0])
        return found

    def loop(self, env: Env, depth: int) -> list[str]:
        name = self.choose.one(LOCALS)
        expression = self.expression(env)
        if not expression or not self.bind(env, name, ""):
            return []
        return [f"for {name} in ({expression},):", f"    R({name})"]

    def decorated(self, env: Env, depth: int) -> list[str]:
        expression = self.expression(env)
        if not expression:
            return []
        name = self.fresh()
        return [
            f"@(lambda fn: ({expression}, fn))",
            f"def {name}(pa=1):",
            "    return pa",
            f"R({name}[0])",
            f"{name}[1]()",
        ]

    def default(self, env: Env, depth: int) -> list[str]:
        found = self.chain(env)
        if found is None:
            return []
        text, name = ".".join([found[0], *found[1]]), self.fresh()
        return [f"def {name}({found[0]}={text}, *, kw={text}):", f"    return {found[0]}, kw", f"R({name}())"]

    def guarded(self, env: Env, depth: int) -> list[str]:
        lines = self.import_lines(env)
        if not lines:
            return []
        name = next(reversed(env.names))
        return [
            "try:",
            *self.indent(lines),
            "except ImportError:",
            f"    {name} = None",
            "else:",
            f"    R({name})" if env.names[name] not in OLD else "    pass",
        ]

    def rebind(self, env: Env, depth: int) -> list[str]:
        found = self.chain(env)
        if found is None:
            return []
        name = self.choose.one([self.fresh(), self.fresh(), *LOCALS])
        text = ".".join([found[0], *found[1]])
        if not self.bind(env, name, ""):
            return []
        return [f"{name} = {text}", f"R({name})"]

    def deleted(self, env: Env, depth: int) -> list[str]:
        mine = [name for name, path in env.names.items() if path]
        if not mine:
            return []
        name = self.choose.one(mine)
        path = env.names.pop(name)
        if self.choose.rarely(2) and "." not in path:
            env.names[name] = path
            return [f"del {name}", f"import {path}" if name == path else f"import {path} as {name}"]
        env.read.discard(name)
        return [f"del {name}"]

    def stored(self, env: Env, depth: int) -> list[str]:
        found = self.chain(env)
        if found is None or not found[1]:
            return []
        text = ".".join([found[0], *found[1][:-1]])
        return [f"{text}.stored = 1", f"{text}.stored += 1", f"R({text}.stored)", f"del {text}.stored"]

    def declared(self, env: Env, depth: int) -> list[str]:
        if env.kind == "class":
            return []
        top = env
        while top.parent is not None:
            top = top.parent
        word, owner = ("global", top)
        if env.kind == "function" and self.choose.rarely(2):
            word, owner = ("nonlocal", env)
            if any(path for path in env.names.values()) is False:
                return []
        module = self.choose.one(list(OLD))
        alias = self.choose.one(("", "x", "k"))
        bound = alias or module.partition(".")[0]
        if word == "nonlocal" and bound not in env.names:
            return []
        if env.kind == "function" and word == "global" and bound in env.visible():
            return []
        self.load(module)
        owner.names[bound] = module if alias else bound
        name = self.fresh()
        statement = f"import {module} as {alias}" if alias else f"import {module}"
        return [f"def {name}():", f"    {word} {bound}", f"    {statement}", f"{name}()"]

    def matched(self, env: Env, depth: int) -> list[str]:
        found = self.chain(env)
        name = self.choose.one(LOCALS)
        if found is None or name == found[0] or not self.bind(env, name, ""):
            return []
        text = ".".join([found[0], *found[1]])
        lines = [f"match ({text},):", f"    case [{name}]:", f"        R({name})"]
        if found[1]:
            return [
                f"match {text}:",
                f"    case {text}:",
                "        R('same')",
                "    case _:",
                "        R('other')",
                *lines,
            ]
        return lines

    def patched(self, env: Env, depth: int) -> list[str]:
        found = self.chain(env)
        if found is None or not found[1]:
            return []
        text, attr = ".".join([found[0], *found[1][:-1]]), found[1][-1]
        return [f"with mock.patch.object({text}, '{attr}', 'patched'):", f"    R({text}.{attr})"]

    def comprehended(self, env: Env, depth: int) -> list[str]:
        found = self.chain(env)
        if found is None:
            return []
        text, name = ".".join([found[0], *found[1]]), self.choose.one(LOCALS)
        if name == found[0]:
            return [f"R([{name} for {name} in ({text},)])"]
        return [f"R([({name}, {text}) for {name} in (1,)])", f"R([{text} for {name} in ({text},)])"]


def list_of_moves(choose: Choose) -> str:
    """Return a list of moves in its file format; it may not be valid."""
    lines = ["version: 1", "moves:"]
    for _ in range(1 + choose.below(3)):
        lines.append(f"  - {_entry(choose)}")
    return "\n".join(lines) + "\n"


def _entry(choose: Choose) -> str:
    shape = choose.below(10)
    module = choose.one(list(OLD))
    names = children(module)
    new = choose.one(NEW_MODULES)
    if shape < 4:
        return f"{{old: {module}, new: {new}, kind: module}}"
    name = choose.one(names)
    if shape < 6:
        return f'{{old: {module}.{name}, new: "{new}:{choose.one([name, name, "r", "S"])}"}}'
    if shape == 6:
        return f'{{old: {module}.{name}, new: "{module}:{choose.one(["r", "S"])}"}}'
    if shape == 7:
        if name[0].isupper() and choose.rarely(2):
            return f'{{old: {module}.{name}.g, new: "{new}:{choose.one(["r", "D.g"])}"}}'
        return f'{{old: {module}.{name}, new: "{choose.one([new, *OLD])}:{choose.one(["C", "D", "S"])}.r"}}'
    if shape == 8:
        rest = f", new: {choose.one(NEW_MODULES)}" if choose.rarely(2) else ""
        return f"{{old: {module}, split: {{{new}: [{name}]}}{rest}}}"
    other = choose.one(list(OLD))
    return f"{{old: [{', '.join(dict.fromkeys([module, other]))}], new: {new}, kind: module}}"


def case(choose: Choose) -> Case:
    """Return a module, its place and a list of moves."""
    moves = list_of_moves(choose)
    name, is_package = choose.one(PLACES)
    return Case(Writer(choose, name, is_package).module(), name, is_package, moves)


@st.composite
def cases(draw: Any) -> Case:
    """Generate cases for Hypothesis."""
    return case(Choose(lambda limit: draw(st.integers(0, limit - 1)) if limit > 1 else 0))
