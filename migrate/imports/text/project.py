"""Where pyproject.toml, setup.cfg and tox.ini name modules: one table of places, read by both file formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from migrate.imports.text import argv, shell
from migrate.imports.text.nodes import Node
from migrate.imports.text.plan import NAME, Plan
from migrate.imports.text.view import View
from migrate.imports.text.words import Word

KIND = "project"

_WORD = re.compile(r"[^\s,;|()]+")
_PATTERN = re.compile(rf"(?P<name>{NAME.pattern})(?P<rest>(?:\.\*{{1,2}})*)")
_ENTRY = re.compile(rf"(?:[^=\n]*=)?[ \t]*(?P<name>{NAME.pattern})[ \t]*(?:\[[^\]]*\])?[ \t]*")
_ATTR = re.compile(r"attr:\s*")


def names(plan: Plan, view: View) -> None:
    """Rewrite names between spaces, commas, ``|`` and ``->``; ``a.b.*`` counts as ``a.b``."""
    for word in _WORD.finditer(view.text):
        found = _PATTERN.fullmatch(word.group())
        if found is not None:
            plan.name(view, word.start(), word.start() + found.end("name"), KIND)


def entry(plan: Plan, view: View) -> None:
    """Rewrite entry points: ``a.b:main`` or ``name = a.b:main [extra]``, one a line."""
    at = 0
    for line in view.text.splitlines(keepends=True):
        found = _ENTRY.fullmatch(line.strip("\r\n"))
        if found is not None:
            plan.name(view, at + found.start("name"), at + found.end("name"), KIND)
        at += len(line)


def attribute(plan: Plan, view: View) -> None:
    """Rewrite ``attr: a.b.c`` or ``a.b.c``."""
    found = _ATTR.match(view.text)
    start = found.end() if found else 0
    plan.name(view, start, len(view.text.rstrip()), KIND)


def options(plan: Plan, view: View) -> None:
    """Rewrite options of pytest."""
    argv.plugins(plan, shell.words_of(view), "pytest")


def command(plan: Plan, view: View) -> None:
    """Rewrite shell text."""
    plan.nested(view, shell.rewrite)


def environment(plan: Plan, view: View) -> None:
    """Rewrite variables that name a module: ``FLASK_APP = a.b``."""
    for found in argv.VARIABLE_LINE.finditer(view.text):
        plan.name(view, *found.span("name"), KIND)


def warning(plan: Plan, view: View) -> None:
    """Rewrite warning filters: ``action:message:category:module``."""
    at = 0
    for line in view.text.splitlines(keepends=True):
        fields = line.rstrip("\r\n").split(":")
        for index in (2, 3):
            if len(fields) > index:
                start = at + sum(len(field) + 1 for field in fields[:index])
                found = _PATTERN.fullmatch(fields[index])
                if found is not None:
                    plan.name(view, start, start + found.end("name"), KIND)
        at += len(line)


def key(plan: Plan, view: View) -> None:
    """Rewrite a key that is a package, if the new name can stand there unquoted or it is quoted already."""
    renamed = plan.ctx.moves.rename(view.text)
    span = view.span(0, len(view.text))
    if renamed is None or span is None:
        return
    quoted = plan.text[span[0] - 1 : span[0]] in ("'", '"')
    if "." in renamed[0] and not quoted and "." not in view.text and renamed[0] != view.text:
        plan.find(span[0], "BM105", f"the key {view.text} needs quotes to become {renamed[0]}", "rename it by hand")
    else:
        plan.whole(view, KIND)


Action = Callable[[Plan, View], None]

# Tables of pyproject.toml; `*` stands for any key. `keys:` means the keys of the table instead of its values.
_TOML: dict[str, Action] = {
    "project scripts *": entry,
    "project gui-scripts *": entry,
    "project entry-points * *": entry,
    "tool poetry scripts *": entry,
    "tool poetry scripts * reference": entry,
    "tool poetry scripts * callable": entry,
    "tool poetry plugins * *": entry,
    "tool poetry packages include": names,
    "tool flit module name": names,
    "tool flit scripts *": entry,
    "tool pdm scripts *": command,
    "tool pdm scripts * cmd": command,
    "tool pdm scripts * shell": command,
    "tool pdm scripts * call": attribute,
    "tool hatch envs * scripts *": command,
    "tool hatch envs * env-vars *": names,
    "tool poe tasks *": command,
    "tool poe tasks * cmd": command,
    "tool poe tasks * shell": command,
    "tool poe tasks * script": attribute,
    "tool taskipy tasks *": command,
    "tool taskipy tasks * cmd": command,
    "tool setuptools packages": names,
    "tool setuptools py-modules": names,
    "tool setuptools packages find include": names,
    "tool setuptools packages find exclude": names,
    "tool setuptools dynamic * attr": attribute,
    "tool setuptools cmdclass *": attribute,
    "keys:tool setuptools package-data": key,
    "keys:tool setuptools exclude-package-data": key,
    "keys:tool setuptools package-dir": key,
    "tool mypy packages": names,
    "tool mypy modules": names,
    "tool mypy plugins": names,
    "tool mypy overrides module": names,
    "tool isort known_first_party": names,
    "tool isort known_third_party": names,
    "tool isort known_local_folder": names,
    "tool ruff isort known-first-party": names,
    "tool ruff lint isort known-first-party": names,
    "tool ruff lint isort known-third-party": names,
    "tool ruff lint isort known-local-folder": names,
    "keys:tool ruff lint flake8-tidy-imports banned-api": key,
    "tool coverage run source": names,
    "tool coverage run source_pkgs": names,
    "tool coverage run plugins": names,
    "tool pytest ini_options addopts": options,
    "tool pytest ini_options filterwarnings": warning,
    "tool pytest ini_options DJANGO_SETTINGS_MODULE": names,
    "tool pylint * load-plugins": names,
    "tool pylint * ignored-modules": names,
    "tool importlinter root_package": names,
    "tool importlinter root_packages": names,
    "tool importlinter contracts modules": names,
    "tool importlinter contracts source_modules": names,
    "tool importlinter contracts forbidden_modules": names,
    "tool importlinter contracts layers": names,
    "tool importlinter contracts containers": names,
    "tool importlinter contracts ignore_imports": names,
}

# Sections of setup.cfg, tox.ini and the like; a section or an option may end in `*`.
_INI: dict[str, Action] = {
    "options.entry_points *": entry,
    "options packages": names,
    "options py_modules": names,
    "options cmdclass": entry,
    "options.packages.find include": names,
    "options.packages.find exclude": names,
    "metadata version": attribute,
    "mypy packages": names,
    "mypy modules": names,
    "mypy plugins": names,
    "coverage:run source": names,
    "coverage:run source_pkgs": names,
    "coverage:run plugins": names,
    "run source": names,
    "run source_pkgs": names,
    "run plugins": names,
    "tool:pytest addopts": options,
    "tool:pytest filterwarnings": warning,
    "tool:pytest DJANGO_SETTINGS_MODULE": names,
    "pytest addopts": options,
    "pytest filterwarnings": warning,
    "pytest DJANGO_SETTINGS_MODULE": names,
    "isort known_*": names,
    "tool:isort known_*": names,
    "settings known_*": names,
    "importlinter root_package": names,
    "importlinter root_packages": names,
    "importlinter:* modules": names,
    "importlinter:* source_modules": names,
    "importlinter:* forbidden_modules": names,
    "importlinter:* layers": names,
    "importlinter:* containers": names,
    "importlinter:* ignore_imports": names,
    "testenv* commands*": command,
    "testenv* setenv": environment,
    "testenv* set_env": environment,
    "MASTER load-plugins": names,
    "handler_* class": attribute,
    "formatter_* class": attribute,
    "keys:options.package_data": key,
    "keys:options.exclude_package_data": key,
    "keys:options.package_dir": key,
}


def rule(plan: Plan, path: tuple[str, ...], node: Node) -> bool:
    """Rewrite a value of pyproject.toml if its table says what it is; tell whether it does."""
    if path[:2] == ("tool", "bem-migrate"):
        _claim(plan, node)
        return True
    action = find(_TOML, path)
    if action is not None and node.kind in ("str", "seq"):
        return _apply(plan, action, node)
    renames = find(_TOML, (f"keys:{path[0]}", *path[1:])) if path and node.kind == "map" else None
    if renames is not None:
        for name, _ in node.pairs:
            if name.view is not None:
                renames(plan, name.view)
    return False


def ini_action(section: str, option: str) -> Action | None:
    """Return what to do with an option of setup.cfg and the like."""
    return find(_INI, (section, option))


def ini_keys(section: str) -> Action | None:
    """Return what to do with the option names of a section."""
    return _INI.get(f"keys:{section}")


def find(table: dict[str, Action], path: Sequence[str]) -> Action | None:
    """Return the action of the first place that matches a path."""
    found = table.get(" ".join(path)) if all(" " not in part for part in path) else None
    if found is not None:
        return found
    for place, action in table.items():
        parts = place.split(" ")
        if "*" in place and len(parts) == len(path) and all(map(_matches, parts, path)):
            return action
    return None


def _matches(pattern: str, part: str) -> bool:
    return pattern == part or (pattern.endswith("*") and part.startswith(pattern[:-1]))


def _apply(plan: Plan, action: Action, node: Node) -> bool:
    parts = node.items if node.kind == "seq" else [node]
    if any(part.kind != "str" or part.view is None for part in parts):
        return False
    views = [part.view for part in parts if part.view is not None]
    if action is options and node.kind == "seq":
        argv.plugins(plan, [Word(view, quoted=True) for view in views], "pytest")
    else:
        for view in views:
            action(plan, view)
    return True


def _claim(plan: Plan, node: Node) -> None:
    for part in node.walk():
        if part.kind == "str":
            plan.claimed.append((part.start, part.end))
