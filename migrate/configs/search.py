"""Find the templates that describe a set of configurations in the fewest leaves.

What is minimised is the description length: leaves written in templates and experiments, plus one for every base that
is named and every key that is deleted.

The steps, one module each: facts as bitsets (`search_index`), a first tree (`search_tree`), best values for a structure
(`search_values`), best bases for a document (`search_assign`), new templates (`search_grow`), hill climbing over all of
these (`search_loop`), single values (`search_tune` over `search_facts`), bases and parents with the values that follow
each change (`search_local`), templates added, dropped and exchanged with that (`search_refine`), and several starts
whose best is measured by writing it out (`search_run`).
"""

from __future__ import annotations

from collections.abc import Mapping

from migrate.configs.search_plan import IDENTITY_KEYS, Document, Plan, SearchOptions, Template, is_identity
from migrate.configs.search_run import fit_one, run

__all__ = ["IDENTITY_KEYS", "Document", "Plan", "SearchOptions", "Template", "fit", "is_identity", "search"]


def search(documents: Mapping[str, Document], options: SearchOptions | None = None) -> Plan:
    """Return a lossless plan with the least description length that was found; same input, same plan.

    The order of ``documents`` does not count. A plan in which documents extend several templates is taken where it is
    cheaper than one with a base for each; templates have a price of their own, so more of them must save more leaves.
    """
    return run(documents, options or SearchOptions())


def fit(document: Document, resolved: Mapping[int, Document], options: SearchOptions | None = None) -> tuple[int, ...]:
    """Return the bases, by id, with which ``document`` needs the fewest leaves; ``resolved`` has the merged content."""
    return fit_one(document, resolved, options or SearchOptions())
