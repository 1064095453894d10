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
FILES_PER_LEAF = 20
MAX_PRICE = 6
# What a leaf in an experiment counts for, which somebody reads and edits; one in a template counts 1. Eighths, because
# their sums are exact: a gain that is only an error of rounding would be pursued for ever.
WEIGHT = 1.375
# Where a plan has as many templates as there may be, the price of one is divided by this.
CAPPED = 3
# Templates that a plan may have where nobody says how many: two for five documents up to a number that can be surveyed;
# one for ten documents where that is more.
FEW, MANY = 6, 60
# Units of `Search.work`; a million take about two seconds.
TREE_WORK = 100_000
CLIMB_WORK = 450_000
NUM_FITS = 6
# Units of `Refine.work` for each shared leaf, and at most; a million take about a second.
REFINE_WORK = 500
MAX_REFINE = 5_000_000
# Documents above which a plan has to be good enough with a tenth of that.
MAX_THOROUGH = 250
# Of the units of `Refine.work`, how many one of `Search.work` stands for.
CLIMB_SHARE = 3
# A start that costs this much more than the best one is not refined.
NEAR = 1.1


def run(documents: Mapping[str, Document], options: SearchOptions) -> Plan:
    """See `migrate.configs.search.search`."""
    names = sorted(documents)
    chosen = [documents[name] for name in names]
    most = num_allowed(len(names)) if options.max_templates is None else options.max_templates
    limits = Limits(options.max_depth, most, max(2, options.min_support), options.default_share, WEIGHT)
    best, least = Plan(), None
    for state in _candidates(chosen, limits, options):
        plan = to_plan(state, names, chosen)
        found = figures.measure(plan, documents)
        cost = WEIGHT * found.leaves_experiments + found.leaves_templates
        cost += price(len(names)) * found.templates
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
        return _searched(start, limits, options.max_bases, price(len(documents)))
    positions = [position * len(documents) // MAX_SAMPLE for position in range(MAX_SAMPLE)]
    sample = _start([documents[position] for position in positions], limits, options)
    found = _searched(sample, limits, options.max_bases, price(MAX_SAMPLE))
    return [_grown(_moved(state, start), limits, options) for state in found]


def _searched(start: State, limits: Limits, max_bases: int, price: int) -> list[State]:
    """Return the best tree, and the best plan with several bases.

    Both are found without a limit of templates. The second loses the least useful ones then; a tree that has too many
    is left out.
    """
    number = len(start.bases)
    free = replace(limits, templates=max(limits.templates, number))
    shared = sum(held.bit_count() for held in start.index.held)
    work = min(MAX_REFINE if number <= MAX_THOROUGH else MAX_REFINE // 10, REFINE_WORK * shared)
    joints = agglomerate(start.index, list(range(number)))
    tree = Search(free, 1, price, TREE_WORK).climb(plant(start.index, joints, limits, start, price))
    starts = [tree]
    if max_bases > 1:
        starts.append(Search(free, max_bases, price, min(CLIMB_WORK, work // CLIMB_SHARE)).climb(start))
    facts = Facts(start.index)
    rater = Refine(facts, free, max_bases, price, 0)
    whole = limits.weight * shared
    least = min(map(rater.score, starts)) + whole
    near = [state for state in starts if rater.score(state) + whole <= NEAR * least]
    best = min((Refine(facts, free, max_bases, price, work).run(state) for state in near), key=rater.score)
    over = best.num_free() > limits.templates
    last = Refine(facts, limits, max_bases, price // CAPPED if over else price, work)
    best = last.run(last.fitted(best)) if over else best
    trees = [tree] if tree.num_free() <= limits.templates else []
    return [*trees, last.mended(last.shake(best, work))]


def price(number: int) -> int:
    """Return what a template costs on top of its leaves, for so many documents."""
    return min(MAX_PRICE, number // FILES_PER_LEAF)


def num_allowed(number: int) -> int:
    """Return how many templates so many documents may have where nobody says."""
    return max(FEW, min(MANY, 2 * number // 5), number // 10)


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
