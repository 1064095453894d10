"""Comments of keys that move into a template: each distinct one goes with its key, once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from migrate.configs.layout import Comment, Entry, Keys
from migrate.configs.source import Source


@dataclass(slots=True)
class Holder:
    """An entry that left a file for a template, with its own comments."""

    source: Source
    entry: Entry
    comments: list[Comment] = field(default_factory=list)

    def texts(self, place: str) -> tuple[str, ...]:
        """Return its comments at one place."""
        return tuple(comment.text for comment in self.comments if comment.place == place)


@dataclass(slots=True)
class Moved:
    """What moves into one template.

    Attributes:
        holders: By path, the entries that were there in the files, in order of the files.
    """

    holders: dict[Keys, list[Holder]] = field(default_factory=lambda: defaultdict(list))


def holders_of(source: Source, removed: Iterable[Entry]) -> list[Holder]:
    """Return every entry that is gone from a file, with the comments that are gone with it."""
    found: dict[Keys, Holder] = {}
    for top in removed:
        stack = [top]
        while stack:
            entry = stack.pop()
            found[entry.path] = Holder(source, entry)
            stack += entry.children or []
        for comment in source.layout.comments(top):
            found[comment.path].comments.append(comment)
    return list(found.values())


def most_common(items: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the distinct items, most common first, and among equals in the order in which they came."""
    return [item for item, _ in Counter(items).most_common()]


def lines_above(holders: Sequence[Holder], written: Iterable[str], places: Sequence[str]) -> list[str]:
    """Return the comment lines to write above a key: those of most files first, none that is written already.

    Args:
        holders: The entries of that key.
        written: Comments that stand at the key for other reasons.
        places: Which comments are meant.
    """
    done = set(written)
    lines: list[str] = []
    for place in places:
        for block in most_common([holder.texts(place) for holder in holders]):
            # A line may be twice in one block, as the rules above and below a heading are.
            lines += block if not done & set(block) else [text for text in block if text not in done]
            done.update(block)
    return lines
