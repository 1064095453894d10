"""What a comparison by less would say of two runs."""

from __future__ import annotations

from migrate.verify.collector import number
from migrate.verify.trace.reader import Trace

PEERS = ("last loss within 5 %", "losses by assert_close", "parameters bit for bit")
# Defaults of torch.testing.assert_close for 32 bits.
_RTOL, _ATOL = 1.3e-6, 1e-5


def losses(trace: Trace) -> list[float]:
    """Return the losses that backward passes began with."""
    return [value for step in trace.steps for text in step.losses if (value := number(text)) is not None]


def seen_by_peers(reference: Trace, candidate: Trace) -> list[str]:
    """Return which of the lesser criteria tell two runs apart."""
    one, other = losses(reference), losses(candidate)
    far = len(one) != len(other) or any(abs(a - b) > _ATOL + _RTOL * abs(a) for a, b in zip(one, other, strict=True))
    roots = [[step.roots["parameters"] for step in trace.steps] for trace in (reference, candidate)]
    last = not other or abs(other[-1] - one[-1]) > 0.05 * abs(one[-1])
    return [name for name, seen in zip(PEERS, (last, far, roots[0] != roots[1]), strict=True) if seen]
