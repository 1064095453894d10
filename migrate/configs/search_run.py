"""The whole search: several starts, the best of them as a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bem_core.config.merge import leaves
from migrate.configs import figures
from migrate.configs.leaves import unflatten
from migrate.configs.search_assign import choose, reassign
from migrate.configs.search_facts import Facts
from migrate.configs.search_index import Index, members
from migrate.configs.search_loop import Search
from migrate.configs.search_plan import Document, Plan, SearchOptions, Template
from migrate.configs.search_refine import Refine
from migrate.configs.search_state import Limits, State
from migrate.configs.search_tree import agglomerate, plant

# Joining pairs is quadratic, so a first plan is found on so many documents, spread evenly over all of them.
MAX_SAMPLE = 500
# Leaves that a template must save before it is worth a file that somebody has to open: one for each so many documents.
FILES_PER_LEAF = 15
MAX_PRICE = 4
# Units of `Search.work`; a million take about two seconds.
TREE_WORK = 300_000
CLIMB_WORK = 450_000
NUM_FITS = 6
# Documents up to which there is time for a start with nothing but bases beside each other.
MAX_APART = 250
# Units of `Refine.work` for each shared leaf, and at most; a hundred thousand take about two seconds.
REFINE_WORK = 12
MAX_REFINE = 120_000


def run(documents: Mapping[str, Document], options: SearchOptions) -> Plan:
    """See `migrate.configs.search.search`."""
    names = sorted(documents)
    chosen = [documents[name] for name in names]
    most = len(names) if options.max_templates is None else options.max_templates
    limits = Limits(options.max_depth, most, max(2, options.min_support), options.default_share)
    best, least = Plan(), None
    for state in _candidates(chosen, limits, options):
        plan = to_plan(state, names, chosen)
        found = figures.measure(plan, documents)
        cost = found.cost + _price(len(names)) * found.templates
        if least is None or cost < least:
            best, least = plan, cost
    return best


def _start(documents: Sequence[Document], limits: Limits, options: SearchOptions) -> State:
    """Return a state with the pinned templates only, all of them used where they help."""
    index = Index(documents, options.pinned, limits.support, options.identity)
    state = State(index, bases=[()] * len(documents), fixed=frozenset(range(len(options.pinned))))
    for content in index.pinned:
        state.add(content)
    reassign(state, options.max_bases)
    return state


def _candidates(documents: Sequence[Document], limits: Limits, options: SearchOptions) -> list[State]:
    start = _start(documents, limits, options)
    if limits.depth < 1 or limits.templates < 1:
        return [start]
    if len(documents) <= MAX_SAMPLE:
        return _searched(start, limits, options.max_bases)
    positions = [position * len(documents) // MAX_SAMPLE for position in range(MAX_SAMPLE)]
    sample = _start([documents[position] for position in positions], limits, options)
    return [_grown(_moved(state, start), limits, options) for state in _searched(sample, limits, options.max_bases)]


def _searched(start: State, limits: Limits, max_bases: int) -> list[State]:
    """Return the best tree and the best plan with several bases that has no more templates."""
    number = len(start.bases)
    price = _price(number)
    facts = Facts(start.index)
    work = min(MAX_REFINE, REFINE_WORK * sum(held.bit_count() for held in start.index.held))
    joints = agglomerate(start.index, list(range(number)))
    tree = Search(limits, 1, price, TREE_WORK).climb(plant(start.index, joints, limits, start, price))
    single = Refine(facts, limits, 1, price, work // 4).run(tree)
    if max_bases < 2:
        return [Refine(facts, limits, 1, price, 0).shake(single, work)]
    fewer = replace(limits, templates=max(1, single.num_free()))
    starts = [single, Search(fewer, max_bases, price, CLIMB_WORK).climb(start)]
    if number <= MAX_APART:
        beside = Search(fewer, max_bases, price, CLIMB_WORK)
        starts.append(beside.climb(beside.adopt(beside.grow(start, inside=False))))
    several = Refine(facts, fewer, max_bases, price, 0)
    found = [Refine(facts, fewer, max_bases, price, work // 2).run(state) for state in starts]
    return [single, several.shake(min(found, key=several.score), work)]


def _price(number: int) -> int:
    """Return what a template costs on top of its leaves, for so many documents."""
    return min(MAX_PRICE, number // FILES_PER_LEAF)


def _moved(state: State, start: State) -> State:
    """Return ``start`` with the templates of ``state``, which was found on some of its documents."""
    moved = start.copy()
    facts = list(state.index.number)
    for number in state.order():
        if number in state.fixed:
            continue
        held = {facts[fact]: None for fact in members(state.content[number].facts)}
        moved.content[number] = start.index.content(start.index.bits(held))
        moved.parents[number] = state.parents[number]
    return moved


def _grown(state: State, limits: Limits, options: SearchOptions) -> State:
    """Fit many documents to the templates that some of them gave, and add what those did not show."""
    state = state.copy()
    reassign(state, options.max_bases)
    many = Search(limits, options.max_bases, MAX_PRICE, NUM_FITS * len(state.bases) * (len(state.content) + 5))
    return many.grow(many.fitting(many.polish(state)), NUM_FITS)


def to_plan(state: State, names: Sequence[str], documents: Sequence[Document]) -> Plan:
    """Write a state as templates and bases; a document that gains nothing gets none."""
    index = state.index
    order = sorted(state.fixed) + [number for number in state.order() if number not in state.fixed]
    ids = {number: position for position, number in enumerate(order)}
    plan = Plan()
    resolved: list[dict[Any, Any]] = []
    for number in order:
        facts = [index.facts[fact] for fact in members(state.content[number].facts)]
        content = unflatten(dict(facts))
        parents = tuple(sorted(ids[parent] for parent in state.parents[number]))
        pinned = number in state.fixed
        values = content if pinned else figures.overlay_over([resolved[parent] for parent in parents], content)
        resolved.append(content)
        plan.templates.append(Template(ids[number], parents, values, pinned))
    for name, document, bases in zip(names, documents, state.bases, strict=True):
        chosen = tuple(sorted(ids[base] for base in bases))
        over = figures.overlay_over([resolved[base] for base in chosen], document) if chosen else {}
        pays = chosen and figures.count(over) + len(chosen) < leaves(document)
        plan.bases[name] = chosen if pays else ()
    return plan


def fit_one(document: Document, resolved: Mapping[int, Document], options: SearchOptions) -> tuple[int, ...]:
    """See `migrate.configs.search.fit`."""
    ids = sorted(resolved)
    index = Index([document], [resolved[number] for number in ids], 2, options.identity)
    state = State(index, bases=[()])
    for content in index.pinned:
        state.add(content)
    bases = choose(state, 0, sorted(state.content.items()), options.max_bases)
    return tuple(ids[base] for base in bases)
