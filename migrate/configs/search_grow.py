"""New templates: sets of facts that several children still write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migrate.configs.search_index import Content, Index, members, transposed
from migrate.configs.search_state import EMPTY, Bases, Limits, State

NUM_SEEDS = 12
NUM_ROUNDS = 4
NUM_PAIRED = 200


@dataclass(frozen=True, slots=True)
class Child:
    """Something that can extend a new template.

    Attributes:
        wants: Facts that it still writes.
        lacks: Nodes that it would have to delete.
        others: Content of its other bases, with which the new template must not clash.
        document: Number of the document, or -1.
        template: Number of the template, or -1.
        weight: Documents below it.
    """

    wants: int
    lacks: int
    others: Content
    document: int
    template: int
    weight: int

    def gain(self, content: Content, extra: bool) -> int:
        """Return what it saves with a base that sets ``content``, named beside others when ``extra``."""
        if self.others.nodes and content.clashes(self.others):
            return -1
        return (self.wants & content.facts).bit_count() - (self.lacks & content.nodes).bit_count() - extra


@dataclass(frozen=True, slots=True)
class Proposal:
    """A template that would save ``gain`` leaves.

    Attributes:
        facts: What it sets itself.
        children: Who extends it.
        parents: What it extends.
        extra: Whether its documents keep their bases and name it as one more.
    """

    gain: float
    facts: int
    children: tuple[Child, ...]
    parents: Bases
    extra: bool


def below(state: State, limits: Limits, served: dict[int, int]) -> list[Proposal]:
    """Propose templates between one template and some of its children."""
    index = state.index
    children: dict[int, list[Child]] = {number: [] for number in state.content}
    children[-1] = []
    for document, bases in enumerate(state.bases):
        if len(bases) > 1:
            _shared_child(state, document, bases, children)
            continue
        parent = bases[0] if bases else -1
        facts = state.content[parent].facts if bases else 0
        children[parent].append(Child(index.held[document] & ~facts, index.lacks[document], EMPTY, document, -1, 1))
    for number, parents in state.parents.items():
        if len(parents) > 1 or number in state.fixed:
            continue
        parent = parents[0] if parents else -1
        content = state.content[number]
        facts = content.facts & ~(state.content[parent].facts if parents else 0)
        lacks = index.lacking(content.nodes)
        children[parent].append(Child(facts, lacks, EMPTY, -1, number, served[number].bit_count()))
    levels = state.levels()
    heights = _heights(state)
    found = []
    for parent, members_ in children.items():
        room = limits.depth - (levels[parent] if parent >= 0 else 0) - 1
        usable = [child for child in members_ if child.template < 0 or heights[child.template] <= room]
        if room >= 0:
            found.extend(_best(index, usable, (parent,) if parent >= 0 else (), limits, False))
    return found


def _shared_child(state: State, document: int, bases: Bases, children: dict[int, list[Child]]) -> None:
    """Offer a document with several bases to each of them."""
    index = state.index
    joined = state.joined(bases)
    for base in bases:
        others = state.joined(tuple(other for other in bases if other != base))
        wants = index.held[document] & ~joined.facts
        children[base].append(Child(wants, index.lacks[document] & ~others.nodes, others, document, -1, 1))


def _heights(state: State) -> dict[int, int]:
    heights = dict.fromkeys(state.content, 1)
    for number in reversed(state.order()):
        for parent in state.parents[number]:
            heights[parent] = max(heights[parent], heights[number] + 1)
    return heights


def beside(state: State, limits: Limits, served: dict[int, int]) -> list[Proposal]:
    """Propose templates that documents, and the templates in ``served``, extend beside the bases they have."""
    index = state.index
    children = []
    for document, bases in enumerate(state.bases):
        joined = state.joined(bases)
        # A base beside others cannot change what they set.
        wants = index.held[document] & ~(joined.facts | joined.rivals)
        children.append(Child(wants, index.lacks[document] & ~joined.nodes, joined, document, -1, 1))
    for number, parents in state.parents.items():
        if number in state.fixed or number not in served:
            continue
        content, base = state.content[number], state.joined(parents)
        wants = content.facts & ~(base.facts | base.rivals)
        lacks = index.lacking(content.nodes) & ~base.nodes
        children.append(Child(wants, lacks, base, -1, number, served[number].bit_count()))
    return _best(index, children, (), limits, True)


def combined(state: State, limits: Limits) -> list[Proposal]:
    """Propose templates that extend the bases which several documents have in common, so that those name one."""
    index, levels = state.index, state.levels()
    found = []
    for bases, documents in state.groups().items():
        if len(bases) < 2 or len(documents) < 2 or max(levels[base] for base in bases) >= limits.depth:
            continue
        joined = state.joined(bases)
        children = [
            Child(index.held[document] & ~joined.facts, index.lacks[document], EMPTY, document, -1, 1)
            for document in documents
        ]
        facts = Pool(index, children, limits).wanted((1 << len(children)) - 1)
        content = index.content(facts)
        gain = sum(child.gain(content, False) + len(bases) - 1 for child in children) - facts.bit_count() - len(bases)
        # One that only names others saves leaves, but tells a reader nothing.
        if facts and gain > 0:
            found.append(Proposal(gain, facts, tuple(children), bases, False))
    return found


class Pool:
    """Children that may come to share a template, with who wants which fact as bitsets over their positions."""

    def __init__(self, index: Index, children: Sequence[Child], limits: Limits) -> None:
        self.index = index
        self.limits = limits
        self.children = children
        self._wanted: dict[int, int] = {}
        self._takers: dict[tuple[int, bool], tuple[int, int]] = {}
        self.heavy = [(1 << place, child.weight - 1) for place, child in enumerate(children) if child.weight > 1]
        once = twice = 0
        for child in children:
            twice |= once & child.wants
            once |= child.wants
        self.wanting = transposed([child.wants & twice for child in children], len(index.facts))
        ends = 0
        for fact in self.wanting:
            ends |= index.end[fact]
        num_nodes = len(index.parent_node)
        self.lacking = transposed([child.lacks & ends for child in children], num_nodes)
        self.taken = transposed([child.others.nodes & ends for child in children], num_nodes)

    def weight(self, positions: int) -> int:
        """Return the documents below the children at ``positions``."""
        return positions.bit_count() + sum([more for bit, more in self.heavy if positions & bit])

    def wanted(self, positions: int) -> int:
        """Return the facts worth setting once for the children at ``positions``."""
        if positions not in self._wanted:
            self._wanted[positions] = self._find_wanted(positions)
        return self._wanted[positions]

    def _find_wanted(self, positions: int) -> int:
        needed = self.limits.share * self.weight(positions)
        best: dict[int, tuple[int, int]] = {}
        once = twice = 0
        for position in members(positions):
            wants = self.children[position].wants
            twice |= once & wants
            once |= wants
        for fact in members(twice):
            mine = self.wanting[fact] & positions
            gain = mine.bit_count() - 1
            if gain <= 0:
                continue
            end = self.index.end[fact].bit_length() - 1
            gain -= (self.lacking.get(end, 0) & positions).bit_count()
            if gain <= 0 or self.taken.get(end, 0) & positions or self.weight(mine) < needed:
                continue
            best[end] = max(best.get(end, (0, -1)), (gain, -fact))
        facts = 0
        for _, negative in best.values():
            facts |= 1 << -negative
        return facts

    def takers(self, facts: int, extra: bool) -> tuple[int, int]:
        """Return the children that want half of ``facts`` or more and gain from them, and what they gain together."""
        if (facts, extra) not in self._takers:
            self._takers[facts, extra] = self._find_takers(self.index.content(facts), extra)
        return self._takers[facts, extra]

    def _find_takers(self, content: Content, extra: bool) -> tuple[int, int]:
        positions = total = 0
        least = content.facts.bit_count()
        for position, child in enumerate(self.children):
            if 2 * (child.wants & content.facts).bit_count() < least:
                continue
            gain = child.gain(content, extra)
            if gain > 0:
                positions |= 1 << position
                total += gain
        return positions, total

    def seeds(self) -> list[int]:
        """Return sets of facts to start from: what two children share, and what goes along with one fact."""
        return list(dict.fromkeys(self._shared() + self._along()))

    def _shared(self) -> list[int]:
        pairs: dict[int, int] = {}
        ordered = sorted((child.wants for child in self.children), key=lambda wants: -wants.bit_count())[:NUM_PAIRED]
        for position, first in enumerate(ordered):
            for second in ordered[position + 1 :]:
                both = first & second
                if both & (both - 1):
                    pairs[both] = pairs.get(both, 0) + 1
        ranked = sorted(pairs, key=lambda both: (-both.bit_count() * (pairs[both] + 1), both))
        by_size = sorted(pairs, key=lambda both: (-both.bit_count(), both))
        return ranked[:NUM_SEEDS] + by_size[:NUM_SEEDS]

    def _along(self) -> list[int]:
        found: list[int] = []
        covered = 0
        for fact in sorted(self.wanting, key=lambda fact: (-self.wanting[fact].bit_count(), fact)):
            if len(found) == NUM_SEEDS:
                break
            if covered >> fact & 1 or self.wanting[fact].bit_count() < 2:
                continue
            facts = self.wanted(self.wanting[fact]) | 1 << fact
            covered |= facts
            found.append(facts)
        return found


def _best(index: Index, children: Sequence[Child], parents: Bases, limits: Limits, extra: bool) -> list[Proposal]:
    """Return the proposals that pay, best first, no child in two."""
    pool = Pool(index, [child for child in children if child.wants & (child.wants - 1)], limits)
    proposals = (_refine(pool, facts, parents, extra) for facts in pool.seeds())
    found = sorted((found for found in proposals if found is not None), key=lambda proposal: -proposal.gain)
    return apart(found)


def _refine(pool: Pool, facts: int, parents: Bases, extra: bool) -> Proposal | None:
    """Settle, in turns, who gains from ``facts`` and which facts those want."""
    best: Proposal | None = None
    for _ in range(NUM_ROUNDS):
        positions, gain = pool.takers(facts, extra)
        if positions.bit_count() < 2 or pool.weight(positions) < pool.limits.support:
            break
        gain -= facts.bit_count() + len(parents)
        following = pool.wanted(positions)
        if gain > 0 and (best is None or gain > best.gain) and not facts & ~following:
            taking = tuple(pool.children[position] for position in members(positions))
            best = Proposal(gain, facts, taking, parents, extra)
        if following == facts:
            break
        facts = following
    return best


def apart(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Return the first proposals that have no child in common."""
    used: set[tuple[int, int]] = set()
    chosen = []
    for proposal in proposals:
        names = {(child.document, child.template) for child in proposal.children}
        if not names & used:
            used |= names
            chosen.append(proposal)
    return chosen


def apply(state: State, proposal: Proposal) -> int:
    """Add the template of ``proposal`` to ``state`` and return its id."""
    index = state.index
    base = state.joined(proposal.parents)
    own = index.content(proposal.facts)
    content = index.content(base.facts & ~own.rivals | own.facts)
    number = state.add(content, proposal.parents)
    for child in proposal.children:
        if child.template >= 0:
            others = state.parents[child.template] if proposal.extra else ()
            state.parents[child.template] = (*others, number)
        elif proposal.extra:
            state.bases[child.document] = tuple(sorted((*state.bases[child.document], number)))
        else:
            kept = [base for base in state.bases[child.document] if base not in proposal.parents]
            state.bases[child.document] = tuple(sorted((*kept, number)))
    return number
