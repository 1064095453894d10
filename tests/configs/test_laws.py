from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from bem_core.config.merge import typed_equal
from bem_core.config.resolver import Resolver
from migrate.configs.flatten import flattened
from migrate.configs.run import refit, run
from tests.configs.plans import options, pairs, tree_of, write

# Spellings rather than values: what they mean differs between the versions of YAML.
SPELLINGS = (
    """1 1.0 true yes off 010 0o10 5e-5 '5e-5' -0.0 .nan .inf ~ null '' text 'a:b' "#" 2024-01-01 1:30 ${a} ???"""
)
SCALARS = st.sampled_from(SPELLINGS.split()) | st.sampled_from(["'a: b'", "two words", '"\\t# x"', "a#b"])
KEYS = st.sampled_from(["a", "b", "c", "key with blanks", "'quoted'", "_x", "Ä"])
COMMENTS = st.sampled_from(["", "", "", "  # same", "  # other", " #"])


@st.composite
def blocks(draw: st.DrawFn, column: int = 0) -> str:
    """Draw the text of a mapping, with comments, blank lines and all forms of values."""
    lines = []
    pad = " " * column
    for key in draw(st.lists(KEYS, min_size=1, max_size=4, unique=True)):
        if draw(st.integers(0, 4)) == 0:
            lines.append(draw(st.sampled_from([f"{pad}# above", "", f"{pad}  # deeper", "# outer"])))
        kind = draw(st.integers(0, 9))
        comment = draw(COMMENTS)
        if kind < 5 or column > 6:
            lines.append(f"{pad}{key}: {draw(SCALARS)}{comment}")
        elif kind < 7:
            lines += [f"{pad}{key}:{comment}", draw(blocks(column + draw(st.sampled_from([1, 2, 4]))))]
        elif kind == 7:
            items = draw(st.lists(SCALARS, max_size=3))
            pairs_text = ", ".join(f"{'xyz'[n]}: {item}" for n, item in enumerate(items))
            inner = draw(st.sampled_from([f"[{', '.join(items)}]", f"{{{pairs_text}}}"]))
            lines.append(f"{pad}{key}: {inner}{comment}")
        elif kind == 8:
            dash = pad + " " * draw(st.sampled_from([0, 2]))
            lines += [f"{pad}{key}:", *(f"{dash}- {draw(SCALARS)}{comment}" for _ in range(draw(st.integers(1, 3))))]
        else:
            mark = draw(st.sampled_from(["|", "|-", "|+", ">", ">-"]))
            lines += [f"{pad}{key}: {mark}", f"{pad}  text", "", f"{pad}  # no comment"]
    return "\n".join(lines)


@st.composite
def trees(draw: st.DrawFn) -> dict[str, str | bytes]:
    """Draw files of which some share much: the same text with another end."""
    files: dict[str, str | bytes] = {}
    for number in range(draw(st.integers(1, 2))):
        text = draw(blocks())
        for other in range(draw(st.integers(1, 3))):
            end = "\r\n" if draw(st.integers(0, 5)) == 0 else "\n"
            more = draw(blocks(2)) if draw(st.booleans()) else ""
            whole = f"{text}\nown:\n  n: {other}\n{more}\n"
            files[f"{number}{other}.yaml"] = whole.replace("\n", end).encode()
    return files


def read12(raw: bytes) -> Any:
    return YAML(typ="safe", pure=True).load(io.StringIO(raw.decode()))


BELOW = "a:\n a: |\n   text\n  # deeper\nb: 1\nown:\n  n: {}\n"


@settings(max_examples=150)
@given(trees())
@example({"00.yaml": BELOW.format(0).encode(), "01.yaml": BELOW.format(1).encode()})
def test_files_mean_the_same_and_a_second_run_changes_nothing(files: dict[str, str | bytes]) -> None:
    with TemporaryDirectory() as temporary:
        folder = write(Path(temporary), files)
        report = run(options(folder), pairs)
        alone = {Path(file.path).name for file in report.alone}
        after = tree_of(folder)
        for name, raw in files.items():
            assert isinstance(raw, bytes)
            if name in alone:
                assert after[name] == raw
                continue
            old = yaml.safe_load(raw)
            assert typed_equal(Resolver(folder.parent).resolve(folder / name).data, old)
            assert typed_equal(yaml.safe_load(flattened(str(folder / name), folder.parent)), old)
        assert run(options(folder), pairs).changed == {}
        assert refit(options(folder), pairs).changed == {}
        assert tree_of(folder) == after


@settings(max_examples=100)
@given(trees())
def test_every_comment_is_somewhere_or_in_the_report(files: dict[str, str | bytes]) -> None:
    with TemporaryDirectory() as temporary:
        folder = write(Path(temporary), files)
        report = run(options(folder), pairs)
        after = b"\n".join(tree_of(folder).values()).decode()
        told = " ".join(finding.message for finding in report.findings)
        for raw in files.values():
            assert isinstance(raw, bytes)
            for comment in ("# above", "# deeper", "# outer", "# same", "# other"):
                if comment in raw.decode():
                    assert comment in after or comment in told
