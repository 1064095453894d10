"""``configs add``: fit new files to the templates there are, touching nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bem_core.errors import BemError
from migrate.configs.inputs import Options
from migrate.configs.report import Report
from migrate.configs.run import Runner, reading
from migrate.configs.search import Plan, SearchOptions, Template, fit


def add(options: Options) -> Report:
    """Let files extend templates that exist already.

    Raises:
        BemError: There are no templates, or see `migrate.configs.run.run`.
    """
    with reading(options) as read:
        if not read.inputs.ours and not read.inputs.pinned:
            raise BemError(f"no templates in {options.folder}; run bem-migrate configs on the folder first")
        return Runner(replace(options, max_templates=0), "add", read, frozen=True).go(read.inputs, _fit)


def _fit(documents: Mapping[str, Mapping[Any, Any]], options: SearchOptions) -> Plan:
    contents = dict(enumerate(options.pinned))
    templates = [Template(number, (), dict(content), pinned=True) for number, content in contents.items()]
    return Plan(templates, {name: fit(document, contents) for name, document in documents.items()})
