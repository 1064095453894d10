"""Packages that only an extra installs."""

from __future__ import annotations

import importlib
from typing import Any

from bem_core.errors import BemError

PROJECT = "bem-migrate"


class MissingExtraError(BemError):
    """A package is needed that an extra of this project installs."""


def import_extra(module: str, extra: str, purpose: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Dotted name.
        extra: The extra in ``pyproject.toml`` that installs it.
        purpose: What needs it, for the message.

    Raises:
        MissingExtraError: The package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != package:
            raise
        raise MissingExtraError(f"{purpose} needs {package}: pip install '{PROJECT}[{extra}]'") from error
