"""Reads cases of YAML files and checks what their types do not tell; loads without torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from bem_core.config import yaml_reader
from bem_core.config.merge import dotted
from bem_core.config.schema import Problem, Report, build
from bem_core.errors import BemError, nearest
from migrate.verify.cases import PLACEHOLDER, PLACEHOLDERS, Case, Checkpoints, Preparation, Side
from migrate.verify.phases import CHANNELS


class CaseError(BemError):
    """A case cannot be read or makes no sense."""


def load_case(path: Path | str) -> Case:
    """Read a case.

    Raises:
        CaseError: Keys or values are wrong; it has all of them with their places.
        ConfigError: The file cannot be read or is not plain YAML.
    """
    return _load(Path(path))


def _load(path: Path, later: Path | None = None) -> Case:
    """Read a case, and the one that it goes on from.

    Args:
        path: Its file.
        later: The file of the case that goes on from it.
    """
    document = yaml_reader.read(path)
    report = Report()
    case = build(Case, {"name": path.stem, **document.data}, (), report, without=("folder", "earlier"))
    if not report.problems:
        case = dataclasses.replace(case, folder=path.parent)
        report.problems += _problems(case)
        if case.goes_on_from is not None:
            report.problems += _order_problems(case, later)
    if not report.problems and case.goes_on_from is not None:
        earlier = _load(case.folder / case.goes_on_from, path)
        case = dataclasses.replace(case, earlier=earlier)
        report.problems += _shared_problems(case, bool(earlier.prepare))
    if report.problems:
        lines = [f"{document.locate(p.path, p.key)}: {dotted(p.path) or path}: {p.message}" for p in report.problems]
        raise CaseError("\n".join([*([f"{len(lines)} problems in {path}"] if len(lines) > 1 else []), *lines]))
    return case


def _problems(case: Case) -> Iterator[Problem]:
    yield from _side_problems(case, case.reference, ("reference",))
    yield from _side_problems(case, case.candidate, ("candidate",))
    if case.goes_on_from is None:
        yield from _shared_problems(case, bool(case.prepare))
    for number, part in enumerate(case.prepare):
        yield from _side_problems(case, part, ("prepare", number))
    if not re.fullmatch(r"[\w.-]+", case.name):
        yield Problem(("name",), f"{case.name!r} names a folder of results: expected letters, digits, '.', '_' and '-'")
    if not case.seeds:
        yield Problem(("seeds",), "expected at least one seed")
    if len(set(case.seeds)) != len(case.seeds):
        yield Problem(("seeds",), "a seed is there twice")
    yield from _reason_problems(case)
    yield from _waiver_problems(case)
    if case.config is not None and not (case.folder / case.config).exists():
        yield Problem(("config",), f"there is no file {case.folder / case.config}")
    for where, names in ((("names",), case.names), (("metrics", "names"), case.metrics.names)):
        for pattern, replacement in names.items():
            yield from _pattern_problems((*where, pattern), pattern, replacement)
    yield from _lone_problems(case)
    yield from _checkpoint_problems(case.checkpoints)
    if case.equivalence and len(case.seeds) < 3:
        yield Problem(("seeds",), f"{len(case.seeds)} given; a statistical comparison needs at least 3")


def _order_problems(case: Case, later: Path | None) -> Iterator[Problem]:
    where = ("goes_on_from",)
    assert case.goes_on_from is not None
    if later is not None:
        yield Problem(where, f"{later.name} goes on from this case, which must not go on from another one")
    if case.prepare:
        yield Problem(("prepare",), f"{case.goes_on_from} prepares for this case, too; expected none of its own")
    if not (case.folder / case.goes_on_from).is_file():
        yield Problem(where, f"there is no file {case.folder / case.goes_on_from}")


def _shared_problems(case: Case, prepared: bool) -> Iterator[Problem]:
    """Return where ``{shared}`` is used though nothing is prepared."""
    for name, side in (("reference", case.reference), ("candidate", case.candidate)):
        texts: list[tuple[tuple[str | int, ...], str]] = [
            *(((name, key, at), word) for key in ("command", "resume") for at, word in enumerate(getattr(side, key))),
            *(((name, "environment", key), text) for key, text in side.environment.items()),
        ]
        for where, text in texts:
            if "shared" in PLACEHOLDER.findall(text) and not prepared:
                missing = "the case" if case.earlier is None else str(case.goes_on_from)
                yield Problem(where, f"{{shared}} is used, and {missing} has no key 'prepare'")


def _lone_problems(case: Case) -> Iterator[Problem]:
    for key in ("only_reference", "only_candidate"):
        yield from _reasoned_problems((key,), getattr(case, key))
        yield from _reasoned_problems(("metrics", key), getattr(case.metrics, key))
        if getattr(case, key) and case.level == "light":
            yield Problem(("level",), f"'light' tells no buffer from another, which {key} needs; expected 'full'")


def _reasoned_problems(where: tuple[str, ...], patterns: Mapping[str, str]) -> Iterator[Problem]:
    for pattern, reason in patterns.items():
        yield from _pattern_problems((*where, pattern), pattern)
        if not reason.strip():
            yield Problem((*where, pattern), "empty; say why only one side has it")


def _checkpoint_problems(rules: Checkpoints) -> Iterator[Problem]:
    for pattern, replacement in rules.names.items():
        yield from _pattern_problems(("checkpoints", "names", pattern), pattern, replacement)
    yield from _pattern_problems(("checkpoints", "only"), rules.only)
    if rules != Checkpoints(names=rules.names) and not rules.reason.strip():
        yield Problem(("checkpoints", "reason"), "empty; say why not everything is compared")
    if rules.ignore and rules != Checkpoints(ignore=True, reason=rules.reason):
        yield Problem(("checkpoints", "ignore"), "checkpoints are ignored or compared by names, not both")


def _side_problems(case: Case, part: Side | Preparation, where: tuple[str | int, ...]) -> Iterator[Problem]:
    if not part.command:
        yield Problem((*where, "command"), "expected at least one word")
    for number, word in enumerate(part.command):
        yield from _placeholder_problems(case, (*where, "command", number), word)
    for variable, text in part.environment.items():
        yield from _placeholder_problems(case, (*where, "environment", variable), text)
    if isinstance(part, Side):
        yield from _resume_problems(case, part, where)
    code = part.code if isinstance(part, Side) else []
    for key, folder in (("folder", part.folder), *(("code", one) for one in code)):
        if not (case.folder / folder).is_dir():
            yield Problem((*where, key), f"there is no folder {case.folder / folder}")


def _resume_problems(case: Case, side: Side, where: tuple[str | int, ...]) -> Iterator[Problem]:
    for number, word in enumerate(side.resume):
        yield from _placeholder_problems(case, (*where, "resume", number), word)
    if side.resume and not any("{checkpoint}" in word for word in side.resume):
        yield Problem((*where, "resume"), "no word has {checkpoint}, the path of what it goes on from")
    if side.resume and side.checkpoints is None:
        yield Problem((*where, "checkpoints"), "missing: 'resume' needs a pattern for the checkpoints below {out}")
    if side.checkpoints is not None:
        problems = [*_pattern_problems((*where, "checkpoints"), side.checkpoints)]
        yield from problems
        if not problems and re.compile(side.checkpoints).groups > 1:
            yield Problem(
                (*where, "checkpoints"), "expected one group, the number of steps; (?:...) groups without a number"
            )


def _placeholder_problems(case: Case, where: tuple[str | int, ...], text: str) -> Iterator[Problem]:
    for found in PLACEHOLDER.findall(text):
        if found not in PLACEHOLDERS:
            hint = nearest(found, PLACEHOLDERS) or f"; there are {', '.join(PLACEHOLDERS)}"
            yield Problem(where, f"unknown placeholder {{{found}}}{hint}")
        if found == "config" and case.config is None:
            yield Problem(where, "{config} is used, and the case has no key 'config'")
        if found == "earlier" and case.goes_on_from is None:
            yield Problem(where, "{earlier} is used, and the case has no key 'goes_on_from'")
        if found == "checkpoint" and "resume" not in where:
            yield Problem(where, "{checkpoint} is for the words of 'resume'")
        if found == "out" and where[0] == "prepare":
            yield Problem(where, "{out} is of a side; the preparation writes to {shared}")


def _reason_problems(case: Case) -> Iterator[Problem]:
    for name in ("tolerance", "equivalence"):
        part = getattr(case, name)
        if part is not None and not part.reason.strip():
            yield Problem((name, "reason"), "empty; say why bit for bit cannot be asked")
    if case.tolerance and case.equivalence:
        yield Problem(("equivalence",), "a case has a tolerance or a statistical comparison, not both")
    if case.equivalence and not case.equivalence.margins:
        yield Problem(("equivalence", "margins"), "expected at least one metric")


def _waiver_problems(case: Case) -> Iterator[Problem]:
    seen: set[str] = set()
    for number, waiver in enumerate(case.waivers):
        where = ("waivers", number)
        if not waiver.reason.strip():
            yield Problem((*where, "reason"), "empty; say why the difference is right")
        if waiver.channel not in CHANNELS:
            hint = nearest(waiver.channel, CHANNELS) or f"; there are {', '.join(CHANNELS)}"
            yield Problem((*where, "channel"), f"unknown channel {waiver.channel!r}{hint}")
        if waiver.id in seen:
            yield Problem((*where, "id"), f"{waiver.id!r} is there twice")
        seen.add(waiver.id)
        yield from _pattern_problems((*where, "keys"), waiver.keys)


def _pattern_problems(where: tuple[str | int, ...], pattern: str, replacement: str = "") -> Iterator[Problem]:
    try:
        re.sub(pattern, replacement, "")  # it reads the replacement even where nothing matches
    except (re.error, IndexError) as error:
        yield Problem(where, f"not a pattern of regular expressions: {error}")
