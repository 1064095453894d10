"""Where a base is looked up: beside the file that names it, in its parents, in the shipped templates; nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from bem_core.errors import ConfigError

# Names below it reach the shipped templates, so that a bare name never finds one by accident.
TEMPLATES = "templates"
_MARKERS = (".git", ".hg"), ("pyproject.toml",)


def shipped_templates() -> tuple[Path, ...]:
    """Return the folder of the templates that come with the package: inside it when installed, else in the checkout."""
    package = Path(__file__).resolve().parent.parent
    folders = (package / TEMPLATES, package.parent / TEMPLATES)
    return tuple(folder for folder in folders if folder.is_dir())[:1]


def find_root(folder: Path) -> Path:
    """Return the repository that holds ``folder``: with ``.git`` or ``.hg``, else ``pyproject.toml``, else itself."""
    folder = folder.resolve()
    for markers in _MARKERS:
        for parent in (folder, *folder.parents):
            if any((parent / marker).exists() for marker in markers):
                return parent
    return folder


class Lookup:
    """Finds bases for the files of one repository.

    Args:
        root: The repository. No file outside it is read.
        template_dirs: Folders that ``templates/...`` falls back to.
        is_file: Tells whether a file exists.
    """

    def __init__(
        self, root: Path, template_dirs: Sequence[Path], is_file: Callable[[Path], bool] = Path.is_file
    ) -> None:
        self.root = root.resolve()
        self._template_dirs = [folder.resolve() for folder in template_dirs]
        self._is_file = is_file

    def find(self, name: str, folder: Path) -> Path | None:
        """Find the base that a file in ``folder`` calls ``name``; None when there is none.

        Raises:
            ConfigError: The name is absolute or leads outside the repository, by ``..`` or a link.
        """
        if not name or "\0" in name or PurePosixPath(name).is_absolute() or Path(name).is_absolute():
            raise ConfigError(f"the base {name!r} is not a relative path")
        home = next((top for top in (self.root, *self._template_dirs) if folder.is_relative_to(top)), folder)
        for parent in (folder, *folder.parents):
            path = Path(os.path.normpath(parent / name))
            if not path.is_relative_to(home):
                if parent == folder:
                    raise ConfigError(f"the base {name!r} is outside the repository {home}")
                break
            if self._is_file(path):
                return self._inside(path, home, name)
            if parent == home:
                break
        return self._template(name)

    def _template(self, name: str) -> Path | None:
        parts = PurePosixPath(name).parts
        if parts[0] != TEMPLATES or ".." in parts:
            return None
        for folder in self._template_dirs:
            path = folder.joinpath(*parts[1:])
            if self._is_file(path):
                return self._inside(path, folder, name)
        return None

    def _inside(self, path: Path, home: Path, name: str) -> Path:
        """Return ``path`` in a form that is the same however it was reached, when it is inside ``home``."""
        real = path.resolve()
        if not real.is_relative_to(home):
            raise ConfigError(f"the base {name!r} is a link to {real}, outside the repository {home}")
        return path.parent.resolve() / path.name
