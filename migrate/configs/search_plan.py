"""What the search takes and gives: options, templates, and which of them each document extends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migrate.configs.leaves import Path

Document = Mapping[Any, Any]

# What tells one run from another. A template that held it would give its value to the wrong experiment.
IDENTITY_KEYS = frozenset(
    {
        "name",
        "description",
        "title",
        "tags",
        "id",
        "run_id",
        "run_name",
        "output_dir",
        "experiment_id",
        "experiment_name",
    }
    | {"variant_id", "wandb_tags", "wandb_name", "wandb_run_name"}
)
# Sections that describe the run as a whole. Elsewhere a name is a setting: of an optimizer, a metric, a slice.
RUN_SECTIONS = frozenset({"experiment", "info", "logging", "metadata", "output", "run", "tracking", "wandb"})


def is_identity(path: Path) -> bool:
    """Say whether ``path`` names one experiment: its name, description, id, tags or where it writes."""
    return bool(path) and path[-1] in IDENTITY_KEYS and all(section in RUN_SECTIONS for section in path[:-1])


@dataclass(slots=True)
class Template:
    """A shared base.

    Attributes:
        id: Position in `Plan.templates`. Parents come before their children.
        parents: Templates that it extends, left to right; a later one wins.
        values: What it writes itself, directives included: the smallest overlay over its parents.
        pinned: It was given and must not be changed; its id is its position in `SearchOptions.pinned`.
    """

    id: int
    parents: tuple[int, ...]
    values: dict[Any, Any]
    pinned: bool = False


@dataclass(slots=True)
class Plan:
    """Templates, and which of them each document extends.

    Attributes:
        templates: All templates that are used, and every pinned one.
        bases: Ids by document name, left to right; empty for a document that shares nothing.
    """

    templates: list[Template] = field(default_factory=list)
    bases: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Limits of the search.

    Attributes:
        max_depth: Most templates on the way from a root to an experiment.
        max_bases: Most templates that one document names; 1 for plain trees.
        max_templates: Most templates that are not pinned; None for no limit.
        min_support: Fewest documents that a template serves.
        default_share: Share of a template's documents that must hold a value for it to become a default.
        identity: Says which paths never become a default.
        pinned: Resolved content of templates that are used as they are.
    """

    max_depth: int = 4
    max_bases: int = 6
    max_templates: int | None = None
    min_support: int = 2
    default_share: float = 0.5
    identity: Callable[[Path], bool] = is_identity
    pinned: tuple[Document, ...] = ()
