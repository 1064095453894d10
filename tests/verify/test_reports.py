"""What is told of verdicts, in each form."""

from __future__ import annotations

import io
import json
import math
import xml.etree.ElementTree as ElementTree

import jsonschema
import pytest
from rich.console import Console

from migrate.verify.report import ci, document, page, text
from migrate.verify.report.drift import drift_svg
from migrate.verify.verdict import (
    Apart,
    ChannelCount,
    Divergence,
    Guard,
    Localised,
    Outcome,
    Series,
    Verdict,
    WaiverUse,
)

SERIES = Series("loss <b>", (1, 2, 3), (0.0, 1e-7, math.inf), (0.0, 1e-9, 1e-8))
METRIC = {
    "metric": "loss",
    "num_seeds": 5,
    "difference": 0.1,
    "low": 0.0,
    "high": 0.2,
    "interval": "BCa",
    "margin": 0.3,
    "p_value": 0.01,
    "p_holm": 0.02,
    "excludes": 0.21,
    "equivalent": True,
    "text": "loss: within",
}
APART = Apart("output", "float32[2, 3]", 6, 2, math.inf, 3.0, (1, 0), "0.0", "1.0")
FULL = Verdict(
    case="router <bc>",
    seed=3,
    outcome=Outcome.DIFFERENT,
    reasons=("first difference: 100% of it\nand more", "second"),
    steps=3,
    divergences=(
        Divergence(2, "clip", "clip", "1 max_norm", "0.5", "1.0", 1.0, waiver="W1"),
        Divergence(2, "backward", "gradients", "a<b", "x", "y", math.inf),
    ),
    channels=(ChannelCount("gradients", "backward", 10, 1, 2),),
    guards=(Guard("steps", True, "3 steps"),),
    waivers=(WaiverUse("W1", "why", 1), WaiverUse("W2", "why", 0, "nothing needed it")),
    noise="agrees with itself",
    drift=(SERIES,),
    localised=Localised("its inputs agree", "body.0", 1e-3, "a cast", ("train.py:3 main",), APART),
    metrics=(METRIC,),
    notes=("colours \x1b[31m",),
    sides={"reference": {"command": "python a.py", "seconds": 1.5, "exit_code": 0, "trace": "/x"}},
)
SAME = Verdict(case="safety", outcome=Outcome.IDENTICAL)
FAILED = Verdict(case="multimodal", outcome=Outcome.INCONCLUSIVE, reasons=("reference: \x1b[31mit failed",))


def test_json_fits_its_schema() -> None:
    schema = json.loads(document.SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    found = json.loads(document.to_json([FULL, SAME, FAILED]))
    jsonschema.validate(found, schema)
    assert (found["outcome"], found["exit_code"]) == ("different", 1)
    # What a waiver excuses is not the first difference.
    assert found["verdicts"][0]["first"]["channel"] == "gradients"
    assert found["verdicts"][0]["first"]["error"] == "inf"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "verdicts": [{**found["verdicts"][0], "outcome": "fine"}]}, schema)


def test_junit_counts_failures_and_errors() -> None:
    suite = ElementTree.fromstring(ci.to_junit([FULL, SAME, FAILED]))
    assert [suite.get(name) for name in ("tests", "failures", "errors")] == ["3", "1", "1"]
    assert [[child.tag for child in case] for case in suite] == [
        ["failure", "system-out"],
        ["system-out"],
        ["error", "system-out"],
    ]


def test_annotations_are_one_line_each() -> None:
    lines = ci.to_github([FULL, SAME], "cases/a,b.yaml").splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["::error", "::notice"]
    assert "file=cases/a%2Cb.yaml" in lines[0]
    assert "100%25 of it%0Aand more" in lines[0]


def test_the_page_needs_nothing_beside_it_and_escapes_what_it_shows() -> None:
    html = page.to_html([FULL, SAME, FAILED])
    assert "router &lt;bc&gt;" in html
    assert "a&lt;b" in html
    assert "2 of 6 elements differ" in html
    for outside in ("<script", "src=", "@import", "url("):
        assert outside not in html
    svg = ElementTree.fromstring(html[html.index("<svg") : html.index("</svg>") + 6])
    classes = [node.get("class") for node in svg.iter()]
    assert {"noise", "first"} <= set(classes)


def points(svg: str) -> list[tuple[float, float]]:
    tree = ElementTree.fromstring(svg)
    line = next(node for node in tree.iter() if node.tag.endswith("polyline"))
    return [tuple(map(float, pair.split(","))) for pair in str(line.get("points")).split()]  # type: ignore[misc]


def test_the_plot_has_zero_below_all_and_the_largest_on_top() -> None:
    found = points(drift_svg([SERIES]))
    heights = [y for _, y in found]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 3
    assert drift_svg([]) == ""


@pytest.mark.parametrize("series", [Series("a", (5,), (0.0,)), Series("a", (1, 2), (1e-300, 1e300))])
def test_the_plot_of_the_extreme(series: Series) -> None:
    assert all(math.isfinite(number) for point in points(drift_svg([series])) for number in point)


def test_the_terminal_shows_one_screen() -> None:
    many = Verdict(case="x", outcome=Outcome.DIFFERENT, reasons=tuple(f"reason {n}" for n in range(30)))
    shown = []
    for everything in (False, True):
        console = Console(file=io.StringIO(), width=200)
        text.show([FULL, many], console, everything)
        shown.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert "22 more reasons: --all shows them" in shown[0]
    assert "reason 29" not in shown[0]
    assert "reason 29" in shown[1]
    assert "module body.0: its inputs agree" in shown[0]
    assert (
        "output float32[2, 3]: 2 of 6 elements differ, relative error inf, at most 3 ULP, the first at [1, 0]"
        in shown[0]
    )
