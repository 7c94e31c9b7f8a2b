from types import SimpleNamespace

import numpy as np

from pipelines.report import audited
from pipelines.report.figures import png
from pipelines.report.gather import Audit, Picture


def found(**metrics):
    picture = Picture("s3", "c1", flagged=True, metric="pixels", png=png(np.zeros((8, 400), np.uint8)))
    verdict = {"verdict": "fail", "reasons": ["hard copies"], "warnings": []}
    return SimpleNamespace(audit=Audit(verdict, metrics, samples=10, kept=9, pictures=[picture]))


NONE = SimpleNamespace(audit=None)


def test_verdict_comes_with_its_meaning():
    assert audited.verdict(found())["reasons"] == ["hard copies"]
    assert "refused" in audited.verdict(found())["meaning"]
    assert audited.verdict(NONE)["word"] == "not run"


def test_every_word_of_the_audit_has_a_meaning():
    assert set(audited.MEANING) == {"pass", "inconclusive", "fail", "not run"}


def test_fidelity_shows_floor_and_reference_and_keeps_undefined_ones():
    rows = audited.fidelity(found(kid=0.1, kid_floor=None, kid_real=0.01, recall=0.5))
    assert [value for _, value in rows] == [0.1, None, 0.01]
    assert "floor" in rows[1][0]
    assert audited.fidelity(NONE) == []


def test_excess_leaves_out_what_has_no_bounds():
    table = {"pixels": {"value": 0.1, "low": 0.0, "high": 0.2}, "latents": {"value": None, "low": None, "high": None}}
    assert audited.excess(found(excess=table)) == [{"metric": "pixels", "value": 0.1, "low": 0.0, "high": 0.2}]


def test_planted_copies_by_transform():
    table = {"shift_4": {"found": 3, "count": 4, "required": 0.99, "recall": 0.75}}
    assert audited.planted(found(planted=table)) == [{"name": "shift 4", "found": 3, "count": 4, "required": 0.99}]


def test_pictures_carry_their_own_width_and_caption():
    (picture,) = audited.pictures(found(), "phantom")
    assert picture["width"] == 400
    assert picture["caption"] == "s3 (flagged by pixels), nearest phantom training image c1, difference"
    assert audited.pictures(NONE, "real") == []


def test_flat_names_nested_numbers():
    assert audited.flat({"b": {"c": None, "a": 0.123456}, "a": True}) == [
        ("a", "True"),
        ("b.a", "0.1235"),
        ("b.c", "none"),
    ]
