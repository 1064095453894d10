"""Workflow commands of GitHub Actions, which annotate files and runs."""

from __future__ import annotations


def annotation(level: str, text: str, **properties: object) -> str:
    """Return one command.

    Args:
        level: ``error``, ``warning`` or ``notice``.
        text: The message; it may have several lines.
        **properties: Such as ``file``, ``line``, ``col`` and ``title``; those that are empty are left out.
    """
    given = ",".join(f"{name}={_property(str(value))}" for name, value in properties.items() if value)
    return f"::{level} {given}::{_data(text)}" if given else f"::{level}::{_data(text)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
