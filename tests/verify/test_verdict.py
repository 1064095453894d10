"""From what was found to one outcome, and from outcomes to an exit code."""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

import pytest

from migrate.verify.verdict import Divergence, Guard, Outcome, WaiverUse, decide, worst
from migrate.verify.waivers import Waiver, apply

TODAY = datetime.date(2026, 5, 1)
DIFFERENT = Divergence(3, "clip", "clip", "1 max_norm", "0.5", "1.0", error=1.0)
WAIVED, TOLERATED = (dataclasses.replace(DIFFERENT, **one) for one in ({"waiver": "W1"}, {"tolerated": True}))
EMPTY, MET = Guard("steps", False, "2 steps, at least 10 are asked"), Guard("steps", True, "12 steps")
USED, STALE = WaiverUse("W1", "a reason", 1), WaiverUse("W2", "another", 0, "nothing needed it")


@pytest.mark.parametrize(
    ("given", "outcome", "code"),
    [
        pytest.param({}, Outcome.IDENTICAL, 0, id="nothing"),
        pytest.param({"guards": [MET]}, Outcome.IDENTICAL, 0, id="guards hold"),
        pytest.param({"divergences": [WAIVED], "waivers": [USED]}, Outcome.WITHIN_TOLERANCE, 0, id="waived"),
        pytest.param({"divergences": [TOLERATED], "tolerance": "why"}, Outcome.WITHIN_TOLERANCE, 0, id="tolerated"),
        pytest.param({"divergences": [WAIVED, DIFFERENT], "waivers": [USED]}, Outcome.DIFFERENT, 1, id="one is open"),
        pytest.param({"divergences": [DIFFERENT], "guards": [EMPTY]}, Outcome.DIFFERENT, 1, id="different, vacuous"),
        pytest.param({"obstacles": ["cut"], "divergences": [DIFFERENT]}, Outcome.INCONCLUSIVE, 3, id="incomplete"),
        pytest.param({"guards": [EMPTY], "waivers": [STALE]}, Outcome.VACUOUS, 4, id="vacuous"),
        pytest.param({"waivers": [STALE]}, Outcome.STALE_WAIVER, 5, id="stale"),
    ],
)
def test_the_gravest_finding_decides(given: dict[str, Any], outcome: Outcome, code: int) -> None:
    nothing: dict[str, Any] = {"obstacles": [], "divergences": [], "guards": [], "waivers": []}
    found, reasons = decide(**(nothing | given))
    assert (found, found.exit_code) == (outcome, code)
    assert bool(reasons) == (outcome is not Outcome.IDENTICAL)


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], Outcome.VACUOUS),
        ([Outcome.IDENTICAL, Outcome.WITHIN_TOLERANCE], Outcome.WITHIN_TOLERANCE),
        ([Outcome.VACUOUS, Outcome.INCONCLUSIVE, Outcome.DIFFERENT], Outcome.DIFFERENT),
        ([Outcome.STALE_WAIVER, Outcome.VACUOUS, Outcome.IDENTICAL], Outcome.VACUOUS),
    ],
)
def test_of_several_the_worst_decides(outcomes: list[Outcome], expected: Outcome) -> None:
    assert worst(outcomes) is expected


@pytest.mark.parametrize(
    ("changed", "covered"),
    [
        pytest.param({}, True, id="fits"),
        pytest.param({"channel": "hyper"}, False, id="other channel"),
        pytest.param({"keys": "1 .*"}, True, id="key fits"),
        pytest.param({"keys": "max_norm"}, False, id="key fits in part"),
        pytest.param({"first_step": 4}, False, id="too early"),
        pytest.param({"last_step": 2}, False, id="too late"),
        pytest.param({"bound": 1.0}, True, id="at the bound"),
        pytest.param({"bound": 0.99}, False, id="above the bound"),
        pytest.param({"expires": TODAY}, True, id="last day"),
        pytest.param({"expires": TODAY - datetime.timedelta(1)}, False, id="expired"),
    ],
)
def test_a_waiver_covers_what_it_says(changed: dict[str, Any], covered: bool) -> None:
    given = {"id": "W1", "reason": "why", "channel": "clip", "expires": TODAY} | changed
    marked, uses = apply([Waiver(**given)], [DIFFERENT], TODAY)
    assert marked[0].waiver == ("W1" if covered else None)
    assert (uses[0].stale is None) == covered


def test_a_bound_does_not_cover_what_has_no_number() -> None:
    waiver = Waiver(id="W1", reason="why", channel="clip", expires=TODAY, bound=1e9)
    assert not waiver.covers(dataclasses.replace(DIFFERENT, error=None), TODAY)
