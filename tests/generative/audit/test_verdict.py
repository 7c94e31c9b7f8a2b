"""The verdict on hand-made evidence."""

from dataclasses import replace

import pytest

from generative.audit.memorization import Excess
from generative.audit.verdict import Evidence, Planted, judge
from pipelines.params.audit import AuditParams

PARAMS = AuditParams(
    seed=0, quantile=0.95, ratio=1 / 3, hard_ncc=0.95, max_excess=0.01, max_width=0.02, bootstrap=100, kid_draws=1
)


def bounds(low: float, high: float, chance: float = 1e-6) -> dict[str, Excess]:
    quiet = Excess(0.0, -0.004, 0.004, 0.05, 0.05, 0.5)
    return {"pixels": quiet, "features": Excess((low + high) / 2, low, high, 0.05, 0.05, chance), "latents": quiet}


CLEAN = Evidence(
    excess=bounds(-0.008, 0.009),
    excess_smooth=bounds(-0.008, 0.009),
    hard_kept=[],
    dropped=0,
    total=4000,
    false_alarms=3,
    negatives=3400,
    planted={"identical": Planted(300, 300, 0.99), "zoom": Planted(290, 300, 0.95)},
)


def test_clean_and_decided_evidence_passes() -> None:
    assert judge(CLEAN, PARAMS).verdict == "pass"
    assert judge(CLEAN, PARAMS).reasons == ()
    assert judge(CLEAN, PARAMS).warnings == ()


@pytest.mark.parametrize(
    ("change", "verdict", "words"),
    [
        ({"excess": bounds(0.011, 0.03), "excess_smooth": bounds(0.011, 0.03)}, "fail", "features: +2.0%"),
        ({"excess": bounds(0.010, 0.035), "excess_smooth": bounds(0.010, 0.035)}, "inconclusive", "2.5% wide"),
        (
            {"excess": bounds(0.2, 0.3), "excess_smooth": bounds(-0.05, 0.05)},
            "inconclusive",
            "as smooth as the samples",
        ),
        ({"excess": bounds(0.1, 0.3, 0.02), "excess_smooth": bounds(0.1, 0.3)}, "inconclusive", "20.0% wide"),
        ({"excess": bounds(0.011, 0.03, 0.02), "excess_smooth": bounds(0.0, 0.01)}, "inconclusive", "may be chance"),
        ({"negatives": 453, "false_alarms": 12}, "inconclusive", "12 of 453"),
        ({"excess": bounds(-0.05, 0.05)}, "inconclusive", "10.0% wide"),
        ({"excess": bounds(-0.08, -0.07)}, "pass", ""),  # farther from train than real patients are from each other
        ({"hard_kept": ["s000007"]}, "fail", "s000007"),
        ({"negatives": 499, "false_alarms": 0}, "inconclusive", "499 real images"),
        ({"negatives": 500, "false_alarms": 1}, "pass", ""),
        ({"negatives": 500, "false_alarms": 2}, "inconclusive", "2 of 500"),
        ({"negatives": 3400, "false_alarms": 24}, "pass", ""),
        ({"negatives": 3400, "false_alarms": 25}, "inconclusive", "25 of 3400"),
        ({"planted": {}}, "inconclusive", "none were tried"),
        ({"planted": {"identical": Planted(299, 299, 0.99)}}, "inconclusive", "299 per transform"),
        ({"planted": {"identical": Planted(296, 300, 0.99)}}, "inconclusive", "identical 296/300"),
        ({"planted": {"identical": Planted(297, 300, 0.99)}}, "pass", ""),
        ({"excess": {}, "excess_smooth": {}, "dropped": 4000}, "inconclusive", "no sample was kept"),
    ],
)
def test_table(change: dict[str, object], verdict: str, words: str) -> None:
    found = judge(replace(CLEAN, **change), PARAMS)  # type: ignore[arg-type]
    assert found.verdict == verdict, found.reasons
    assert words in " ".join(found.reasons)
    assert bool(found.reasons) == (verdict != "pass")


def test_failing_outranks_all_that_is_undecided() -> None:
    evidence = replace(CLEAN, hard_kept=["s1"], negatives=3, planted={}, excess=bounds(-0.5, 0.5))
    assert judge(evidence, PARAMS).verdict == "fail"
    assert len(judge(evidence, PARAMS).reasons) == 1


@pytest.mark.parametrize(("dropped", "warned"), [(800, False), (801, True)])
@pytest.mark.parametrize("hard_kept", [[], ["s1"]])
def test_many_dropped_samples_warn_with_any_verdict(dropped: int, warned: bool, hard_kept: list[str]) -> None:
    found = judge(replace(CLEAN, dropped=dropped, hard_kept=hard_kept), PARAMS)
    assert bool(found.warnings) == warned
    assert found.verdict == ("fail" if hard_kept else "pass")
