"""The best bases of a document for given templates."""

from __future__ import annotations

from migrate.configs.search_index import Content, Index
from migrate.configs.search_state import Bases, State, saved

# A document rarely gains from a worse first base, so only the best few are tried.
NUM_FIRST = 3


def reassign(state: State, num_bases: int) -> bool:
    """Give every document the bases with which it costs least, in place; say whether any changed."""
    contents = sorted(state.content.items())
    changed = False
    cache: dict[tuple[int, int], Bases] = {}
    for document in range(len(state.bases)):
        seen = (state.index.held[document], state.index.lacks[document])
        if seen not in cache:
            cache[seen] = choose(state, document, contents, num_bases)
        best = cache[seen]
        if best != state.bases[document] and _gain(state, document, best) > _gain(
            state, document, state.bases[document]
        ):
            state.bases[document] = best
            changed = True
    return changed


def choose(state: State, document: int, contents: list[tuple[int, Content]], num_bases: int) -> Bases:
    """Return the bases for one document: the best first one, then each that still pays and breaks none."""
    index = state.index
    held, lacks = index.held[document], index.lacks[document]
    ranked = []
    for number, content in contents:
        mine = held & content.facts
        gain = mine.bit_count() - (lacks & content.nodes).bit_count() - 1
        if gain > 0:
            ranked.append((gain, -number, mine, content))
    if not ranked:
        return ()
    if num_bases == 1:
        return (-max(ranked, key=lambda item: item[:2])[1],)
    ranked.sort(key=lambda item: item[:2], reverse=True)
    best = max(
        (_extend(index, document, place, ranked, num_bases) for place in range(min(NUM_FIRST, len(ranked)))),
        key=lambda item: item[0],
    )
    return best[1]


def _extend(
    index: Index, document: int, place: int, ranked: list[tuple[int, int, int, Content]], num_bases: int
) -> tuple[int, Bases]:
    gain, negative, facts, joined = ranked[place]
    bases = [-negative]
    for _, negative, mine, content in ranked:
        # Deletions of one key are shared, so the gains do not just add up; the facts are what can be gained at most.
        if (mine & ~facts).bit_count() < 2 or content.breaks(joined):
            continue
        both = index.join(joined, content)
        total = saved(index, document, both) - len(bases) - 1
        if total > gain:
            gain, joined, facts = total, both, joined.facts | mine
            bases.append(-negative)
            if len(bases) == num_bases:
                break
    return gain, tuple(sorted(bases))


def _gain(state: State, document: int, bases: Bases) -> int:
    return saved(state.index, document, state.joined(bases)) - len(bases) if bases else 0
