"""``configs flatten``: the text of a file with everything that it inherits."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from bem_core.config.merge import typed_equal
from bem_core.config.resolver import Resolver
from bem_core.config.yaml_reader import parse
from bem_core.errors import BemError, ConfigError
from migrate.configs.edit import rewrite
from migrate.configs.expand import expanded
from migrate.configs.inputs import Chain
from migrate.configs.source import Source, read


def flattened(path: str, root: Path) -> str:
    """Return the text, comments included; a file that can't be put together from texts is written anew.

    Raises:
        ConfigError: The file or a base cannot be resolved.
    """
    resolved = Resolver(root).resolve(Path(path))
    source = read(path, directives=True)
    try:
        if isinstance(source, Source):
            chain = Chain({}, root)
            bases = [chain.find(source, name) for name in source.bases or ()]
            whole = expanded(source, bases, chain)
            text = rewrite(whole, whole.coded, ()).text
            if typed_equal(parse(text, path).data, resolved.data):
                return text
    except (BemError, ConfigError):
        pass
    head = f"# {os.path.basename(path)} with all that it inherits\n"
    return head + yaml.safe_dump(resolved.data, sort_keys=False, allow_unicode=True, width=120)
