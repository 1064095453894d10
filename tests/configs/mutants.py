"""Changes of single values in a template, for tests that each is found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bem_core.config.resolver import Resolver
from migrate.configs.readback import Claim
from migrate.configs.verify import verify

OTHER = '"changed for a test"'


def mutants(text: str) -> Iterator[tuple[str, str]]:
    """Yield each scalar of a template with the text in which it has another value; lists also lose an element."""
    root = yaml.compose(text)
    for key, value in root.value:
        if key.value not in ("base_config", "_delete_"):
            yield from _mutants(text, key.value, value)


def _mutants(text: str, path: str, node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            if key.value != "_delete_":
                yield from _mutants(text, f"{path}.{key.value}", value)
    elif isinstance(node, yaml.SequenceNode) and node.value:
        for number, value in enumerate(node.value):
            yield from _mutants(text, f"{path}.{number}", value)
    else:
        start, end = node.start_mark.index, node.end_mark.index
        new = OTHER + "\n" * (text[end - 1 : end] == "\n" and end > start)
        yield path, f"{text[:start]}{' ' * (start == end)}{new}{text[end:]}"


def survivors(folder: Path, before: Mapping[str, str]) -> tuple[int, list[str]]:
    """Change every value of every template under a folder, one by one.

    Args:
        folder: Experiments with a folder ``templates``.
        before: Texts of the experiments as they were, by path relative to the folder.

    Returns:
        The number of changes, and those that the verification did not find.
    """
    users: dict[str, list[str]] = {}
    for name in before:
        for layer in Resolver(folder.parent).resolve(folder / name).layers[:-1]:
            users.setdefault(str(layer.path), []).append(name)
    number, found = 0, []
    for template in sorted((folder / "templates").glob("*.yaml")):
        real = str(template.resolve())
        for path, text in mutants(template.read_text()):
            number += 1
            claims = (Claim(str(folder / name), before[name], dropped=True) for name in users[real])
            if not any(verify(folder.parent, {real: text}, [claim]) for claim in claims):
                found.append(f"{template.name}: {path}")
    return number, found
