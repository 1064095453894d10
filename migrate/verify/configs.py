"""Old and new configurations compared by what they resolve to. Loads without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bem_core.config import load_experiment_config
from bem_core.config.resolver import OnDangling, Resolver
from bem_core.errors import BemError, ConfigError
from migrate.verify.structures import Change, changes

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class ConfigPair:
    """Two files and what they differ in.

    Attributes:
        name: Relative path, or the name of the old file.
        changes: What differs; empty where they are the same.
        problem: Why they could not be compared.
    """

    name: str
    changes: tuple[Change, ...] = ()
    problem: str = ""

    @property
    def same(self) -> bool:
        """Tell whether both could be read and stand for the same."""
        return not self.changes and not self.problem


@dataclass(frozen=True, slots=True)
class ConfigReport:
    """All pairs, and the files that only one side has.

    Attributes:
        pairs: In the order of names.
        only_old: Files without a counterpart, which is a difference.
        only_new: Files that the old side does not have, such as templates, which is none.
    """

    pairs: tuple[ConfigPair, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Tell whether every old file has a counterpart that stands for the same."""
        return not self.only_old and all(pair.same for pair in self.pairs)


def compare_configs(old: Path, new: Path, *, typed: bool = False, on_dangling: OnDangling = "error") -> ConfigReport:
    """Compare two files, or all YAML files of two folders by their relative paths.

    Args:
        old: File or folder.
        new: The same kind.
        typed: Compare the experiments that `bem_core` makes of them, so that old spellings of keys count as the new.
        on_dangling: What to do where a file names a base that does not exist.

    Raises:
        ConfigError: One is a folder and the other is not, one does not exist, or there is nothing to compare.
    """
    for path in (old, new):
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder")
    if old.is_dir() != new.is_dir():
        file, folder = (new, old) if old.is_dir() else (old, new)
        raise ConfigError(f"{file} is a file and {folder} a folder; expected two of one kind")
    if not old.is_dir():
        return ConfigReport((_pair(old.name, old, new, typed, on_dangling),), (), ())
    names = [_names(folder) for folder in (old, new)]
    shared = [name for name in names[0] if name in names[1]]
    if not shared:
        raise ConfigError(f"{old} and {new} share no YAML file")
    pairs = [_pair(name, old / name, new / name, typed, on_dangling) for name in shared]
    only_old, only_new = (tuple(name for name in own if name not in other) for own, other in (names, reversed(names)))
    return ConfigReport(tuple(pairs), only_old, only_new)


def _names(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file())
    return sorted(str(path.relative_to(folder)) for path in files)


def _pair(name: str, old: Path, new: Path, typed: bool, on_dangling: OnDangling) -> ConfigPair:
    try:
        pair = [_resolved(path, typed, on_dangling) for path in (old, new)]
    except BemError as error:
        return ConfigPair(name, problem=str(error))
    return ConfigPair(name, tuple(changes(*pair)))


def _resolved(path: Path, typed: bool, on_dangling: OnDangling) -> dict[Any, Any]:
    if typed:
        return dict(load_experiment_config(path, on_dangling=on_dangling).to_dict())
    return Resolver(on_dangling=on_dangling).resolve(path).data
