"""What a run has to tell: findings with codes, in one type that every renderer reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something a person must look at.

    Attributes:
        path: File, as the user named it or relative to the working directory.
        line: Line, from 1.
        column: Column in characters, from 1.
        code: Stable code such as ``BM101``; `CODES` has the titles.
        message: What was found, in one sentence.
        hint: What to do about it.
        source: The line of the file, without its newline.
    """

    path: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""
    source: str = ""


CODES: dict[str, str] = {
    "BM100": "reference to an old name that is still to be rewritten",
    "BM101": "star import that hides which names come from a moved module",
    "BM102": "dynamic import: the module name is computed",
    "BM103": "a module object escapes, so attributes reached through it are not seen",
    "BM104": "the target name does not exist in the new module",
    "BM105": "reference only in text: comment, prose or a string whose use is unknown",
    "BM106": "the name was removed",
    "BM107": "arguments changed: only an adapter keeps the old call working",
    "BM108": "file or snippet that cannot be parsed, left alone",
    "BM109": "a relative import means different modules under different source roots",
    "BM110": "the name is bound in another way too, so its uses cannot be rewritten safely",
    "BM111": "relative import reaches above the top-level package under every source root",
    "BM112": "path of a moved module in text",
    "BM113": "the rewritten file failed the safety check and was left alone",
    "BM201": "base_config named a file that is not there",
    "BM202": "a comment that is no longer in any file",
}
