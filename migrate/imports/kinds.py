"""Which files are looked at, by name alone, and the rewriter of each kind."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import cast

from migrate.edits import Rewrite
from migrate.imports.context import Context

Rewriter = Callable[[str, Context], Rewrite]

_MODULES = {
    "py": "migrate.imports.python",
    "ipynb": "migrate.imports.text.notebook",
    "md": "migrate.imports.text.markdown",
    "rst": "migrate.imports.text.rst",
    "yaml": "migrate.imports.text.config_yaml",
    "toml": "migrate.imports.text.config_toml",
    "json": "migrate.imports.text.config_json",
    "cfg": "migrate.imports.text.config_ini",
    "sh": "migrate.imports.text.shell",
    "make": "migrate.imports.text.shell",
    "docker": "migrate.imports.text.docker",
    "ci": "migrate.imports.text.config_yaml",
}
KINDS = tuple(_MODULES)

_BY_SUFFIX = {
    suffix: kind
    for kind, suffixes in {
        "py": "py pyi pyw",
        "ipynb": "ipynb",
        "md": "md markdown mdx",
        "rst": "rst",
        "yaml": "yaml yml",
        "toml": "toml",
        "json": "json",
        "cfg": "cfg ini",
        "sh": "sh bash zsh bat",
        "make": "mk",
        "docker": "dockerfile",
    }.items()
    for suffix in suffixes.split()
}
_BY_NAME = {
    name: kind
    for kind, names in {
        "cfg": ".importlinter .coveragerc .flake8",
        "make": "Makefile makefile GNUmakefile justfile Justfile .justfile",
        "docker": "Dockerfile dockerfile Containerfile compose.yml compose.yaml",
        "ci": ".gitlab-ci.yml azure-pipelines.yml .travis.yml .pre-commit-config.yaml .pre-commit-hooks.yaml "
        "bitbucket-pipelines.yml appveyor.yml",
    }.items()
    for name in names.split()
}


def kind_of(relative_path: str) -> str | None:
    """Return the kind of a file, or None for one that is never looked at.

    Args:
        relative_path: Path below the root that was given, with ``/``. A bare name is enough for everything but the
            workflows of GitHub and CircleCI, which their folder tells.
    """
    name = relative_path[relative_path.rfind("/") + 1 :]
    special = _BY_NAME.get(name)
    if special is not None:
        return special
    if name.startswith(("Dockerfile.", "Dockerfile-")):
        return "docker"
    dot = name.rfind(".")
    kind = _BY_SUFFIX.get(name[dot + 1 :].lower()) if dot >= 0 else None
    return _yaml_kind(relative_path, name) if kind == "yaml" else kind


def _yaml_kind(path: str, name: str) -> str:
    if name.startswith(("docker-compose", "compose.")):
        return "docker"
    rooted = f"/{path}"
    if "/.github/workflows/" in rooted or "/.github/actions/" in rooted or "/.circleci/" in rooted:
        return "ci"
    return "yaml"


def rewriter(kind: str) -> Rewriter:
    """Return the rewriter of a kind, importing its module now."""
    return cast(Rewriter, importlib.import_module(_MODULES[kind]).rewrite)
