"""Names of languages in fences and directives."""

from __future__ import annotations

import importlib
import re
from typing import cast

from migrate.imports.text.plan import Rewriter

PYTHON = frozenset("python py python3 py3 ipython ipython3 jupyter sage pyodide code-cell".split())
DOCTEST = frozenset("pycon pycon3 python-console python-repl doctest ipythonconsole".split())
# Languages in which a dotted name is something else: `bem.models` in SQL is a table.
OTHER = frozenset(
    "sql c cpp c++ cuda js javascript ts typescript java go rust html css mermaid svg latex tex r".split()
)

# Directives of reStructuredText and MyST that hold code; an empty language means that the argument names it.
CODE_DIRECTIVES = {
    **dict.fromkeys(("code-block", "code", "sourcecode", "highlight", "parsed-literal"), ""),
    **dict.fromkeys(
        ("ipython", "jupyter-execute", "testcode", "testsetup", "testcleanup", "plot", "code-cell"), "python"
    ),
    **dict.fromkeys(("doctest",), "pycon"),
    "eval-rst": "rst",
}

_MODULES = {
    "shell": "bash sh shell console zsh shell-session sh-session shellsession bat batch cmd makefile make",
    "config_yaml": "yaml yml docker-compose",
    "config_toml": "toml",
    "config_json": "json jsonc json5",
    "config_ini": "ini cfg",
    "docker": "dockerfile docker",
    "rst": "rst rest restructuredtext eval-rst",
    "markdown": "md markdown myst note warning tip important admonition dropdown tab-item tab-set details hint caution",
}
_BY_LANGUAGE = {language: module for module, languages in _MODULES.items() for language in languages.split()}
_INFO = re.compile(r"\{?\.?(?P<name>[\w:+\-#]*)\}?[ \t]*(?P<argument>[\w+\-]*)")


def of_info(info: str) -> tuple[str, bool]:
    """Return the language of a fence's info string, and whether it is a MyST directive: ``{code-block} python``."""
    found = _INFO.match(info)
    if found is None:
        return "", False
    name = found["name"].lower()
    if not info.startswith("{") or info.startswith("{."):
        return name, False
    if name in CODE_DIRECTIVES:
        return CODE_DIRECTIVES[name] or of_name(found["argument"]), True
    return name, True


def of_name(argument: str) -> str:
    """Return a language as the tables here spell it."""
    return argument.lower()


def rewriter(language: str) -> Rewriter | None:
    """Return the rewriter of a language; None when it has none."""
    module = _BY_LANGUAGE.get(language)
    if module is None:
        return None
    return cast(Rewriter, importlib.import_module(f"migrate.imports.text.{module}").rewrite)
