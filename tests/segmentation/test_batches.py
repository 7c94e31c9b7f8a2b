"""Batches of an arm: the same labeled images for all, streams in equal shares, the same for any number of processes."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from pipelines.runtime.errors import ParamsError
from pipelines.runtime.trainer import Step
from segmentation.augmentations import partners, photometric
from segmentation.batches import ARMS, Kind, Pool, Pools, check_pools, interleave, make_batch, one_hot
from segmentation.system import Batch
from tests.support.segmenter import pictures

IMAGES, LABELS = pictures(12, 32)


def make_pools(arm: str, labeled: int = 4, classes: int = 1) -> Pools:
    rest = list(range(labeled, 12))
    pools: dict[Kind, Pool] = {kind: Pool(IMAGES, rest, [f"{kind}-{r}" for r in rest]) for kind in ARMS[arm].streams}
    own = Pool(IMAGES, list(range(labeled)), [str(r) for r in range(labeled)])
    return Pools(own, LABELS, pools, classes, ARMS[arm].weight)


def step(index: int = 0, rank: int = 0, world: int = 1) -> Step:
    return Step(index, 0.0, 0, torch.device("cpu"), rank, world)


def rows_of(batch: Batch) -> dict[str, torch.Tensor]:
    assert batch.unlabeled is not None
    found = {"images": batch.images, "masks": batch.masks}
    more = {f.name: getattr(batch.unlabeled, f.name) for f in fields(batch.unlabeled) if f.name != "weight"}
    for name in ("strong", "boxes"):
        more |= {f"{name}/{view}": value for view, value in enumerate(more.pop(name))}
    return found | more


def test_arms_see_the_same_labeled_images() -> None:
    batches = [make_batch(make_pools(arm), step(3), 4, 4) for arm in ("supervised", "control", "real", "both")]
    for batch in batches[1:]:
        assert torch.equal(batch.images, batches[0].images)
        assert torch.equal(batch.masks, batches[0].masks)
    assert batches[0].unlabeled is None
    control, real = batches[1].unlabeled, batches[2].unlabeled
    assert control is not None
    assert real is not None
    assert torch.equal(control.strong[0], real.strong[0])
    assert (control.weight, real.weight) == (0.0, 1.0)


def test_a_strong_labeled_view_moves_no_mask() -> None:
    pools = make_pools("real")
    weak, strong = (make_batch(pools, step(2), 4, 4, view) for view in ("weak", "strong"))  # type: ignore[arg-type]
    assert torch.equal(weak.images, make_batch(pools, step(2), 4, 4).images)
    assert torch.equal(weak.masks, strong.masks)
    assert not torch.equal(weak.images, strong.images)
    assert 0.0 <= float(strong.images.min()) <= float(strong.images.max()) <= 1.0
    seen = [
        torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]
        for a, b in zip(weak.images, strong.images, strict=True)
    ]
    assert min(seen) > 0.7  # the same places, no box cut out
    assert weak.unlabeled is not None
    assert strong.unlabeled is not None
    assert torch.equal(weak.unlabeled.weak, strong.unlabeled.weak)


def test_both_is_half_and_half_in_pairs_of_one_stream() -> None:
    batch = make_batch(make_pools("both"), step(), 2, 8)
    assert batch.unlabeled is not None
    assert batch.unlabeled.synthetic.tolist() == [False, False, True, True] * 2
    assert [name.split("-")[0] for name in batch.names[2:]] == ["real", "real", "synthetic", "synthetic"] * 2


@pytest.mark.parametrize(("arm", "unlabeled"), [("real", 4), ("both", 8)])
def test_processes_share_one_batch(arm: str, unlabeled: int) -> None:
    """With its partners: the smallest sizes that `check_pools` admits for two processes."""
    pools = replace(make_pools(arm), views=2)
    check_pools(pools, arm, 4, unlabeled, 2)
    whole = rows_of(make_batch(pools, step(5), 4, unlabeled))
    parts = [rows_of(make_batch(pools, step(5, rank, 2), 4, unlabeled)) for rank in (0, 1)]
    for name, value in whole.items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), value, msg=name)
        torch.testing.assert_close(torch.cat([partners(part[name]) for part in parts]), partners(value), msg=name)


def test_padding_of_a_letterbox_is_not_valid() -> None:
    """The right half of every real image is padding: valid there is 0 through flip, crop and shift."""
    half = {"inner_top": "0", "inner_left": "0", "inner_height": "32", "inner_width": "16"}
    plain = make_pools("both")
    real = plain.unlabeled["real"]
    marked = np.zeros_like(IMAGES)
    marked[:, :, :16] = 255  # white image, black padding
    padded = Pool(marked, real.rows, real.names, [half] * len(real.rows))
    pools = replace(plain, unlabeled={**plain.unlabeled, "real": padded})
    found, usual = make_batch(pools, step(), 4, 8).unlabeled, make_batch(plain, step(), 4, 8).unlabeled
    assert found is not None
    assert usual is not None
    real_rows = ~found.synthetic
    valid, weak = found.valid[real_rows], found.weak[real_rows]
    # the nearest pixel has at least half of the bilinear weight along each side
    assert float(weak[valid == 1].min()) > 0.2499
    assert float(weak[valid == 0].max()) < 0.5001
    assert 0.2 < float(valid.mean()) < 0.8
    assert float(usual.valid[real_rows].mean()) > float(valid.mean())
    assert torch.equal(found.valid[found.synthetic], usual.valid[found.synthetic])


def test_a_full_square_is_as_valid_as_no_square() -> None:
    plain = make_pools("real")
    real = plain.unlabeled["real"]
    full = {"inner_top": "0", "inner_left": "0", "inner_height": "32", "inner_width": "32"}
    pools = replace(plain, unlabeled={"real": replace(real, cases=[full] * len(real.rows))})
    one, two = rows_of(make_batch(plain, step(), 4, 4)), rows_of(make_batch(pools, step(), 4, 4))
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_strong_views_are_mixed_by_their_own_boxes_and_keep_the_geometry() -> None:
    plain = make_pools("real")
    pools = replace(plain, views=2)
    boxes_differ = 0
    for index in range(4):
        found, single = make_batch(pools, step(index), 4, 8).unlabeled, make_batch(plain, step(index), 4, 8).unlabeled
        assert found is not None
        assert single is not None
        assert len(found.strong) == len(found.boxes) == 2
        assert len(single.strong) == len(single.boxes) == 1
        assert torch.equal(found.weak, single.weak)  # a second view changes nothing of the first
        assert torch.equal(found.strong[0], single.strong[0])
        assert torch.equal(found.boxes[0], single.boxes[0])
        boxes_differ += int(not torch.equal(*found.boxes))
        draws = step(index).draws(8)
        for view, stream in enumerate(("unlabeled", "unlabeled/1")):
            alone = photometric(found.weak, draws, stream)
            expected = torch.where(found.boxes[view], partners(alone), alone)
            assert torch.equal(found.strong[view], expected)
        assert not torch.equal(*found.strong)
    assert boxes_differ == 4


@pytest.mark.parametrize("labeled", [1, 3, 6])
def test_batches_of_all_fractions_have_one_size_and_repeat(labeled: int) -> None:
    pools = make_pools("real", labeled)
    one, two = (make_batch(pools, step(7), 4, 4) for _ in range(2))
    assert one.images.shape == (4, 1, 32, 32)
    assert all(torch.equal(a, b) for a, b in zip(rows_of(one).values(), rows_of(two).values(), strict=True))
    other = make_batch(pools, step(8), 4, 4)
    assert not torch.equal(other.images, one.images)


def test_values_and_geometry() -> None:
    batch = make_batch(make_pools("real"), step(), 4, 4)
    assert batch.unlabeled is not None
    for images in (batch.images, batch.unlabeled.weak, *batch.unlabeled.strong):
        assert 0.0 <= float(images.min()) < float(images.max()) <= 1.0
    assert batch.masks.unique().tolist() == [0.0, 1.0]
    outside = batch.unlabeled.valid == 0
    assert float(batch.unlabeled.weak[outside].abs().max() if outside.any() else 0.0) < 0.5
    # dark inside, bright outside: mask and image moved together
    inside = batch.images[batch.masks > 0].mean()
    assert float(inside) < float(batch.images[batch.masks == 0].mean())


def test_one_hot_and_classes_stay_a_partition() -> None:
    labels = torch.tensor([[[0, 1], [2, 0]]], dtype=torch.uint8)
    assert one_hot(labels, 1)[0, 0].tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert one_hot(labels, 3)[0].argmax(dim=0).tolist() == [[0, 1], [2, 0]]
    masks = make_batch(make_pools("supervised", classes=3), step(), 4, 4).masks
    assert torch.equal(masks.sum(dim=1), torch.ones(4, 32, 32))


def test_interleave() -> None:
    assert interleave([[0, 0, 0], [0, 0]]) == [0, 1, 3, 4, 2]
    assert interleave([[9] * 4]) == [0, 1, 2, 3]


def test_impossible_arms_are_refused() -> None:
    empty = make_pools("both")
    check_pools(empty, "both", 3, 6)
    with pytest.raises(ParamsError, match=r"batch_unlabeled .* multiple of 2 .*found 5; make it 6$"):
        check_pools(empty, "both", 3, 5)
    nothing = Pools(empty.labeled, LABELS, {"real": Pool(IMAGES, [], [])}, 1, 1.0)
    with pytest.raises(ParamsError, match="label_fraction"):
        check_pools(nothing, "real", 4, 4)


@pytest.mark.parametrize(("arm", "labeled", "unlabeled"), [("both", 4, 8), ("real", 4, 4), ("supervised", 4, 3)])
def test_two_processes_share_whole_pairs(arm: str, labeled: int, unlabeled: int) -> None:
    check_pools(make_pools(arm), arm, labeled, unlabeled, 2)


@pytest.mark.parametrize(
    ("arm", "labeled", "unlabeled", "said"),
    [
        ("both", 4, 4, "batch_unlabeled .* multiple of 8 .2 streams, 2 processes.*found 4; make it 8, or start fewer"),
        ("real", 4, 6, "batch_unlabeled .* multiple of 4 .1 stream, 2 processes.*found 6; make it 8"),
        ("supervised", 6, 4, "batch_labeled .* multiple of 4 .2 processes.*found 6; make it 8"),
    ],
)
def test_torn_pairs_are_refused(arm: str, labeled: int, unlabeled: int, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        check_pools(make_pools(arm), arm, labeled, unlabeled, 2)


def test_every_arm_of_params_is_known() -> None:
    from pipelines.params.root import ArmsParams

    named = {arm for kinds in ("plain", "synthetic", "phantom") for arm in _choices(ArmsParams, kinds)}
    assert named == set(ARMS)


def _choices(block: type, name: str) -> tuple[str, ...]:
    from typing import get_args

    return get_args(get_args(block.model_fields[name].annotation)[0])  # type: ignore[attr-defined]
