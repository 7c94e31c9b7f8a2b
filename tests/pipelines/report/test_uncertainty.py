import json
from dataclasses import replace

import numpy as np
import pytest

from pipelines.report import uncertainty
from pipelines.report.render import page
from pipelines.report.table import arm_rows
from segmentation.statistics import reliability
from segmentation.uncertainty import seed_agreement
from tests.support.report_world import doubt, gathered, line


def metrics(block, mode="refine", **more):
    return {"modes": {mode: {"lesion": {"uncertainty": block}}}} | more


def agreeing(deterministic, share):
    return {
        "seeds": 4,
        "mean": 0.001,
        "max": 0.02,
        "image_max": 0.01,
        "of_entropy": share,
        "deterministic": deterministic,
    }


def test_seeds_are_averaged_and_the_gain_is_that_of_the_areas():
    first, second = doubt(0.6), doubt(0.8, auroc=None)
    second["referral"] |= {"area": 0.03, "oracle_area": 0.03}
    found = uncertainty.averaged([first, second])
    assert (found["auroc"], found["auroc_box"], found["images"]) == (0.9, 0.7, 5)
    assert [row["uncertainty"] for row in found["table"]] == pytest.approx([0.7, 0.705, 0.71, 0.72, 0.73])
    assert found["table"][4]["oracle"] == pytest.approx(0.76)
    assert found["of_oracle"] == pytest.approx(0.04 / 0.05)  # not the mean of 0.5 and 1
    flat = doubt(1.0)
    flat["referral"] |= {"area": 0.0, "oracle_area": 0.0, "of_oracle": None}
    assert uncertainty.averaged([flat])["of_oracle"] is None


def test_a_line_per_arm_and_mode_that_has_numbers():
    rows = [line("a1", 0.5), line("a1", 0.5, mode="direct")]
    cells = {("real", 0): rows, ("control", 0): rows}
    found = gathered(cells, ("real", "control", "both"), (0,), real=metrics(doubt()))
    (only,) = uncertainty.section(found)["lines"]
    assert (only["arm"], only["mode"], only["foreground"]) == ("real", "refine", "lesion")
    assert uncertainty.section(found)["shares"] == [0.0, 0.05, 0.1, 0.2, 0.3]


def test_a_page_without_numbers_on_uncertainty_has_no_table():
    found = gathered({("real", 0): [line("a1", 0.5)]}, ("real",), (0,))
    assert uncertainty.section(found) == {"shares": [], "lines": [], "agreement": []}
    found.dataset = {"name": "busi", "phantom": False, "terms": "", "citation": ""}
    found.selection.blocks["segmenter.system"] = "unet"
    assert 'id="uncertainty"' not in page(found, arm_rows(found, 100), partial=True)


def test_the_numbers_stand_on_the_page():
    found = gathered({("real", 0): [line("a1", 0.5)]}, ("real",), (0,), real=metrics(doubt(0.512)))
    found.dataset = {"name": "busi", "phantom": False, "terms": "", "citation": ""}
    found.selection.blocks["segmenter.system"] = "unet"
    html = page(found, arm_rows(found, 100), partial=True)
    table = html[html.index('id="uncertainty"') :]
    table = table[: table.index("</table>")]
    for text in ("0.900", "0.700", "Dice of all", "5% referred", "30% referred", "0.542", "0.572", "50%"):
        assert text in table


@pytest.mark.parametrize(("agree", "word"), [(True, "effectively deterministic"), (False, "the samples differ")])
def test_agreement_of_seeds_is_one_sentence(agree, word):
    found = gathered({("real", seed): [line("a1", 0.5)] for seed in (0, 1)}, ("real",), (0, 1))
    cells = [found.cells["real", seed] for seed in (0, 1)]
    assert uncertainty.agreement("real", cells) == []
    for seed, (agrees, share) in enumerate(((True, 0.002), (agree, 0.004))):
        found.cells["real", seed] = replace(cells[seed], metrics={"seed_agreement": agreeing(agrees, share)})
    (sentence,) = uncertainty.section(found)["agreement"]
    assert sentence.startswith("real: disagreement between the 4 samples of an image makes up 0.30% of the entropy")
    assert "at most 0.020 in any pixel" in sentence
    assert word in sentence


def test_what_evaluate_writes_is_what_the_page_reads():
    """The page imports nothing of the segmenters, so the two meet in this file of JSON."""
    rng = np.random.default_rng(0)
    scores = {"error_auroc": 0.9, "error_auroc_box": 0.8, "target_area": 0.1, "empty": "", "empty_native": ""}
    rows = [scores | {"dice": float(d), "uncertainty": 1 - float(d)} for d in rng.random(20)]
    pooled = {"error_auroc": 0.9, "error_auroc_box": None}
    block = json.loads(json.dumps({"pooled": pooled, **reliability(rows)}))
    agreed = json.loads(json.dumps({"seeds": 4, **seed_agreement(np.zeros((1, 1, 2, 2)), np.ones((1, 2, 2)))}))
    found = gathered({("real", 0): [line("a1", 0.5)]}, ("real",), (0,), real=metrics(block, seed_agreement=agreed))
    shown = uncertainty.section(found)
    assert shown["lines"][0]["of_oracle"] == pytest.approx(1.0)
    assert (shown["lines"][0]["images"], shown["lines"][0]["auroc_box"]) == (20, None)
    assert "makes up 0.00% of the entropy" in shown["agreement"][0]
