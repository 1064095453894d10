"""Digests of tensors, and of what is made of them.

``bem_core.utils.digest`` gives the same for a tensor; it cannot be imported in a traced process, and here it has to
take less than a microsecond beside the hashing.
"""

from __future__ import annotations

import ctypes
import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import xxhash
from torch import Tensor

ABSENT = bytes(16)
_PLAIN = (Tensor, torch.nn.Parameter, torch.nn.Buffer)
_FIXED = (str, bool, int, float, type(None))
_TEXT = (str, bytes, bool, int, float, complex, type(None))
_STRIDED, _CPU = torch.strided, torch.device("cpu")
_UNKNOWN = object()
_address = Tensor.data_ptr
_size = operator.attrgetter("nbytes")
_shape_and_type = operator.attrgetter("shape", "dtype")
_is_contiguous = Tensor.is_contiguous
_transformed = torch._C._functorch.is_functorch_wrapped_tensor
_heads: dict[tuple[torch.dtype, torch.Size], xxhash.xxh3_128] = {}


def tensor_digest(tensor: Tensor) -> bytes:
    """Return XXH3-128 over type, shape and contiguous bytes.

    The memory is read where it is: `Tensor.numpy` would forbid the program to resize the tensor afterwards. At most one
    tensor is copied, where it is not contiguous or not on the CPU.
    """
    if type(tensor) not in _PLAIN or tensor.layout is not _STRIDED or not tensor.is_cpu:
        return _unusual(tensor)
    plain = tensor
    if tensor.is_conj() or tensor.is_neg():
        plain = tensor.detach().resolve_conj().resolve_neg()
    if not plain.is_contiguous():
        plain = (plain.detach() if plain.requires_grad else plain).contiguous()
    try:
        address = plain.data_ptr()
    except RuntimeError:  # What `torch.func` transforms has no memory; to ask whether it is that takes longer.
        return _unusual(tensor)
    state = _head(plain).copy()
    if size := plain.nbytes:
        state.update((ctypes.c_char * size).from_address(address))
    return state.digest()


class Slots:
    """Digests of the same tensors again and again: what does not change about them is looked up once."""

    def __init__(self) -> None:
        self._slots: list[tuple[Any, Any]] = []
        self._places: list[Any] = []
        self._memories: list[Any] = []
        self._head = xxhash.xxh3_128()

    def forget(self) -> None:
        """Look everything up again."""
        self._places = []

    def together(self, tensors: Sequence[Tensor]) -> bytes:
        """Return one digest over types and shapes of all tensors, then their contiguous bytes.

        A contiguous tensor that is at the same place and has as many bytes is taken for the same as before. Where one
        has no memory of its own, such as a sparse one, it is the digest of all digests.
        """
        try:
            places = [*map(_address, tensors), *map(_size, tensors), *map(_is_contiguous, tensors)]
        except (NotImplementedError, RuntimeError):
            return root(map(tensor_digest, tensors))
        if places != self._places:
            self._places, self._memories = places, [_memory(tensor) for tensor in tensors]
            self._head = xxhash.xxh3_128(b"".join(map(_form, tensors)))
        state = self._head.copy()
        update = state.update
        for at, memory in enumerate(self._memories):
            if memory is not None:
                update(memory)
            else:
                for part in _copied(tensors[at]):
                    update((ctypes.c_char * part.nbytes).from_address(part.data_ptr()))
        return state.digest()

    def digests(self, tensors: Sequence[Tensor]) -> bytes:
        """Return the digests of tensors, joined."""
        try:
            places = [*map(_address, tensors), *map(_shape_and_type, tensors), *map(_is_contiguous, tensors)]
        except (NotImplementedError, RuntimeError):
            return b"".join(map(tensor_digest, tensors))
        if places != self._places:
            self._places, self._slots = places, [*map(_slot, tensors)]
        found = []
        for at, (head, memory) in enumerate(self._slots):
            if head is None:
                found.append(tensor_digest(tensors[at]))
                continue
            state = head.copy()
            state.update(memory)
            found.append(state.digest())
        return b"".join(found)


def _slot(tensor: Tensor) -> tuple[Any, Any]:
    """Return the beginning of the digest and the memory of a tensor; nothing where it is unusual."""
    memory = _memory(tensor)
    return (None, None) if memory is None or not tensor.nbytes else (_head(tensor), memory)


def _head(tensor: Tensor) -> xxhash.xxh3_128:
    """Return the beginning of the digests of all tensors of this type and shape."""
    key = (tensor.dtype, tensor.shape)
    if key not in _heads:
        _heads[key] = xxhash.xxh3_128(_form(tensor))
    return _heads[key]


def _memory(tensor: Tensor) -> Any:
    """Return the memory of a tensor as it is; None where that is not its contiguous bytes."""
    plain = type(tensor) in _PLAIN and tensor.layout is _STRIDED and tensor.device == _CPU
    if not plain or _transformed(tensor) or tensor.is_conj() or tensor.is_neg() or not tensor.is_contiguous():
        return None
    return (ctypes.c_char * tensor.nbytes).from_address(tensor.data_ptr())


def _form(tensor: Tensor) -> bytes:
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode()


def _is_hollow(tensor: Tensor) -> bool:
    """Tell whether a tensor has no values: on the device ``meta``, or one of `FakeTensorMode`."""
    return tensor.is_meta or hasattr(tensor, "fake_mode")


def _copied(tensor: Tensor) -> list[Tensor]:
    """Return what the bytes of an unusual tensor are read from; nothing where it has none."""
    if _is_hollow(tensor):
        return []
    if _transformed(tensor):
        inside = _within(tensor)
        return [inside] if _memory(inside) is not None else _copied(inside)
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        tensor = tensor.coalesce()
        return [part for inside in (tensor.indices(), tensor.values()) for part in _copied(inside)]
    local = getattr(tensor, "_local_tensor", tensor).detach()  # of a DTensor
    plain = (local if local.layout is _STRIDED else local.to_dense()).cpu()
    if type(plain) not in _PLAIN:
        plain = plain.as_subclass(Tensor)
    return [plain.resolve_conj().resolve_neg().contiguous()]


def _unusual(tensor: Tensor) -> bytes:
    digests = [tensor_digest(part) for part in _copied(tensor)]
    if not digests:
        return xxhash.xxh3_128_digest(_form(tensor))
    return digests[0] if len(digests) == 1 else root(digests)


def _within(tensor: Tensor) -> Tensor:
    """Return the values that `torch.func` transforms: those of the whole batch, within `vmap`."""
    while _transformed(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def root(digests: Iterable[bytes]) -> bytes:
    """Return the digest of digests in order."""
    return xxhash.xxh3_128_digest(b"".join(digests))


def leaves(value: Any) -> list[Any]:
    """Return what a nested value is made of, in order, whatever the containers are."""
    found: list[Any] = []
    _gather(value, found)
    return found


def _gather(value: Any, found: list[Any]) -> None:
    kind = type(value)
    if kind in _PLAIN or isinstance(value, Tensor):
        found.append(value)
    elif kind is tuple or kind is list or isinstance(value, list | tuple):
        for below in value:
            _gather(below, found)
    elif kind is dict or isinstance(value, Mapping):
        for below in value.values():
            _gather(below, found)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            _gather(getattr(value, field.name, None), found)
    else:
        found.append(value)


def digest(value: Any) -> str:
    """Return the digest of the leaves of a nested value; containers and keys add nothing."""
    state = xxhash.xxh3_128()
    for leaf in leaves(value):
        state.update(leaf_digest(leaf))
    return state.hexdigest()


def digest_with_tensors(value: Any) -> tuple[str, list[str]]:
    """Return the digest of a nested value, and those of its tensors that have more than one element, in order."""
    state, tensors = xxhash.xxh3_128(), []
    for leaf in leaves(value):
        found = leaf_digest(leaf)
        state.update(found)
        if isinstance(leaf, Tensor) and leaf.numel() > 1:
            tensors.append(found.hex())
    return state.hexdigest(), tensors


def leaf_digest(leaf: Any) -> bytes:
    """Return the digest of a tensor, an array, a number or a text; of any other object that of its type alone."""
    if isinstance(leaf, Tensor):
        return tensor_digest(leaf)
    if isinstance(leaf, _TEXT):
        return xxhash.xxh3_128_digest(repr(leaf).encode())
    if type(leaf).__module__ == "numpy" and hasattr(leaf, "tobytes"):
        return xxhash.xxh3_128_digest(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
    return xxhash.xxh3_128_digest(f"<{type(leaf).__module__}.{type(leaf).__qualname__}>".encode())


def number(value: Any) -> str:
    """Return a single number as ``float.hex``, integers as digits, and a digest of anything else."""
    if isinstance(value, Tensor):
        tensor = value
        try:
            # One call: between two operations of a training all code has left the caches, torch's most of all.
            value = tensor.item() if type(tensor) in _PLAIN or not _is_hollow(tensor) else None
        except RuntimeError:  # It has not one element, or is what `torch.func` transforms.
            tensor = _within(tensor)
            value = tensor.item() if tensor.numel() == 1 and not _is_hollow(tensor) else None
        if value is None or isinstance(value, complex):
            return tensor_digest(tensor).hex()
    elif type(value).__module__ == "numpy" and getattr(value, "size", 0) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, float):
        return repr(value) if isinstance(value, _TEXT) else digest(value)
    return value.hex()


class Hyper:
    """The hyper-parameters of a group, of which few change from step to step."""

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._values: list[Any] = []
        self._texts: dict[str, Any] = {}

    def record(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return all but the parameters, as JSON with exact floats; not to be changed."""
        keys, values = [*group], [*group.values()]
        if keys != self._keys:
            self._keys, self._values, self._texts = keys, [_UNKNOWN] * len(keys), {}
        known = self._values
        for at, changed in enumerate(map(operator.is_not, values, known)):
            if changed:
                key, value = keys[at], values[at]
                if key not in ("params", "param_names"):
                    self._texts[key] = plain(value)
                # A tensor or a list can change and stay the same object.
                known[at] = value if key not in self._texts or _is_fixed(value) else _UNKNOWN
        return self._texts


def _is_fixed(value: Any) -> bool:
    return isinstance(value, _FIXED) or (type(value) is tuple and all(map(_is_fixed, value)))


def plain(value: Any) -> Any:
    """Return a hyper-parameter as JSON with exact floats."""
    if isinstance(value, bool | str | int | type(None)):
        return value
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return number(value)
