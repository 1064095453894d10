"""Lines that IPython understands and Python doesn't: magics, ``!commands``, ``name?``."""

from __future__ import annotations

import re

from migrate.imports.text.plan import NAME, Plan
from migrate.imports.text.view import Builder, View

_LINE = re.compile(r"(?P<line>[^\r\n]*)(?P<end>\r\n|\r|\n|$)")
_HEAD = re.compile(
    r"(?P<indent>[ \t]*)(?:(?P<target>[\w., \t]+?)[ \t]*=[ \t]*)?(?P<sign>!!?|%(?!%)|\?{1,2}|/|,|;)(?=[\w$?{./~\"'])"
)
_HELP = re.compile(r"[ \t]*%{0,2}[\w.*]+(?P<mark>\?{1,2})[ \t]*")
_RUN_CODE = frozenset("time timeit prun memit mprun lprun".split())
_NAMES = frozenset("load_ext reload_ext aimport".split())


def masked(view: View, plan: Plan) -> View:
    """Return the view with such lines replaced by a statement without effect; their own references are rewritten."""
    builder = Builder()
    at, continues = 0, False
    for found in _LINE.finditer(view.text):
        if found.end() == found.start():
            break
        line = found["line"]
        head = None if continues else _HEAD.match(line)
        helped = None if continues or head else _HELP.fullmatch(line)
        if continues:
            _copy(builder, view, found.start("end"), found.end())
        elif head is not None and not _is_python(head):
            _magic(builder, view, plan, found, head)
        elif helped is not None:
            _copy(builder, view, found.start(), found.start() + helped.start("mark"))
            _copy(builder, view, found.start("end"), found.end())
        else:
            _copy(builder, view, found.start(), found.end())
        continues = (continues or (head is not None and not _is_python(head))) and line.endswith("\\")
        at = found.end()
    _copy(builder, view, at, len(view.text))
    return builder.view(view.encode)


def _is_python(head: re.Match[str]) -> bool:
    """``/``, ``,`` and ``;`` at the start of a line call a function; behind ``=`` they are no magic."""
    return head["target"] is not None and head["sign"] not in ("!", "!!", "%")


def _copy(builder: Builder, view: View, start: int, end: int) -> None:
    builder.parts.append(view.text[start:end])
    builder.starts.extend(view.starts[start:end])
    builder.ends.extend(view.ends[start:end])


def piece(view: View, start: int, end: int) -> View:
    """Return a part of a view."""
    return View(view.text[start:end], view.starts[start:end], view.ends[start:end], view.encode)


def _magic(builder: Builder, view: View, plan: Plan, found: re.Match[str], head: re.Match[str]) -> None:
    """Mask one line and rewrite what it names."""
    start = found.start() + head.start("sign")
    stop = found.end("line")
    sign, rest = head["sign"], found["line"][head.end() :]
    magic = rest.partition(" ")[0]
    _copy(builder, view, found.start(), start)
    if sign == "%" and magic in _RUN_CODE and not rest[len(magic) :].lstrip().startswith("-"):
        code_start = stop - len(rest[len(magic) :].lstrip())
        _copy(builder, view, code_start, stop)
        if code_start == stop:
            builder.synthetic("0")
    else:
        builder.synthetic("0")
        _references(plan, view, start, stop, sign, magic)
    _copy(builder, view, stop, found.end())


def _references(plan: Plan, view: View, start: int, stop: int, sign: str, magic: str) -> None:
    from migrate.imports.text import shell

    line = piece(view, start, stop)
    if sign in ("!", "!!") or magic in ("sx", "system", "run", "env", "set_env"):
        plan.nested(_as_command(line, magic), shell.rewrite)
    elif magic in _NAMES:
        for word in re.compile(r"-?[^\s,]+").finditer(line.text, len(magic) + 1):
            name = NAME.fullmatch(word.group().lstrip("-"))
            if name is not None:
                plan.name(line, word.end() - len(name.group()), word.end(), "magic")


def _as_command(line: View, magic: str) -> View:
    """Drop the sign, and spell ``%run`` as ``python``."""
    builder = Builder()
    skip = re.match(r"[!%]+", line.text)
    start = skip.end() if skip else 0
    if magic == "run" and line.text.startswith("%"):
        builder.synthetic("python")
        start += len(magic)
    _copy(builder, line, start, len(line.text))
    return builder.view(line.encode)
