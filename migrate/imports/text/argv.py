"""Which words of a command name a module: ``python -m a.b``, ``pytest --cov=a``, ``uvicorn a.b:app``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from migrate.imports.text import code
from migrate.imports.text.plan import NAME, Plan
from migrate.imports.text.view import View
from migrate.imports.text.words import Word

KIND = "command"


@dataclass(frozen=True, slots=True)
class Program:
    """What a program takes.

    Attributes:
        flags: Options whose value is a module or a list of them.
        launches: Whether another program or a module to run follows.
        colon: Whether an argument ``a.b:attr`` is an application to load.
        dotted: Whether a plain argument with dots is a module or something in one.
    """

    flags: frozenset[str] = frozenset()
    launches: bool = False
    colon: bool = False
    dotted: bool = False


def _program(flags: str, **kinds: bool) -> Program:
    return Program(frozenset(flags.split()), **kinds)


_LAUNCHER = _program("-m --module", launches=True)
_MYPY = _program("-p --package -m --module")
_SERVER = _program("-k --worker-class", colon=True)
_PYTEST = _program("-p --cov --pyargs")
_COVERAGE = _program("-m --module --source --source-pkgs", launches=True)

PROGRAMS: dict[str, Program] = {
    **dict.fromkeys(
        "torchrun accelerate deepspeed ipython ipython3 uv viztracer scalene memray kernprof".split(), _LAUNCHER
    ),
    **dict.fromkeys("coverage coverage3".split(), _COVERAGE),
    **dict.fromkeys("mypy dmypy stubgen stubtest".split(), _MYPY),
    **dict.fromkeys("pytest py.test".split(), _PYTEST),
    **dict.fromkeys("gunicorn uvicorn hypercorn daphne granian waitress-serve".split(), _SERVER),
    "celery": _program("-A --app"),
    "flask": _program("-A --app", colon=True),
    "django-admin": _program("--settings"),
}
# Programs that are only called so after `python -m`.
_MODULES: dict[str, Program] = {
    **PROGRAMS,
    **dict.fromkeys("torch.distributed.run torch.distributed.launch accelerate.commands.launch".split(), _LAUNCHER),
    **dict.fromkeys("pdb ipdb IPython cProfile profile trace runpy debugpy line_profiler".split(), _LAUNCHER),
    **dict.fromkeys("unittest pydoc doctest".split(), _program("", dotted=True)),
}

_PYTHON = re.compile(
    r"(?i)(?:(?:python|pypy|pythonw|py|ipython)[\d.]*t?(?:\.exe)?|[$%{(]+[\w.]*py(?:thon)?[\w.]*[})%]*|\{\w*python\w*\})"
)
_PYTHON_MODULE = re.compile(r"-[bBdEhiIOPqsSuvx]*m")
_PYTHON_CODE = re.compile(r"-[bBdEhiIOPqsSuvx]*c")
_WITH_VALUE = frozenset(("-X", "-W", "--check-hash-based-pycs"))
# Environment variables whose value is a module or something in one.
VARIABLES = (
    *("FLASK_APP", "DJANGO_SETTINGS_MODULE", "CELERY_APP", "PYTHONBREAKPOINT"),
    *("PYTEST_PLUGINS", "APP_MODULE", "UVICORN_APP"),
)
_VARIABLES = "|".join(VARIABLES)
_VARIABLE = re.compile(rf"(?:{_VARIABLES})[:?+]?=")
# The same in files where spaces around the sign are allowed, one a line.
VARIABLE_LINE = re.compile(rf"^[ \t]*(?:{_VARIABLES})[ \t]*=[ \t]*(?P<name>{NAME.pattern})[ \t]*$", re.MULTILINE)
_OVERRIDE = re.compile(r"[+~]{0,2}(?:[\w.]+\.)?_(?:target|component)_=")
_CALL = re.compile(rf"({NAME.pattern})(?:\(.*\))?", re.DOTALL)
_ASSIGNED = re.compile(r"[@+\-]*(?:\w+[:?+]?=)?")


def analyse(plan: Plan, words: Sequence[Word]) -> None:
    """Rewrite the names in the words of one command."""
    _Analysis(plan, words).run()


def program_name(value: str) -> str:
    """Return the name of a program as the table spells it: no folder, no prefix of a recipe, no assignment."""
    prefix = _ASSIGNED.match(value)
    name = value[prefix.end() if prefix else 0 :]
    return re.split(r"[/\\]", name)[-1]


class _Analysis:
    def __init__(self, plan: Plan, words: Sequence[Word]) -> None:
        self.plan = plan
        self.words = words
        self.at = 0
        self.program: Program | None = None

    def run(self) -> None:
        while self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            self._variables(word)
            if self.program is not None and self._argument(word, self.program):
                continue
            if self.program is None or self.program.launches:
                name = program_name(word.value)
                if _PYTHON.fullmatch(name):
                    self._python()
                elif name in PROGRAMS:
                    self.program = PROGRAMS[name]

    def _variables(self, word: Word) -> None:
        found = _VARIABLE.match(word.value) or _OVERRIDE.match(word.value)
        if found is not None:
            self.plan.name(word.view, found.end(), len(word.value), KIND)

    def _argument(self, word: Word, program: Program) -> bool:
        """Take an option of the current program with its value, or an argument that names something."""
        value = word.value
        option, equals, _ = value.partition("=")
        if option in program.flags:
            if equals:
                self._names(word.view, len(option) + 1)
            elif self.at < len(self.words):
                self.at += 1
                self._option_value(option, self.words[self.at - 1], program)
            return True
        if program.launches and value.endswith(".py"):
            self.program = None
        if program.colon or program.dotted:
            found = _CALL.fullmatch(value)
            if found is not None and (":" if program.colon else ".") in found[1]:
                return self.plan.name(word.view, *found.span(1), KIND)
        return False

    def _option_value(self, option: str, word: Word, program: Program) -> None:
        if option == "-p" and word.value.startswith("no:"):
            self.plan.name(word.view, 3, len(word.value), KIND)
            return
        self._names(word.view, 0)
        if program.launches and option in ("-m", "--module"):
            self.program = _MODULES.get(word.value)

    def _names(self, view: View, start: int) -> None:
        """Rewrite names separated by commas."""
        for part in re.compile(r"[^,]+").finditer(view.text, start):
            self.plan.name(view, *part.span(), KIND)

    def _python(self) -> None:
        """Read the options of the interpreter up to a module, code, or a script."""
        self.program = None
        while self.at < len(self.words):
            word = self.words[self.at]
            value = word.value
            self.at += 1
            if value in _WITH_VALUE:
                self.at += 1
            elif (found := _PYTHON_MODULE.match(value)) is not None:
                self._module(word, found.end())
                return
            elif (found := _PYTHON_CODE.match(value)) is not None:
                self._code(word, found.end())
                return
            elif not value.startswith("-") or value == "-":
                return

    def _module(self, word: Word, end: int) -> None:
        if end == len(word.value):
            if self.at == len(self.words):
                return
            word, end = self.words[self.at], 0
            self.at += 1
        self.plan.name(word.view, end, len(word.value), KIND)
        self.program = _MODULES.get(word.value[end:])

    def _code(self, word: Word, end: int) -> None:
        if end == len(word.value) and self.at < len(self.words):
            word = self.words[self.at]
            self.at += 1
            code.argument(self.plan, word)


def plugins(plan: Plan, words: Sequence[Word], program: str) -> None:
    """Rewrite options that a configuration file gives to ``program``: ``addopts`` of pytest."""
    analysis = _Analysis(plan, words)
    analysis.program = PROGRAMS[program]
    analysis.run()
