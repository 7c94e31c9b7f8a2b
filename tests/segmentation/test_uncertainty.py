import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from segmentation import uncertainty
from segmentation.losses import entropy
from segmentation.uncertainty import (
    BINS,
    SHARES,
    entropy_map,
    error_histogram,
    histogram_auroc,
    image_uncertainty,
    pixel_error_auroc,
    referral_curve,
    retained,
    seed_agreement,
)


def test_entropy_by_hand_and_as_the_networks_have_it():
    p = np.array([[[0.0, 1.0, 0.5, 0.25]]], np.float32)
    expected = -(0.25 * np.log2(0.25) + 0.75 * np.log2(0.75))
    assert entropy_map(p)[0] == pytest.approx([0.0, 0.0, 1.0, expected])
    for classes in (1, 3):
        logits = 6.0 * torch.randn((1, classes, 16, 16), generator=torch.Generator().manual_seed(0))
        q = logits.sigmoid() if classes == 1 else logits.softmax(dim=1)
        assert entropy_map(q[0].numpy()) == pytest.approx(entropy(q)[0, 0].numpy(), abs=1e-6)


def test_auroc_by_hand():
    doubt = np.array([[0.1, 0.4], [0.35, 0.8]])
    assert pixel_error_auroc(doubt, np.array([[False, False], [True, True]])) == 0.75  # 3 of 4 pairs in order
    assert pixel_error_auroc(doubt, np.array([[False, True], [False, True]])) == 1.0
    assert pixel_error_auroc(doubt, np.array([[True, False], [True, False]])) == 0.0
    # pairs (0.5, 0.5), (0.5, 0.2), (0.9, 0.5), (0.9, 0.2): one half, three won
    assert pixel_error_auroc(np.array([0.5, 0.5, 0.9, 0.2]), np.array([True, False, True, False])) == 3.5 / 4


def test_auroc_of_equal_values_is_chance_and_of_one_kind_is_none():
    doubt = np.full((4, 4), 0.3)
    assert pixel_error_auroc(doubt, np.eye(4, dtype=bool)) == 0.5
    assert pixel_error_auroc(doubt, np.zeros((4, 4), bool)) is None
    assert pixel_error_auroc(doubt, np.ones((4, 4), bool)) is None
    assert histogram_auroc(error_histogram(doubt, np.ones((4, 4), bool))) is None
    with pytest.raises(ValueError, match="one shape"):
        pixel_error_auroc(doubt, np.zeros((4, 5), bool))
    with pytest.raises(ValueError, match="bool"):
        pixel_error_auroc(doubt, np.zeros((4, 4)))


def test_auroc_of_two_normal_distributions():
    """Phi(d / sqrt 2) for two unit normals d apart, squeezed into [0, 1], which changes no rank."""
    rng = np.random.default_rng(0)
    doubt = norm.cdf(np.concatenate([rng.normal(0.0, 1.0, 60_000), rng.normal(1.0, 1.0, 20_000)]))
    wrong = np.arange(80_000) >= 60_000
    exact = pixel_error_auroc(doubt, wrong)
    assert exact == pytest.approx(norm.cdf(1.0 / np.sqrt(2.0)), abs=0.01)
    assert histogram_auroc(error_histogram(doubt, wrong)) == pytest.approx(exact, abs=2e-3)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_share_of_pairs_in_order(pixels):
    doubt, wrong = (np.array(column) for column in zip(*pixels, strict=True))
    pairs = [(a > b) + 0.5 * (a == b) for a in doubt[wrong] for b in doubt[~wrong]]
    expected = pytest.approx(np.mean(pairs)) if pairs else None
    assert pixel_error_auroc(doubt, wrong) == expected
    turned = pixel_error_auroc(-doubt, wrong)
    assert turned == (pytest.approx(1.0 - np.mean(pairs)) if pairs else None)


def test_histograms_add_up_and_keep_small_values_apart():
    """A background of 1e-6 and errors of 1e-4 lie in different bins, which equal widths would not give."""
    doubt = np.array([1e-6, 1e-4, 0.0, 1.0], np.float32)
    first = error_histogram(doubt[:2], np.array([False, True]))
    second = error_histogram(doubt[2:], np.array([False, True]))
    assert first.shape == (2, BINS)
    assert histogram_auroc(first) == 1.0
    assert np.array_equal(first + second, error_histogram(doubt, np.array([False, True, False, True])))
    assert (second[0, 0], second[1, BINS - 1]) == (1, 1)  # the ends of [0, 1]
    below = error_histogram(np.array([1e-3, 1e-3 * 1.02]), np.array([False, True]))
    assert histogram_auroc(below) == 1.0


def test_image_uncertainty_by_hand():
    mask = np.array([[True, True], [False, False]])
    assert image_uncertainty(mask, mask.astype(np.float32)) == 0.0
    p = np.array([[0.75, 0.75], [0.25, 0.25]], np.float32)
    assert image_uncertainty(mask, p) == pytest.approx(1.0 - 3.0 / 4.0)
    assert image_uncertainty(np.zeros((2, 2), bool), p / 4) == 1.0
    assert image_uncertainty(np.zeros((2, 2), bool), np.zeros((2, 2), np.float32)) == 1.0


def test_image_uncertainty_is_the_expected_loss_of_dice_where_the_map_is_true():
    """Pixels drawn from the map itself: the promised Dice is the mean Dice, whatever the size of the lesion."""
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[:48, :48]
    for radius in (6, 18):
        p = 1.0 / (1.0 + np.exp((np.hypot(yy - 24, xx - 24) - radius) / 2.0))
        mask = p >= 0.5
        targets = rng.random((400, 48, 48)) < p
        dice = 2.0 * (targets & mask).sum(axis=(1, 2)) / (targets.sum(axis=(1, 2)) + mask.sum())
        assert image_uncertainty(mask, p) == pytest.approx(1.0 - dice.mean(), abs=3e-3)


def test_referral_by_hand():
    dice, doubt = [0.2, 0.9, 0.8, 0.7, 0.4], [0.9, 0.1, 0.2, 0.8, 0.3]
    assert retained(np.array(dice), np.array(doubt)) == pytest.approx([0.6, 0.7, 0.7, 0.85, 0.9])
    found = referral_curve(dice, doubt, (0.0, 0.2, 0.4))
    assert found["images"] == 5
    assert [line["referred"] for line in found["table"]] == [0, 1, 2]
    assert [line["uncertainty"] for line in found["table"]] == pytest.approx([0.6, 0.7, 0.7])
    assert [line["random"] for line in found["table"]] == pytest.approx([0.6, 0.6, 0.6])
    assert [line["oracle"] for line in found["table"]] == pytest.approx([0.6, 0.7, 0.8])
    # trapezoids of width 1/5: (0 + 0.1)/2 + (0.1 + 0.1)/2 and (0 + 0.1)/2 + (0.1 + 0.2)/2
    assert found["area"] == pytest.approx(0.15 / 5)
    assert found["oracle_area"] == pytest.approx(0.2 / 5)
    assert found["of_oracle"] == pytest.approx(0.75)


def test_referral_of_the_best_first_is_worse_than_chance():
    dice = [0.1, 0.5, 0.6, 0.9]
    assert referral_curve(dice, dice, (0.0, 0.5))["of_oracle"] < 0
    assert referral_curve(dice, [-d for d in dice], (0.0, 0.5))["of_oracle"] == pytest.approx(1.0)


def test_ties_are_referred_in_no_order():
    """Two images tie at the top: after one is referred, the rest holds each of them half of the time."""
    found = retained(np.array([0.0, 0.6, 0.9]), np.array([1.0, 1.0, 0.1]))
    assert found == pytest.approx([0.5, (0.3 + 0.9) / 2, 0.9])
    rng = np.random.default_rng(0)
    dice, doubt, order = rng.random(30), rng.integers(0, 4, 30) / 4, rng.permutation(30)
    assert retained(dice[order], doubt[order]) == pytest.approx(retained(dice, doubt))
    equal = referral_curve(dice, np.zeros(30))
    assert equal["area"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_referral_of_few_images_keeps_one(images):
    found = referral_curve([0.5] * images, [0.1] * images)
    assert [line["share"] for line in found["table"]] == list(SHARES)
    assert all(line["uncertainty"] == 0.5 for line in found["table"])
    assert found["of_oracle"] is None


def test_referral_of_nothing_and_of_what_is_no_number():
    assert referral_curve([], []) == {"images": 0, "table": [], "area": None, "oracle_area": None, "of_oracle": None}
    with pytest.raises(ValueError, match="finite"):
        referral_curve([0.5, float("nan")], [0.1, 0.2])
    with pytest.raises(ValueError, match="pair"):
        referral_curve([0.5], [0.1, 0.2])


def test_seed_agreement_by_hand():
    epistemic = np.zeros((2, 1, 2, 2), np.float32)
    epistemic[0, 0, 0, 0], epistemic[1, 0, 1, 1] = 0.2, 0.4
    found = seed_agreement(epistemic, np.full((2, 2, 2), 0.5, np.float32))
    assert found["mean"] == pytest.approx(0.6 / 8)
    assert found["max"] == pytest.approx(0.4)
    assert found["image_max"] == pytest.approx(0.3)
    assert found["of_entropy"] == pytest.approx(0.6 / 4.0)
    assert not found["deterministic"]
    hair = seed_agreement(epistemic * 0.9 * uncertainty.HAIR / 0.15, np.full((2, 2, 2), 0.5))
    assert hair["deterministic"]
    assert seed_agreement(np.zeros((1, 1, 2, 2)), np.zeros((1, 2, 2)))["deterministic"]
