"""A candidate plan over bitsets, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field

from migrate.configs.search_index import Content, Index, members

Bases = tuple[int, ...]
EMPTY = Content(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a plan must keep to; see `migrate.configs.search.SearchOptions`.

    Attributes:
        weight: What a leaf in a document counts for; one in a template counts 1.
    """

    depth: int
    templates: int
    support: int
    share: float
    weight: float = 1.0


@dataclass(slots=True)
class State:
    """Templates and who extends them.

    A child with several bases sets every leaf on which they disagree itself, so their order does not matter.

    Attributes:
        index: The documents.
        content: Resolved content by template.
        parents: Bases by template.
        bases: Bases by document.
        fixed: Templates that must not change.
    """

    index: Index
    content: dict[int, Content] = field(default_factory=dict)
    parents: dict[int, Bases] = field(default_factory=dict)
    bases: list[Bases] = field(default_factory=list)
    fixed: frozenset[int] = frozenset()

    def copy(self) -> State:
        """Return a state that can change without this one."""
        return State(self.index, dict(self.content), dict(self.parents), list(self.bases), self.fixed)

    def add(self, content: Content, parents: Bases = ()) -> int:
        """Add a template and return its id."""
        number = max(self.content, default=-1) + 1
        self.content[number] = content
        self.parents[number] = parents
        return number

    def joined(self, bases: Bases) -> Content:
        """Return what bases set together."""
        if not bases:
            return EMPTY
        joined = self.content[bases[0]]
        for base in bases[1:]:
            joined = self.index.join(joined, self.content[base])
        return joined

    def ancestors(self, number: int) -> set[int]:
        """Return the templates that a template extends, directly or not."""
        found: set[int] = set()
        stack = list(self.parents[number])
        while stack:
            parent = stack.pop()
            if parent not in found:
                found.add(parent)
                stack += self.parents[parent]
        return found

    def lean(self, bases: set[int]) -> Bases:
        """Return bases in order, without those that another one extends."""
        if len(bases) > 1:
            for base in list(bases):
                bases = bases - self.ancestors(base)
        return tuple(sorted(bases))

    def order(self) -> list[int]:
        """Return the templates, parents before children."""
        done: dict[int, None] = {}
        waiting = sorted(self.content)
        while waiting:
            ready = [number for number in waiting if all(parent in done for parent in self.parents[number])]
            done.update(dict.fromkeys(ready))
            waiting = [number for number in waiting if number not in done]
        return list(done)

    def levels(self) -> dict[int, int]:
        """Return the number of templates from a root to each template, itself included."""
        levels: dict[int, int] = {}
        for number in self.order():
            levels[number] = 1 + max((levels[parent] for parent in self.parents[number]), default=0)
        return levels

    def served(self) -> dict[int, int]:
        """Return the documents below each template, as a bitset."""
        served = dict.fromkeys(self.content, 0)
        for document, bases in enumerate(self.bases):
            for base in bases:
                served[base] |= 1 << document
        for number in reversed(self.order()):
            for parent in self.parents[number]:
                served[parent] |= served[number]
        return served

    def groups(self) -> dict[Bases, list[int]]:
        """Return the documents that have the same bases."""
        groups: dict[Bases, list[int]] = {}
        for document, bases in enumerate(self.bases):
            groups.setdefault(bases, []).append(document)
        return groups

    def num_free(self) -> int:
        """Return the number of templates that are not fixed."""
        return len(self.content) - len(self.fixed)

    def cost(self, weight: float = 1.0) -> float:
        """Return the leaves written, but for those that no template could take over.

        Args:
            weight: What a leaf in a document counts for; one in a template counts 1.
        """
        total = 0.0
        index = self.index
        for bases, documents in self.groups().items():
            if not bases:
                continue
            joined = self.joined(bases)
            for document in documents:
                total += weight * (len(bases) - saved(index, document, joined))
        for number, content in self.content.items():
            if number not in self.fixed:
                total += self.own_cost(content, self.parents[number])
        return total

    def own_cost(self, content: Content, parents: Bases) -> int:
        """Return what a template with ``content`` writes over ``parents``, with the naming of them."""
        base = self.joined(parents)
        added = (content.facts & ~base.facts).bit_count()
        return added + self.deletions(base, content) + len(parents)

    def deletions(self, base: Content, content: Content) -> int:
        """Return the keys that must be deleted from ``base``; one is enough for all that is under it."""
        gone = base.nodes & ~content.nodes
        if not gone:
            return 0
        parent = self.index.parent_node
        # A leaf that takes the place of a mapping needs no deletion.
        over = gone | content.ends
        return sum(1 for node in members(gone) if parent[node] < 0 or not over >> parent[node] & 1)


def saved(index: Index, document: int, content: Content) -> int:
    """Return the leaves that ``document`` need not write over ``content``, less its deletions."""
    kept = (index.held[document] & content.facts).bit_count()
    return kept - (index.lacks[document] & content.nodes).bit_count()


class Budgeted:
    """What searches share: what they may spend, and what they judge a state by.

    Attributes:
        work: What has been spent so far: a clock that runs the same on every machine.
        end: Value of `work` at which no further change is tried.
    """

    def __init__(self, limits: Limits, num_bases: int, price: float, work: int) -> None:
        self.limits = limits
        self.num_bases = num_bases
        self.price = price
        self.work = 0
        self.end = work

    def score(self, state: State) -> float:
        """Return the cost with the price of each template, and a ban on too many."""
        over = max(0, state.num_free() - self.limits.templates)
        return state.cost(self.limits.weight) + self.price * state.num_free() + 1e6 * over
