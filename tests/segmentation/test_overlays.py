import numpy as np

from segmentation import overlays


def squares() -> tuple[np.ndarray, np.ndarray]:
    prediction, target = np.zeros((2, 64, 64), bool)
    prediction[10:30, 10:30] = True
    target[10:30, 20:40] = True
    return prediction, target


def test_hits_and_misses_color_the_three_regions():
    prediction, target = squares()
    picture = overlays.hits_and_misses(np.zeros((64, 64), np.uint8), prediction, target)
    assert picture.shape == (256, 256, 3)
    at = picture[4 * 20, [4 * 15, 4 * 25, 4 * 35, 4 * 50]]
    assert at[0].tolist() == [round(0.55 * c) for c in overlays.FALSE]
    assert at[1].tolist() == [round(0.30 * c) for c in overlays.HIT]
    assert at[2].tolist() == [round(0.55 * c) for c in overlays.MISSED]
    assert at[3].tolist() == [0, 0, 0]
    assert picture[40, 80].tolist() == list(overlays.OUTLINE)


def test_overlay_keeps_a_large_image_at_its_size_and_shows_three_panels():
    prediction, target = (np.pad(mask, 100) for mask in squares())
    picture = overlays.overlay(np.full((264, 264), 90, np.uint8), prediction, target, np.zeros((264, 264)))
    assert picture.shape == (264, 3 * 264 + 2 * overlays.GAP, 3)
    assert (picture[:, :264] == 90).all()
    assert picture[5, -1].tolist() == [0, 0, 4]


def test_heat_runs_from_dark_to_light_and_saturates():
    colors = overlays.heat(np.array([[0.0, 0.5, 1.0, 9.0]]), 1.0)[0]
    assert colors.sum(axis=1).tolist() == sorted(colors.sum(axis=1).tolist())
    assert colors[2].tolist() == colors[3].tolist() == [252, 255, 164]
