"""What TorchScript has to know of functions that were replaced: it compiles them from their source, or by a table."""

from __future__ import annotations

from typing import Any

from torch.jit import _builtins


def for_scripts(replacement: Any, original: Any) -> Any:
    """Mark what replaces a function that is written in Python, so that the original is compiled."""
    replacement.__script_if_tracing_wrapper = True
    replacement.__original_fn = original
    return replacement


def know_operator(replacement: Any, original: Any) -> bool:
    """Let what replaces a function stand for the same operator; returns whether the function stands for one."""
    operators = _builtins._get_builtin_table()  # type: ignore[no-untyped-call]
    operator = operators.get(id(original))
    if operator is not None:
        operators[id(replacement)] = operator
    return operator is not None


def forget_operator(replacement: Any) -> None:
    """Take back what `know_operator` did."""
    _builtins._get_builtin_table().pop(id(replacement), None)  # type: ignore[no-untyped-call]
