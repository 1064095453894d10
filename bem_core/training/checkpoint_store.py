"""A checkpoint: a folder with ``state.json``, a safetensors file for each part with tensors, and ``manifest.json``.

Nothing in it can execute code. The manifest is written last and has the size of every file, digests (xxh3-128) of the
JSON texts, and one of each tensor: over its type and shape as stored, such as ``F32[2, 3]``, then its bytes. So what is
read is what was saved, or an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import xxhash

from bem_core.errors import CheckpointError, nearest
from bem_core.training import checkpoint_staging as staging
from bem_core.training.checkpoint_tensors import read_tensors, write_tensors
from bem_core.training.checkpoint_tree import Part, decode, encode

FORMAT = 1
STATE = "state.json"
#: The part that says which tensors are in files that each rank wrote for itself; see `checkpoint_shards`.
SHARDS = "shards"

More = Callable[[Path], Mapping[str, Any]]


def save_tree(path: Path | str, tree: Mapping[str, Any], meta: Mapping[str, Any] | None = None) -> None:
    """Save a checkpoint so that, whatever happens, ``path`` is what it was before or the whole new one.

    Memory: tensors are written from where they are; one that is not contiguous on the CPU is copied, one at a time.

    Args:
        path: The folder; a checkpoint there is replaced.
        tree: Named parts, such as ``model``, of tensors and plain values; see `checkpoint_tree.encode`.
        meta: Plain values that `read_meta` returns without reading the rest.

    Raises:
        CheckpointError: A value cannot be stored, or the disk refuses.
    """
    write_parts(Path(path), encode(tree), meta or {})


def write_parts(path: Path, parts: Iterable[Part], meta: Mapping[str, Any], more: More | None = None) -> None:
    """Do what `save_tree` does, for parts that are encoded already.

    Args:
        path: The folder.
        parts: What to write.
        meta: As for `save_tree`.
        more: Writes further files to the folder that it is given, and returns what the manifest says of them.
    """
    (encoded_meta,) = encode({"meta": dict(meta)})
    try:
        with staging.staged(path) as folder:
            _write_files(folder, list(parts), encoded_meta.skeleton, more)
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"{path}: cannot save the checkpoint: {reason}; what was there is unchanged") from error


def _write_files(folder: Path, parts: list[Part], meta: Any, more: More | None) -> None:
    state = {part.name: {"skeleton": part.skeleton, "dtypes": part.dtypes} for part in parts}
    text = json.dumps(state, allow_nan=False).encode()
    staging.write_file(folder / STATE, text)
    files: dict[str, Any] = {STATE: {"bytes": len(text), "xxh3_128": xxhash.xxh3_128_hexdigest(text)}}
    for part in parts:
        if part.tensors:
            file = folder / _tensor_file(part.name)
            digests = write_tensors(file, part.tensors)
            files[file.name] = {"bytes": file.stat().st_size, **digests}
    if more is not None:
        files.update(more(folder))
    aliases = {part.name: part.aliases for part in parts if part.aliases}
    manifest = {"format": FORMAT, "meta": meta, "files": files, "aliases": aliases}
    staging.write_file(folder / staging.MANIFEST, _manifest_text(manifest))


def _tensor_file(part: str) -> str:
    return f"{part}.safetensors"


def _manifest_text(manifest: Any) -> bytes:
    digest = xxhash.xxh3_128_hexdigest(json.dumps(manifest).encode())
    return json.dumps({"manifest": manifest, "xxh3_128": digest}, indent=1).encode()


def read_manifest(path: Path | str) -> dict[str, Any]:
    """Return the manifest of a checkpoint, and check that all files are there in their full size.

    Raises:
        CheckpointError: There is no checkpoint, it is not complete, or a newer version wrote it.
    """
    file = Path(path, staging.MANIFEST)
    if not Path(path).exists() and Path(path).parent.is_dir():
        staging.bring_back(Path(path).parent)
    try:
        text = file.read_bytes()
        manifest: dict[str, Any] = json.loads(text)["manifest"]
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{file}: format {manifest['format']!r} is not known here, only {FORMAT}")
        if text != _manifest_text(manifest):
            raise CheckpointError(f"{file}: damaged: not what was saved")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no checkpoint: {staging.MANIFEST} is missing") from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{file}: damaged: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror or error}") from error
    for name, entry in manifest["files"].items():
        _check_size(Path(path, name), entry["bytes"])
    return manifest


def _check_size(file: Path, expected: int) -> None:
    try:
        found = file.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{file}: damaged checkpoint: {error.strerror or error}") from error
    if found != expected:
        raise CheckpointError(f"{file}: damaged: {found} bytes instead of {expected}")


def read_meta(path: Path | str) -> dict[str, Any]:
    """Return what was given to `save_tree` as ``meta``."""
    meta: dict[str, Any] = decode(read_manifest(path)["meta"], {})
    return meta


def load_tree(
    path: Path | str,
    map_location: torch.device | str = "cpu",
    parts: Collection[str] | None = None,
    *,
    shards: bool = True,
) -> dict[str, Any]:
    """Load a checkpoint and check every byte of it.

    Args:
        path: The folder.
        map_location: Where the tensors go, one after the other.
        parts: Names of the parts to read; all of them by default.
        shards: Whether tensors that ranks wrote in shards are put together. Without it they are left out, and the part
            `SHARDS` says which they are; the files are checked all the same.

    Raises:
        CheckpointError: It is damaged, not there, or has no such part; names the file and the tensor.
    """
    manifest = read_manifest(path)
    state = _read_state(Path(path, STATE), manifest["files"][STATE]["xxh3_128"])
    for name in parts or ():
        if name not in state:
            raise CheckpointError(f"{path}: has no part {name!r}{nearest(name, state)}; it has {', '.join(state)}")
    wanted = state if parts is None else {name: state[name] for name in state if name in parts or name == SHARDS}
    tree = {}
    for name, part in wanted.items():
        file = Path(path, _tensor_file(name))
        digests = manifest["files"].get(file.name)
        tensors = read_tensors(file, digests, part["dtypes"], map_location) if digests else {}
        tree[name] = decode(part["skeleton"], tensors)
    if SHARDS in tree:
        _add_shards(Path(path), tree, manifest["files"], map_location if shards else None)
    return tree


def _add_shards(path: Path, tree: dict[str, Any], files: Mapping[str, Any], device: torch.device | str | None) -> None:
    # It takes long to import.
    from bem_core.training import checkpoint_shards

    checkpoint_shards.check_shards(path, files)
    tree[SHARDS] = [entry for entry in tree[SHARDS] if entry[0][0] in tree]
    if device is not None:
        checkpoint_shards.add_shards(
            path, tree, lambda keys, shape, dtype: torch.empty(shape, dtype=dtype, device=device)
        )


def _read_state(file: Path, digest: str) -> dict[str, Any]:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror or error}") from error
    if xxhash.xxh3_128_hexdigest(text) != digest:
        raise CheckpointError(f"{file}: damaged: not what was saved")
    state: dict[str, Any] = json.loads(text)
    return state
