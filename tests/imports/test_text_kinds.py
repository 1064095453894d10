"""Which kind a file is, by its name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from migrate.imports.kinds import KINDS, kind_of, rewriter


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("a/b.py", "py"),
        ("b.pyi", "py"),
        ("b.pyw", "py"),
        ("A.PY", "py"),
        ("a.ipynb", "ipynb"),
        ("docs/a.md", "md"),
        ("a.markdown", "md"),
        ("a.mdx", "md"),
        ("docs/a.rst", "rst"),
        ("a.yaml", "yaml"),
        ("conf.d/a.yml", "yaml"),
        ("pyproject.toml", "toml"),
        ("a.json", "json"),
        ("setup.cfg", "cfg"),
        ("tox.ini", "cfg"),
        (".coveragerc", "cfg"),
        ("a.sh", "sh"),
        ("a.bash", "sh"),
        ("a.zsh", "sh"),
        ("a.bat", "sh"),
        ("x/Makefile", "make"),
        ("a.mk", "make"),
        ("justfile", "make"),
        ("Dockerfile", "docker"),
        ("x/Dockerfile.test", "docker"),
        ("a.dockerfile", "docker"),
        ("docker-compose.dev.yml", "docker"),
        ("compose.yaml", "docker"),
        (".github/workflows/ci.yml", "ci"),
        ("sub/.github/workflows/ci.yaml", "ci"),
        (".circleci/config.yml", "ci"),
        (".gitlab-ci.yml", "ci"),
        ("azure-pipelines.yml", "ci"),
        (".travis.yml", "ci"),
        (".pre-commit-config.yaml", "ci"),
        (".github/ISSUE_TEMPLATE/bug.yml", "yaml"),
        ("script", None),
        ("a.txt", None),
        ("docs/a.txt", None),
        ("a.sql", None),
        ("a.ps1", None),
        ("a.pyc", None),
        ("py", None),
        (".py.swp", None),
        ("Dockerfiles", None),
        ("Makefile.bak", None),
        ("", None),
    ],
)
def test_kind_of(path: str, kind: str | None) -> None:
    assert kind_of(path) == kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_rewriter(kind: str) -> None:
    assert callable(rewriter(kind))


def test_asking_for_kinds_loads_no_rewriter() -> None:
    script = "import sys, migrate.imports.kinds as k; k.kind_of('a.py'); print(sorted(sys.modules))"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert not [
        name for name in ("yaml", "libcst", "migrate.imports.text", "migrate.imports.python") if f"'{name}'" in loaded
    ]
