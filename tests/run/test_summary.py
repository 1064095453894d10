"""The numbers of a summary against values worked out by hand, and what its files say."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from bem_core.config import ExperimentConfig
from bem_core.experiments import plots, report
from bem_core.experiments.jobs import ExperimentsError
from bem_core.experiments.results import Outcome, read_curves, read_records
from bem_core.experiments.summary import Contrast, lower_is_better, summarize

SEEDS = range(1, 9)
BASE = [1.0, 1.1, 0.9, 1.2, 1.0, 0.8, 1.1, 0.9]


def outcomes(name: str, values: list[float], metric: str = "eval_loss") -> list[Outcome]:
    return [
        Outcome(name, seed, "finished", metrics={metric: value}) for seed, value in zip(SEEDS, values, strict=False)
    ]


def contrast(found: list[Contrast] | tuple[Contrast, ...], name: str, metric: str = "eval_loss") -> Contrast:
    return next(one for one in found if (one.experiment, one.metric) == (name, metric))


def test_levels_by_hand() -> None:
    (level,) = summarize(outcomes("a", [1.0, 2.0, 6.0])).levels
    assert level.mean == pytest.approx(3.0)
    assert level.std == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert level.low is not None
    assert level.high is not None
    # All resamples of three values lie between the least and the greatest one.
    assert 1.0 <= level.low < 3.0 < level.high <= 6.0
    assert level.method == "BCa"


def test_a_signed_permutation_test_by_hand() -> None:
    """All eight differences point one way: two of 256 assignments of signs are as far out, so p is 1/128."""
    found = summarize([*outcomes("base", BASE), *outcomes("a", [one - 0.5 for one in BASE])], "base").contrasts
    one = contrast(found, "a")
    assert one.difference == pytest.approx(-0.5)
    assert one.p_value == pytest.approx(2 / 256)
    assert (one.p_holm, one.verdict) == (one.p_value, "better")


def test_holm_is_over_all_comparisons() -> None:
    """p-values 2/256, 2/256 and 1: the first two times 3 and, in their order, at least as much again."""
    runs = [*outcomes("base", BASE), *outcomes("low", [one - 0.5 for one in BASE])]
    runs += [*outcomes("high", [one + 0.25 for one in BASE]), *outcomes("same", BASE)]
    found = summarize(runs, "base").contrasts
    assert contrast(found, "low").p_holm == pytest.approx(6 / 256)
    assert contrast(found, "high").p_holm == pytest.approx(6 / 256)
    assert contrast(found, "same").p_holm == 1
    assert [contrast(found, name).verdict for name in ("low", "high", "same")] == [
        "better",
        "worse",
        "no difference shown",
    ]


def test_the_direction_is_that_of_the_metric() -> None:
    runs = [*outcomes("base", BASE, "eval_accuracy"), *outcomes("a", [one + 0.5 for one in BASE], "eval_accuracy")]
    (one,) = summarize(runs, "base").contrasts
    assert one.verdict == "better"
    assert [lower_is_better(name) for name in ("eval_loss", "eval_perplexity", "accuracy", "latency_p50_ms")] == [
        True,
        True,
        False,
        True,
    ]


def test_a_t_test_by_hand() -> None:
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), t = 2 sqrt(3) on 2 degrees of freedom.

    With 2 degrees p is 1 - t / sqrt(t^2 + 2) = 1 - sqrt(12 / 14).
    """
    runs = [*outcomes("base", [0.0, 0.0, 0.0]), *outcomes("a", [1.0, 2.0, 3.0])]
    (one,) = summarize(runs, "base", test="t").contrasts
    assert one.p_value == pytest.approx(1 - math.sqrt(12 / 14))
    assert one.least_p is None


def test_a_test_that_cannot_be_done_says_why() -> None:
    runs = [*outcomes("base", [1.0, 2.0]), *outcomes("a", [2.0, 3.0])]
    (one,) = summarize(runs, "base", test="t").contrasts
    assert (one.p_value, one.verdict) == (None, "")
    assert "has no spread to judge by" in one.note


def test_only_seeds_that_both_have_are_compared() -> None:
    runs = [*outcomes("base", [1.0, 2.0, 30.0]), *outcomes("a", [2.0, 4.0])]
    (one,) = summarize(runs, "base").contrasts
    assert (one.num_pairs, one.difference) == (2, pytest.approx(1.5))


def test_what_is_missing_is_said() -> None:
    runs = [*outcomes("base", [1.0, math.nan]), Outcome("a", 1, "failed", "error: no data", "runs/a/seed-1")]
    summary = summarize([*runs, *outcomes("b", [1.0])], "base")
    assert summary.counts() == {"finished": 3, "failed": 1}
    (base, other) = summary.levels
    assert (base.left_out, base.method, other.low) == ((2,), "one value", None)
    assert contrast(summary.contrasts, "b").note == "a test needs two seeds that both have"
    text = report.markdown(summary)
    assert "base: not finite, left out: seed 2" in text
    assert "| a | failed | 1 |  |  |  |  | runs/a/seed-1: error: no data |" in text
    json.dumps(summary.to_dict(), allow_nan=False)


def test_few_seeds_are_told_that_they_cannot_show_anything() -> None:
    runs = [*outcomes("base", BASE[:3]), *outcomes("a", [0.1, 0.1, 0.1])]
    assert "the least corrected p that they can give is 0.25" in report.markdown(summarize(runs, "base"))
    many = [*outcomes("base", BASE), *outcomes("a", [one - 0.5 for one in BASE])]
    assert "so few seeds" not in report.markdown(summarize(many, "base"))


def test_gates_are_held_against_means_and_the_baseline() -> None:
    config = ExperimentConfig(quality_gates={"max_loss": 0.8, "min_loss_improvement_pct": 40})
    runs = [*outcomes("base", [1.0, 1.0]), *outcomes("a", [0.5, 0.7])]
    summary = summarize(runs, "base", {"a": config})
    gates = {one.key: (one.status, one.value) for one in summary.gates["a"].results}
    assert gates["quality_gates.max_loss"] == ("pass", pytest.approx(0.6))
    assert gates["quality_gates.min_loss_improvement_pct"] == ("pass", pytest.approx(40.0))


def test_the_baseline_must_be_one_of_the_experiments() -> None:
    with pytest.raises(ExperimentsError, match="'basse' is none of the experiments; did you mean 'base'"):
        summarize(outcomes("base", BASE), "basse")


def write_metrics(folder: Path) -> None:
    records = [{"step": 1, "epoch": 0, "loss": 2.0}, {"step": 1, "epoch": 0, "eval_loss": 1.5}]
    records += [{"step": 2, "epoch": 0, "loss": None}]
    lines = "".join(json.dumps(one) + "\n" for one in records)
    (folder / "metrics.jsonl").write_text(lines + '{"step": 3, "lo')


def test_curves_are_read_while_they_are_written(tmp_path: Path) -> None:
    write_metrics(tmp_path)
    assert read_curves(tmp_path) == {"loss": [(1, 2.0)], "eval_loss": [(1, 1.5)]}
    assert read_records(tmp_path, last_bytes=60) == [{"step": 2, "epoch": 0, "loss": None}]
    assert read_records(tmp_path / "nothing") == []


class Page(HTMLParser):
    """Cells of all tables, what is opened and not closed, and where it leads out of the file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "meta":
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def test_the_page_is_whole_and_needs_nothing_beside_it(tmp_path: Path) -> None:
    curve = {"loss": [(1, 2.0), (2, 1.0)]}
    runs = [*outcomes("<base>", BASE), *outcomes("a", [one - 0.5 for one in BASE])]
    runs.append(Outcome("a", 9, "finished", metrics={"eval_loss": 0.5}, curves=curve))
    summary = summarize(runs, "<base>")
    figures = plots.figures(summary)
    paths = report.write(summary, tmp_path, figures)
    assert [path.name for path in paths] == ["summary.json", "summary.md", "summary.html"]
    page = Page(paths[2].read_text())
    assert page.open == []
    assert "<base>" in page.cells
    assert "better" in page.cells
    assert all(link.startswith("#") for link in page.links)
    assert len(figures) == 2
    for figure in figures:
        ElementTree.fromstring(figure.svg)
    assert json.loads(paths[0].read_text())["comparisons"][0]["verdict"] == "better"


def test_the_same_runs_give_the_same_bytes() -> None:
    summary = summarize(outcomes("a", BASE))
    assert report.html(summary, plots.figures(summary)) == report.html(summary, plots.figures(summary))
