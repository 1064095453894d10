"""How far two runs are apart, step by step, as an SVG with a logarithmic scale. Pure text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from migrate.verify.verdict import Series

WIDTH, HEIGHT = 860, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 190, 20, 40
# From the colours of Okabe and Ito, which people who see few colours can tell apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#8c510a")
_LOWEST, _HIGHEST = 1e-17, 1e3
MAX_SERIES = len(_COLOURS)


class _Scale:
    """Maps steps and errors to places; errors of zero are on a line of their own at the bottom."""

    def __init__(self, series: Sequence[Series]) -> None:
        steps = [step for one in series for step in one.steps]
        errors = [_clamp(error) for one in series for error in (*one.errors, *one.noise) if error > 0]
        self.first, self.last = min(steps), max(max(steps), min(steps) + 1)
        self.low = math.floor(math.log10(min(errors, default=1e-8)))
        self.high = max(math.ceil(math.log10(max(errors, default=1e-7))), self.low + 1)

    def x(self, step: float) -> float:
        return _LEFT + (step - self.first) / (self.last - self.first) * (WIDTH - _LEFT - _RIGHT)

    def y(self, error: float) -> float:
        if error <= 0:
            return HEIGHT - _BOTTOM
        share = (math.log10(_clamp(error)) - self.low) / (self.high - self.low)
        return HEIGHT - _BOTTOM - 18 - share * (HEIGHT - _BOTTOM - 18 - _TOP)


def _clamp(error: float) -> float:
    return min(max(error, _LOWEST), _HIGHEST)


def drift_svg(series: Sequence[Series], first_step: int | None = None) -> str:
    """Return the plot, or nothing where there is nothing to draw.

    Args:
        series: At most the first `MAX_SERIES` are drawn, in their own colours; the noise of all is one grey band.
        first_step: Step of the first difference, which gets a mark.
    """
    shown = [one for one in series if one.steps][:MAX_SERIES]
    if not shown:
        return ""
    scale = _Scale(shown)
    parts = [*_axes(scale), *_noise(shown, scale)]
    if first_step is not None and scale.first <= first_step <= scale.last:
        parts += _mark(scale.x(first_step), first_step)
    for number, one in enumerate(shown):
        parts += _line(one, scale, _COLOURS[number], number)
    title = "Relative difference between reference and candidate by step"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}" '
        f'font-family="system-ui, sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


def _axes(scale: _Scale) -> Iterator[str]:
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    every = max(1, math.ceil((scale.high - scale.low) / 8))
    rows = [(scale.y(10.0**power), f"1e{power}") for power in range(scale.low, scale.high + 1, every)]
    for y, text in [*rows, (bottom, "0")]:
        yield f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e7eb"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#5b6470">{text}</text>'
    for step in sorted({round(scale.first + (scale.last - scale.first) * part / 6) for part in range(7)}):
        yield (f'<text x="{scale.x(step):.1f}" y="{bottom + 18}" text-anchor="middle" fill="#5b6470">{step}</text>')
    middle = (_LEFT + right) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle" fill="#414a55">optimizer step</text>'
    across = (_TOP + bottom) / 2
    yield (
        f'<text transform="translate(14 {across}) rotate(-90)" text-anchor="middle" fill="#414a55">'
        "relative difference</text>"
    )


def _noise(series: Sequence[Series], scale: _Scale) -> Iterator[str]:
    """Yield the band between zero and the largest noise of any series."""
    largest: dict[int, float] = {}
    for one in series:
        for step, noise in zip(one.steps, one.noise, strict=False):
            largest[step] = max(largest.get(step, 0.0), noise)
    if not any(largest.values()):
        return
    bottom = HEIGHT - _BOTTOM
    top = " ".join(f"{scale.x(step):.1f},{scale.y(error):.1f}" for step, error in sorted(largest.items()))
    steps = sorted(largest)
    ends = f"{scale.x(steps[-1]):.1f},{bottom} {scale.x(steps[0]):.1f},{bottom}"
    yield f'<polygon class="noise" points="{top} {ends}" fill="#9aa5b1" fill-opacity=".3"/>'
    yield f'<text x="{WIDTH - _RIGHT + 10}" y="{_TOP + 4}" fill="#5b6470">grey: noise of the reference</text>'


def _mark(x: float, step: int) -> Iterator[str]:
    yield (
        f'<line class="first" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}" stroke="#b3261e" '
        'stroke-dasharray="4 3"/>'
    )
    yield f'<text x="{x + 4:.1f}" y="{_TOP - 6}" fill="#b3261e">first difference: step {step}</text>'


def _line(one: Series, scale: _Scale, colour: str, number: int) -> Iterator[str]:
    pairs = list(zip(one.steps, one.errors, strict=True))
    points = " ".join(f"{scale.x(step):.1f},{scale.y(error):.1f}" for step, error in pairs)
    name, x, y = escape(one.name), WIDTH - _RIGHT + 10, _TOP + 24 + number * 18
    stroke = f'stroke="{colour}"'
    yield f'<polyline points="{points}" fill="none" {stroke} stroke-width="1.6"><title>{name}</title></polyline>'
    yield f'<line x1="{x}" x2="{x + 18}" y1="{y}" y2="{y}" {stroke} stroke-width="2"/>'
    short = name if len(one.name) <= 22 else f"{escape(one.name[:20])}..."
    yield f'<text x="{x + 24}" y="{y + 4}" fill="#1c2024">{short}</text>'
