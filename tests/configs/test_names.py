from __future__ import annotations

from typing import Any

import pytest

from migrate.configs.names import Namer

PATHS = [
    "lora_a.yaml",
    "lora_b.yaml",
    "full_a.yaml",
    "full_b.yaml",
    "competitors/x1.yaml",
    "competitors/y1.yaml",
    "m1.yaml",
    "m2.yaml",
]
DOCUMENTS: dict[str, dict[str, Any]] = {path: {"name": "'n'", "training": {"lr": "int 1"}} for path in PATHS}
DOCUMENTS["m1.yaml"] |= {"model": {"_component_": "'lib.models.tiny_llama'"}}
DOCUMENTS["m2.yaml"] |= {"model": {"_component_": "'lib.models.tiny_llama'"}}
OPTIM = {"optimizer": {"lr": "int 1"}}

CASES: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "all files": (PATHS, {"training": {}, "name": {}, "data": {}}, "base"),
    "a word of file names": (["lora_a.yaml", "lora_b.yaml"], {"training": {}, "data": {}}, "lora"),
    "a folder": (["competitors/x1.yaml", "competitors/y1.yaml"], {"training": {}, "data": {}}, "competitors"),
    "a component": (["m1.yaml", "m2.yaml"], {"training": {}, "data": {}}, "tiny_llama"),
    "one section": (["lora_a.yaml", "full_a.yaml"], OPTIM, "optimizer"),
    "nothing in common": (["lora_a.yaml", "m1.yaml"], {"b": {}, "a": {}}, "training"),
}


@pytest.mark.parametrize(("members", "values", "name"), CASES.values(), ids=CASES.keys())
def test_a_template_is_named_after_what_its_members_share(
    members: list[str], values: dict[str, Any], name: str
) -> None:
    assert Namer(DOCUMENTS).name(members, values) == name
    assert Namer(dict(reversed(DOCUMENTS.items()))).name(members[::-1], values) == name


def test_names_are_taken_once_whatever_their_case() -> None:
    namer = Namer(DOCUMENTS, ["Base"])
    names = [namer.name(PATHS, {"training": {}, "data": {}}) for _ in range(4)]
    assert len({name.lower() for name in [*names, "Base"]}) == 5


def test_a_name_is_a_plain_file_name() -> None:
    documents = {f"Ä ö/{n}.yaml": {"a/b: c": "'x'", "type": "'../../etc'"} for n in range(3)}
    assert Namer(documents).name(list(documents)[:2], {"a/b: c": "'x'"}) == "a_b_c"
