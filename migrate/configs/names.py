"""Names of templates: what their members have in common and other files have not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from migrate.configs.leaves import flatten
from migrate.configs.search import IDENTITY_KEYS

_WORD = re.compile(r"[A-Za-z]+\d*|\d+[A-Za-z]\w*")
_VALUE = re.compile(r"'[A-Za-z][\w./-]{1,60}'")
_KINDS = frozenset({"_component_", "campaign", "component", "experiment_type", "type", "variant_type", "model_type"})
_ENOUGH = 0.7
_WHOLE = 0.9
_LONGEST = 40
_SHORT = 3
# How much better a label must fit than one of a kind that says more to a reader.
_HANDICAP = {"file": 0.0, "folder": 0.0, "value": 0.05, "key": 0.35}

Label = tuple[str, str]


class Namer:
    """Names templates, each in another way.

    Args:
        documents: All files, coded, by path.
        taken: Names that may not be used.
    """

    def __init__(self, documents: Mapping[str, Mapping[str, Any]], taken: Collection[str] = ()) -> None:
        self.labels = {path: _labels(path, document) for path, document in documents.items()}
        self.counts = Counter(label for labels in self.labels.values() for label in labels)
        self.taken = {name.lower() for name in taken}

    def name(self, members: Collection[str], values: Mapping[str, Any]) -> str:
        """Return a name for the template that ``members`` extend, directly or not.

        Args:
            members: Paths of files.
            values: What the template sets itself, coded.
        """
        whole = len(members) >= _WHOLE * len(self.labels)
        own = [_slug(key) for key in values if _tells(key)]
        about = own[0] if len(own) == 1 else ""
        labels = ["base"] if whole and not about else self.ranked(members)
        labels = [label for label in ([about] if about else []) + labels if label]
        return self.unique(list(dict.fromkeys([*labels, *own])) or ["shared"])

    def ranked(self, members: Collection[str]) -> list[str]:
        """Return labels that most members have, those that the fewest others have first."""
        inside = Counter(label for path in members for label in self.labels[path])
        others = max(1, len(self.labels) - len(members))
        scored = []
        for label, number in inside.items():
            share = number / len(members)
            if share >= _ENOUGH:
                score = share - (self.counts[label] - number) / others - _HANDICAP[label[0]]
                scored.append((-round(score, 2), len(label[1]) < _SHORT, label[1]))
        return [slug for _, _, slug in sorted(scored)]

    def unique(self, labels: Sequence[str]) -> str:
        """Return the first label, with the next ones as far as that is needed to tell it from others."""
        name = labels[0]
        candidates = [name, *(f"{name}_{other}" for other in labels[1:4] if other not in name and name not in other)]
        for candidate in candidates:
            if self._take(candidate[:_LONGEST].rstrip("_")):
                return candidate[:_LONGEST].rstrip("_")
        number = 2
        while not self._take(f"{name[:_LONGEST]}_{number}"):
            number += 1
        return f"{name[:_LONGEST]}_{number}"

    def _take(self, name: str) -> bool:
        if name.lower() in self.taken:
            return False
        self.taken.add(name.lower())
        return True


def _labels(path: str, document: Mapping[str, Any]) -> set[Label]:
    *folders, file = path.split("/")
    stem = file.rpartition(".")[0]
    found = {("file", _slug(word)) for word in _WORD.findall(stem) if len(word) > 1}
    found |= {("folder", _slug(folder)) for folder in folders if folder.strip(".")}
    found |= {("key", _slug(key)) for key in document if _tells(key)}
    found |= {("value", slug) for slug in _values(document)}
    prefix = re.match(r"[A-Za-z]+", stem)
    if prefix and len(prefix[0]) > 2:
        found.add(("file", _slug(prefix[0])))
    return {label for label in found if label[1]}


def _values(document: Mapping[str, Any]) -> Iterable[str]:
    for path, value in flatten(document).items():
        if len(path) < 3 and path[-1] in _KINDS and isinstance(value, str) and _VALUE.fullmatch(value):
            text = value.strip("'")
            yield _slug(re.split(r"[./]", text)[-1] if path[-1] == "_component_" else text)


def _tells(key: str) -> bool:
    """Tell whether a key says something about what a file is for."""
    return not key.startswith("_") and key not in IDENTITY_KEYS


def _slug(text: str) -> str:
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()
