"""Tensors in one file of the safetensors format, with a digest of each.

The file is written here, tensor by tensor: ``safetensors.torch.save_file`` wants all of them contiguous in the memory
of the CPU at once, which for a model on an accelerator is a second copy of everything. It is read with the library.
Layout of the format: https://huggingface.co/docs/safetensors/index#format
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from torch import Tensor

from bem_core.errors import CheckpointError
from bem_core.training.checkpoint_tree import NATIVE

# Digested right before it is written, while it is in the cache of the processor.
_CHUNK_BYTES = 1 << 20


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write a safetensors file, flushed to the disk.

    Returns:
        ``header``, the digest of the header, and ``tensors``, that of each tensor, in the order of the file.

    Tensors that are neither contiguous nor on the CPU are copied one at a time.

    Raises:
        OSError: The file cannot be written.
    """
    # By size of the element, so that each tensor is aligned in a file that is mapped into memory.
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].element_size()))
    header = _header(ordered)
    # A buffer would cost a copy of every chunk.
    with path.open("wb", buffering=0) as file:
        _write_all(file, memoryview(header))
        digests = {name: _write_tensor(file, tensor) for name, tensor in ordered.items()}
        os.fsync(file.fileno())
    return {"header": xxhash.xxh3_128_hexdigest(header), "tensors": digests}


def _header(tensors: Mapping[str, Tensor]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        dtype, shape = _stored_form(tensor)
        start, end = end, end + tensor.numel() * tensor.element_size()
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _stored_form(tensor: Tensor) -> tuple[str, list[int]]:
    if dtype := NATIVE.get(tensor.dtype):
        return dtype, list(tensor.shape)
    return "U8", [*tensor.shape, tensor.element_size()]


def _write_tensor(file: FileIO, tensor: Tensor) -> str:
    digest, data = _start_digest(tensor), _bytes(tensor)
    for start in range(0, len(data), _CHUNK_BYTES):
        chunk = data[start : start + _CHUNK_BYTES]
        digest.update(chunk)
        _write_all(file, chunk)
    return digest.hexdigest()


def _write_all(file: FileIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _start_digest(tensor: Tensor) -> xxhash.xxh3_128:
    dtype, shape = _stored_form(tensor)
    return xxhash.xxh3_128(f"{dtype}{shape}".encode())


def _bytes(tensor: Tensor) -> memoryview:
    """Return the memory of a tensor, row by row; a copy only where it is not laid out so on the CPU."""
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    # Where a dimension is 1, its stride may be anything, and `reshape` keeps that.
    return plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().data


def read_tensors(
    path: Path, digests: Mapping[str, Any], dtypes: Mapping[str, str], device: torch.device | str
) -> dict[str, Tensor]:
    """Read a file that `write_tensors` wrote, into memory of its own, and compare every tensor with its digest.

    Args:
        path: The file.
        digests: What `write_tensors` returned.
        dtypes: Types of the tensors that are stored as bytes.
        device: Where each tensor goes before the next one is read.

    Raises:
        CheckpointError: The file or a tensor is damaged; names it.
    """
    try:
        _check_header(path, digests["header"])
        # Mapped tensors would keep the disk space of a deleted checkpoint, and turn a read error into a crash.
        with safe_open(path, framework="pt", backend="pread") as file:
            read = {}
            for name, digest in digests["tensors"].items():
                tensor = _checked(path, name, file.get_tensor(name), digest)
                read[name] = _as_dtype(path, tensor, dtypes.get(name)).to(device)
            return read
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: damaged or unreadable: {error}") from error


def _check_header(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        size = file.read(8)
        header = size + file.read(min(int.from_bytes(size, "little"), path.stat().st_size))
    if xxhash.xxh3_128_hexdigest(header) != expected:
        raise CheckpointError(f"{path}: damaged: the header is not what was saved")


def _checked(path: Path, name: str, tensor: Tensor, expected: str) -> Tensor:
    digest = _start_digest(tensor)
    digest.update(_bytes(tensor))
    if digest.hexdigest() != expected:
        raise CheckpointError(f"{path}: damaged: tensor {name!r} is not what was saved")
    return tensor


def _as_dtype(path: Path, tensor: Tensor, name: str | None) -> Tensor:
    if name is None:
        return tensor
    dtype = getattr(torch, name, None)
    if dtype is None:
        raise CheckpointError(f"{path}: has tensors of type {name}, which torch {torch.__version__} does not know")
    return tensor.view(dtype).squeeze(-1)
