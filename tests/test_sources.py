from __future__ import annotations

import ast
import codecs
import os
import subprocess
import tokenize
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from migrate.sources import DecodeError, Listing, SourceError, decode, encode, find, project_root

BOM = codecs.BOM_UTF8
KINDS = {".py": "py", ".md": "md", ".yml": "ci"}


def kind_of(rel: str) -> str | None:
    return KINDS.get(os.path.splitext(rel)[1])


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(root: Path, *names: str, **texts: str) -> None:
    for name in (*names, *texts):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts.get(name, ""))


def search(
    *paths: str, include: Iterable[str] = (), exclude: Iterable[str] = (), kinds: Iterable[str] = ("py",)
) -> Listing:
    return find(paths, set(kinds), list(include), list(exclude), project_root(paths), kind_of)


def listed(*paths: str, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> list[str]:
    return [file.path for file in search(*paths, include=include, exclude=exclude).files]


# Decoding

DECODABLE = {
    "plain": (b"x = 1\n", "x = 1\n", "utf-8", b""),
    "empty": (b"", "", "utf-8", b""),
    "utf8 letters": ("é\n".encode(), "é\n", "utf-8", b""),
    "bom": (BOM + b"x\r\n", "x\r\n", "utf-8", BOM),
    "bom only": (BOM, "", "utf-8", BOM),
    "bom twice": (BOM + BOM + b"x", "\ufeffx", "utf-8", BOM),
    "bom and cookie": (BOM + b"# coding: utf-8\n", "# coding: utf-8\n", "utf-8", BOM),
    "latin-1": (b"# coding: latin-1\n\xe9", "# coding: latin-1\né", "iso8859-1", b""),
    "emacs": (b"# -*- coding: latin-1-unix -*-\n\xe9", "# -*- coding: latin-1-unix -*-\né", "iso8859-1", b""),
    "emacs utf-8": (b"# -*- coding: utf-8-dos -*-\r\n", "# -*- coding: utf-8-dos -*-\r\n", "utf-8", b""),
    "vim": (b"# vim: set fileencoding=cp1252 :\n\x80", "# vim: set fileencoding=cp1252 :\n€", "cp1252", b""),
    "second line": (b"#!/bin/python\n# coding=koi8-r\n\xc0", "#!/bin/python\n# coding=koi8-r\nю", "koi8-r", b""),
    "form feed first": (b"\f\n# coding: latin-1\n\xe9", "\f\n# coding: latin-1\né", "iso8859-1", b""),
    "form feed before it": (b"\f# coding: latin-1\n\xe9", "\f# coding: latin-1\né", "iso8859-1", b""),
    "letters before it": (b"# \xe9 coding: latin-1\n", "# é coding: latin-1\n", "iso8859-1", b""),
    "lone CR": (b"#!x\r# coding: latin-1\r\xe9\r", "#!x\r# coding: latin-1\ré\r", "iso8859-1", b""),
    "third line is none": (b"\n\n# coding: latin-1\n", "\n\n# coding: latin-1\n", "utf-8", b""),
    "after code is none": (b"x = 1\n# coding: latin-1\n", "x = 1\n# coding: latin-1\n", "utf-8", b""),
    "in a string is none": (b"'# coding: latin-1'\n", "'# coding: latin-1'\n", "utf-8", b""),
    "signature codec": (b"# coding: utf-8-sig\n", "# coding: utf-8-sig\n", "utf-8", b""),
    "mixed line ends": (b"a\r\nb\nc\rd", "a\r\nb\nc\rd", "utf-8", b""),
    "shift-jis": (b"# coding: shift_jis\n\x83\x5c", "# coding: shift_jis\nソ", "shift_jis", b""),
}


@pytest.mark.parametrize(("data", "text", "encoding", "bom"), DECODABLE.values(), ids=DECODABLE.keys())
def test_decode_reads_the_declared_encoding_and_encode_gives_the_bytes_back(
    data: bytes, text: str, encoding: str, bom: bytes
) -> None:
    decoded = decode(data, python=True)
    assert decoded == (text, encoding, bom)
    assert encode(decoded.text, decoded) == data


UNDECODABLE = {
    "latin-1 undeclared": (b"# ok\ns = '\xe9'\n", "byte 0xe9 on line 2 is not UTF-8"),
    "cut off": ("x = 'é'".encode()[:6], "byte 0xc3 on line 1 is not UTF-8"),
    "bom and bad byte": (BOM + b"\n\xff", "byte 0xff on line 2 is not UTF-8"),
    "utf-16 le": ("x = 1\n".encode("utf-16"), "UTF-16"),
    "utf-16 be": (codecs.BOM_UTF16_BE + "é".encode("utf-16-be"), "UTF-16"),
    "utf-16 of letters beyond": (codecs.BOM_UTF16_LE + "語".encode("utf-16-le"), "UTF-16"),
    "unknown": (b"# coding: klingon\n", "declares the encoding 'klingon', which is unknown"),
    "not text": (b"# coding: rot13\n", "not one for source text"),
    "not ascii": (b"# coding: utf-16\n", "not one for source text"),
    "ebcdic": (b"# coding: cp037\n", "not one for source text"),
    "undefined": (b"# coding: undefined\n", "unknown or not one for source text"),
    "dots": (b"# coding: ..\n", "unknown or not one for source text"),
    "module of the package": (b"# coding: __init__\n", "unknown or not one for source text"),
    "bom, other cookie": (BOM + b"# coding: latin-1\n", "byte order mark but declares the encoding 'latin-1'"),
    "forgetful codec": (b"# coding: unicode_escape\n\\x41", "not the same bytes"),
    "bad in codec": (b"# coding: ascii\n\xe9", "byte 0xe9 on line 2 is not ascii"),
    "nul": (b"x = 1\n\0", "NUL byte on line 2"),
}


@pytest.mark.parametrize(("data", "message"), UNDECODABLE.values(), ids=UNDECODABLE.keys())
def test_decode_refuses_with_one_line(data: bytes, message: str) -> None:
    with pytest.raises(DecodeError, match="(?s)" + message) as caught:
        decode(data, python=True)
    assert "\n" not in str(caught.value)


def test_decode_takes_no_declaration_from_other_files() -> None:
    text = "# coding: latin-1\né\n"
    assert decode(text.encode(), python=False).text == text
    with pytest.raises(DecodeError, match="not UTF-8"):
        decode(text.encode("latin-1"), python=False)


def test_encode_says_which_character_the_encoding_lacks() -> None:
    decoded = decode(b"# coding: latin-1\n", python=True)
    with pytest.raises(DecodeError, match="'語' on line 2 cannot be written in 'iso8859-1'"):
        encode("# coding: latin-1\n語", decoded)


cookies = st.sampled_from(
    ["utf-8", "UTF8", "latin-1", "cp1252", "utf-7", "iso2022_jp", "big5", "hz", "utf-8-sig", "x", ""]
)
heads = st.builds(
    lambda start, before, name: start + before + (b"# coding: " + name.encode() + b"\n" if name else b""),
    st.sampled_from([b"", BOM]),
    st.sampled_from([b"", b"\n", b"\f\n", b"#!/usr/bin/env python\r\n", b"#\r", b"pass\n", b"\n\n"]),
    cookies,
)
texts = st.one_of(st.binary(max_size=40), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))


@given(head=heads, body=texts, python=st.booleans())
@example(head=b"# coding: utf-7\n", body=b"+AOk-", python=True)
def test_encode_is_the_inverse_of_decode(head: bytes, body: bytes, python: bool) -> None:
    data = head + body
    try:
        decoded = decode(data, python)
    except DecodeError:
        return
    assert encode(decoded.text, decoded) == data


@given(head=heads, body=texts)
def test_decode_agrees_with_tokenize(head: bytes, body: bytes) -> None:
    data = head + body
    assume(b"\r" not in data.replace(b"\r\n", b""))  # tokenize does not end a line there; the compiler does
    try:
        decoded = decode(data, python=True)
        theirs = tokenize.detect_encoding(BytesIO(data).readline)[0]
    except (DecodeError, SyntaxError):
        return
    assert codecs.lookup(theirs.removesuffix("-sig")).name == codecs.lookup(decoded.encoding).name


@given(head=heads, body=st.text("aé\n\r#'", max_size=12).map(lambda text: text.encode("latin-1")))
def test_what_the_compiler_reads_decode_reads_the_same(head: bytes, body: bytes) -> None:
    data = head + b"'" + body.replace(b"'", b"").replace(b"\n", b"").replace(b"\r", b"") + b"'\n"
    try:
        theirs = ast.parse(data)
    except (SyntaxError, ValueError):
        return
    try:
        decoded = decode(data, python=True)
    except DecodeError as error:
        if "not the same bytes" in str(error):  # UTF-7 spells a letter in several ways
            return
        raise
    assert ast.dump(ast.parse(decoded.text)) == ast.dump(theirs)


# Finding

TREES: dict[str, tuple[list[str], list[str]]] = {
    "sorted": (["b.py", "a/z.py", "a.py"], ["a.py", "a/z.py", "b.py"]),
    "kinds": (["a.py", "b.md", "c.txt", "d"], ["a.py"]),
    "caches": (["__pycache__/a.py", "node_modules/x/a.py", "lib/site-packages/a.py", "a.py"], ["a.py"]),
    "environments by name": (["venv/a.py", ".venv/a.py", "a.py"], ["a.py"]),
    "environment by its file": (["tools/env/pyvenv.cfg", "tools/env/a.py", "tools/a.py"], ["tools/a.py"]),
    "hidden folders": ([".git/a.py", ".tox/a.py", ".x/y/a.py", "a.py"], ["a.py"]),
    "CI folders": ([".github/scripts/a.py", ".circleci/a.py"], [".circleci/a.py", ".github/scripts/a.py"]),
    "hidden files": ([".a.py"], [".a.py"]),
    "odd names": (["a b.py", "ä.py", "a\nb.py", "-x.py"], ["-x.py", "a\nb.py", "a b.py", "ä.py"]),
}


@pytest.mark.parametrize(("names", "expected"), TREES.values(), ids=TREES.keys())
def test_find_takes_what_a_project_consists_of(tree: Path, names: list[str], expected: list[str]) -> None:
    make(tree, *names)
    assert listed(".") == expected


IGNORED: dict[str, tuple[dict[str, str], list[str], list[str]]] = {
    "root": ({".gitignore": "gen/\n*_pb2.py\n"}, ["gen/a.py", "x_pb2.py", "p/y_pb2.py", "p/a.py"], ["p/a.py"]),
    "nested": ({"p/.gitignore": "b.py\n"}, ["b.py", "p/b.py", "p/q/b.py", "p/c.py"], ["b.py", "p/c.py"]),
    "inner wins": ({".gitignore": "*.py\n", "p/.gitignore": "!a.py\n"}, ["a.py", "p/a.py", "p/b.py"], ["p/a.py"]),
    "anchored": ({"p/.gitignore": "/a.py\n"}, ["a.py", "p/a.py", "p/q/a.py"], ["a.py", "p/q/a.py"]),
    "folder cannot be un-ignored": ({".gitignore": "g/\n!g/a.py\n"}, ["g/a.py", "b.py"], ["b.py"]),
    "info/exclude": ({".git/info/exclude": "a.py\n"}, ["a.py", "b.py"], ["b.py"]),
    "CRLF and BOM": ({".gitignore": "\ufeffa.py\r\n# c\r\nb.py\r\n"}, ["a.py", "b.py", "c.py"], ["c.py"]),
    "malformed lines": ({".gitignore": "!\na\\\nb.py\n"}, ["a.py", "b.py"], ["a.py"]),
}


@pytest.mark.parametrize(("rules", "names", "expected"), IGNORED.values(), ids=IGNORED.keys())
def test_find_honours_gitignore(tree: Path, rules: dict[str, str], names: list[str], expected: list[str]) -> None:
    make(tree, *names)
    for name, text in rules.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(text.encode())
    assert listed(".") == expected


def test_find_honours_gitignore_between_the_repository_and_the_path(tree: Path) -> None:
    make(tree, ".git/HEAD", "sub/pyproject.toml", "sub/p/q/a.py", "sub/p/q/b.py", "sub/p/q/c.py", "sub/p/q/d.py")
    (tree / ".gitignore").write_text("a.py\n")
    (tree / "sub/.gitignore").write_text("b.py\n")
    (tree / "sub/p/.gitignore").write_text("/q/c.py\n")
    assert listed("sub/p/q") == ["sub/p/q/d.py"]


def test_find_takes_a_given_path_though_it_would_be_left_out_in_a_walk(tree: Path) -> None:
    make(tree, ".git/HEAD", "build/a.py", "build/b.py", "venv/pyvenv.cfg", "venv/c.py", "x.py", ".hidden/d.py")
    (tree / ".gitignore").write_text("build/\nx.py\n")
    assert listed(".") == []
    assert listed("build", "venv", ".hidden", "x.py") == [
        ".hidden/d.py",
        "build/a.py",
        "build/b.py",
        "venv/c.py",
        "x.py",
    ]
    assert listed("build/a.py") == ["build/a.py"]


GLOB_PARTS = [
    "a",
    "b",
    "a.py",
    "*",
    "**",
    "***",
    "a*",
    "**b",
    "*.py",
    "?",
    "[ab]",
    "[!a]",
    "[^b]*",
    "[]a]",
    "[a-b].p[[:alpha:]]",
]
GLOB_PARTS += ["\\a", "a\\", "[", "[a", "a\\ ", "#", "!a", "[b-a]", "[[:no:]]", "", "?.??", "[a\\]"]
patterns = st.lists(
    st.builds(
        lambda no, start, parts, end: no + start + "/".join(parts) + end,
        st.sampled_from(["", "", "!"]),
        st.sampled_from(["", "/"]),
        st.lists(st.sampled_from(GLOB_PARTS), min_size=1, max_size=3),
        st.sampled_from(["", "/", " "]),
    ),
    max_size=4,
)
GRID = [f"{d}{f}.py" for d in ("", "a/", "b/", "a/a/", "a/b/", "b/a/") for f in "ab"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    make(root, *GRID)
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


@given(outer=patterns, inner=patterns)
def test_find_ignores_what_git_ignores(repository: Path, outer: list[str], inner: list[str]) -> None:
    (repository / ".gitignore").write_text("\n".join(outer))
    (repository / "a/.gitignore").write_text("\n".join(inner))
    command = ["git", "-C", repository, "ls-files", "--others", "--exclude-standard", "*.py"]
    theirs = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    found = find([repository], {"py"}, [], [], repository, kind_of)
    assert [os.path.relpath(file.path, repository) for file in found.files] == sorted(theirs)


GLOBS: dict[str, tuple[list[str], list[str], list[str]]] = {
    "include": (["p/"], [], ["p/a.py", "p/t/b.py"]),
    "exclude": ([], ["t/"], ["a.py", "p/a.py"]),
    "both": (["p/**"], ["b.py"], ["p/a.py"]),
    "exclude all but": ([], ["*.py", "!a.py"], ["a.py", "p/a.py"]),
    "relative to the root": (["/a.py"], [], ["a.py"]),
}


@pytest.mark.parametrize(("include", "exclude", "expected"), GLOBS.values(), ids=GLOBS.keys())
def test_globs_choose(tree: Path, include: list[str], exclude: list[str], expected: list[str]) -> None:
    make(tree, "pyproject.toml", "a.py", "p/a.py", "p/t/b.py", "t/c.py")
    assert listed(".", include=include, exclude=exclude) == expected


def test_globs_are_relative_to_the_project_root_from_everywhere(tree: Path) -> None:
    make(tree, "pyproject.toml", "p/a.py", "p/b.py")
    assert listed("p", exclude=["/p/a.py"]) == ["p/b.py"]


def test_exclude_holds_for_a_given_file_and_says_so(tree: Path) -> None:
    make(tree, "a.py", "b.py")
    listing = search("a.py", "b.py", exclude=["a.py"])
    assert [file.path for file in listing.files] == ["b.py"]
    assert listing.skipped == [("a.py", "excluded by --exclude")]


def test_a_given_file_of_no_wanted_kind_is_mentioned(tree: Path) -> None:
    make(tree, "a.txt", "b.md", "c.py")
    skipped = dict(search("a.txt", "b.md", "c.py", include=["d.py"]).skipped)
    assert skipped == {
        "a.txt": "not a kind of file that can hold references",
        "b.md": "of kind 'md', which is not among the wanted ones",
        "c.py": "not among those of --include",
    }


def test_overlapping_paths_give_each_file_once(tree: Path) -> None:
    make(tree, "p/a.py", "p/q/b.py")
    (tree / "link").symlink_to("p")
    assert listed("p/q", "p", str(tree / "p"), "p/a.py", "./p/q/b.py", "link") == ["p/a.py", "p/q/b.py"]


def test_paths_are_shown_as_they_were_given(tree: Path) -> None:
    make(tree, "p/a.py")
    assert listed("./p/") == ["p/a.py"]
    assert listed(str(tree)) == [f"{tree}/p/a.py"]
    os.chdir(tree / "p")
    assert listed("..") == ["../p/a.py"]


def test_a_file_has_its_kind_and_size(tree: Path) -> None:
    make(tree, "b.md")
    (tree / "a.py").write_bytes(b"x" * 10)
    assert [(f.kind, f.size) for f in search(".", kinds=["py", "md"]).files] == [("py", 10), ("md", 0)]


def test_links_in_a_walk_are_not_followed(tree: Path) -> None:
    make(tree, "in/a.py", "out/b.py", "out/sub/c.py")
    links = {
        "inside.py": "a.py",
        "outside.py": "../out/b.py",
        "folder": "../out/sub",
        "loop": ".",
        "broken.py": "none.py",
    }
    for name, target in {**links, "outside.txt": "../out/b.txt", ".hidden": "../out"}.items():
        (tree / "in" / name).symlink_to(target)
    listing = search("in")
    assert [file.path for file in listing.files] == ["in/a.py"]
    assert listing.skipped == [
        ("in/broken.py", "a broken link"),
        ("in/folder", f"a link to {tree}/out/sub, outside the given paths"),
        ("in/outside.py", f"a link to {tree}/out/b.py, outside the given paths"),
    ]


def test_a_given_link_is_followed(tree: Path) -> None:
    make(tree, "p/a.py")
    (tree / "link").symlink_to("p")
    (tree / "one.py").symlink_to("p/a.py")
    assert listed("link") == ["link/a.py"]
    assert listed("one.py") == ["one.py"]


def test_what_is_no_regular_file_is_mentioned(tree: Path) -> None:
    os.mkfifo(tree / "pipe.py")
    assert search(".").skipped == [("pipe.py", "not a regular file")]
    assert search("pipe.py").skipped == [("pipe.py", "not a regular file")]


def test_missing_paths_are_reported_together_with_the_nearest_names(tree: Path) -> None:
    make(tree, "source/a.py", "tests/b.py")
    (tree / "gone").symlink_to("nowhere")
    with pytest.raises(SourceError) as caught:
        search("sorce/a.py", "tests", "tests/c.py", "gone")
    assert str(caught.value).splitlines() == [
        "no such file or folder: 'sorce/a.py'; did you mean 'source'?",
        "no such file or folder: 'tests/c.py'; did you mean 'b.py'?",
        "no such file or folder: 'gone', a broken link",
    ]


def test_a_malformed_glob_is_an_error(tree: Path) -> None:
    with pytest.raises(SourceError, match="malformed glob '!'"):
        search(".", exclude=["!"])


@pytest.mark.parametrize(
    ("mark", "paths", "expected"),
    [
        pytest.param("", ["p/q", "p/r/a.py"], "p", id="common folder"),
        pytest.param("", ["p/r/a.py"], "p/r", id="folder of the file"),
        pytest.param("pyproject.toml", ["p/q"], "", id="pyproject"),
        pytest.param(".git/HEAD", ["p/q", "p/r"], "", id="git"),
        pytest.param("p/.bem-migrate/lock", ["p/q"], "p", id="journal"),
        pytest.param("p/q/pyproject.toml", ["p/q", "p/r"], "p", id="not below the common folder"),
        pytest.param("p/q/pyproject.toml", ["p/q"], "p/q", id="the folder itself"),
    ],
)
def test_project_root(
    tree: Path, mark: str, paths: list[str], expected: str, no_marks_above: Callable[[Path], None]
) -> None:
    make(tree, "p/q/b.py", "p/r/a.py", *([mark] if mark else []))
    no_marks_above(tree)
    assert project_root(paths) == tree / expected


@pytest.fixture
def no_marks_above() -> Callable[[Path], None]:
    def check(folder: Path) -> None:
        if any(
            (parent / mark).exists() for parent in folder.parents for mark in (".git", "pyproject.toml", ".bem-migrate")
        ):
            pytest.skip("the folder for temporary files lies in a project")

    return check
