"""What a YAML value means, as one string: equal strings mean the same under YAML 1.1 and under YAML 1.2.

``yes`` is true to PyYAML and a text to a reader of YAML 1.2, so a template that writes ``true`` can't stand in for it.
With values replaced by such strings, everything that compares values compares both meanings.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml import nodes as nodes12
from ruamel.yaml.error import YAMLError as YAMLError12

from bem_core.config.yaml_reader import LOADER
from bem_core.errors import BemError

_STR = "tag:yaml.org,2002:str"
_PLAIN = (None, "")


class CodeError(BemError):
    """A scalar that one of the two versions of YAML can't read."""


def scalar(node: yaml.ScalarNode) -> str:
    """Return the code of a scalar."""
    if node.style not in _PLAIN and node.tag == _STR:
        return repr(node.value)
    return _plain(node.value)


def code(node: yaml.Node, order: bool = False) -> str:
    """Return the code of any node.

    Args:
        node: A composed node, without anchors.
        order: Whether the order of the keys of a mapping is part of its meaning.
    """
    if isinstance(node, yaml.ScalarNode):
        return scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join([code(child, order) for child in node.value])}]"
    parts = [f"{scalar(key)}: {code(value, order)}" for key, value in node.value]
    return f"{{{', '.join(parts if order else sorted(parts))}}}"


@lru_cache(maxsize=1 << 16)
def _plain(text: str) -> str:
    try:
        old, new = _typed(_value11(text)), _typed(_value12(text))
    except ValueError as error:  # more digits than Python writes: YAML 1.2 has octal numbers that are texts in YAML 1.1
        raise CodeError(f"{text[:40]!r} is a number of {len(text)} characters") from error
    return old if old == new else f"{old} in YAML 1.1, {new} in YAML 1.2"


def _typed(value: Any) -> str:
    """Return a string that is the same only for values of the same type and content."""
    return repr(value) if isinstance(value, str) else f"{type(value).__name__} {value!r}"


def _value11(text: str) -> Any:
    loader = LOADER("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))
        return loader.construct_object(yaml.ScalarNode(tag, text))
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError) as error:
        raise CodeError(f"{text[:40]!r} cannot be read under YAML 1.1") from error
    finally:
        loader.dispose()


_reader12: list[Any] = []


def _value12(text: str) -> Any:
    if not _reader12:
        _reader12.append(YAML(typ="safe", pure=True))
    reader = _reader12[0]
    try:
        tag = reader.resolver.resolve(nodes12.ScalarNode, text, (True, False))
        return reader.constructor.construct_object(nodes12.ScalarNode(tag, text))
    except (YAMLError12, ValueError, OverflowError, LookupError, AttributeError) as error:
        raise CodeError(f"{text[:40]!r} cannot be read under YAML 1.2") from error
