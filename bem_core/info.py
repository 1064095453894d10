"""The ``bem-info`` command: versions, devices, installed extras."""

from __future__ import annotations

import json
from typing import Any

import click

from bem_core import __version__
from bem_core.utils import environment as env


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--format", "style", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.version_option(__version__, prog_name="bem-info", message="%(prog)s %(version)s")
def main(style: str) -> None:
    """Print what a bug report needs: versions, devices, and which extras are installed."""
    found = {**env.describe_environment(), "extras": env.extras()}
    click.echo(json.dumps(found, indent=2) if style == "json" else _text(found))


def _text(found: dict[str, Any]) -> str:
    hardware = found["hardware"]
    memory = hardware["memory_bytes"] / 2**30
    lines = [
        ("bem-migrate", found["bem_core"]),
        ("python", f"{found['python']['version']}  {found['python']['executable']}"),
        ("system", hardware["system"]),
        ("processor", f"{hardware['processor']}, {hardware['num_cores']} cores, {memory:.1f} GiB"),
        ("devices", _devices(found["devices"])),
        ("commit", _commit(found["git"])),
    ]
    packages = [(name, version or "-") for name, version in found["packages"].items()]
    extras = [(name, ("needs " + ", ".join(lacks)) if lacks else "complete") for name, lacks in found["extras"].items()]
    variables = list(found["variables"].items())
    sections = {"packages": packages, "extras": extras, "variables": variables}
    blocks = ["\n".join([f"{title}:", _table(rows, "  ")]) for title, rows in sections.items() if rows]
    return "\n\n".join([_table(lines), *blocks])


def _table(rows: list[tuple[str, str]], indent: str = "") -> str:
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{indent}{name:{width}}{value}" for name, value in rows)


def _devices(found: dict[str, Any]) -> str:
    if not found:
        return "unknown: torch is not installed"
    cuda = [
        f"cuda:{index} {one['name']}, {one['memory_bytes'] / 2**30:.1f} GiB" for index, one in enumerate(found["cuda"])
    ]
    return "; ".join([*cuda, *(["mps"] if found["mps"] else []), f"cpu, {found['num_threads']} threads"])


def _commit(git: dict[str, Any] | None) -> str:
    if git is None:
        return "not in a git repository"
    return f"{git['commit']} on {git['branch'] or 'no branch'}{', with changes' if git['dirty'] else ''}"


if __name__ == "__main__":
    main(prog_name="bem-info")
