"""Pictures of the report as bytes and text: equal input gives equal bytes, and nothing points outside the page.

Charts are SVG in the color of the surrounding text, so that they read on a light and on a dark page.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = "#010203"  # stands for the page's own text color until the SVG is finished
ARM_COLORS = {
    "supervised": "#6b8afd",
    "control": "#8a94a6",
    "real": "#16a394",
    "synthetic": "#e08a1e",
    "both": "#d6558f",
    "phantom": "#9b6ef3",
    "augmented": "#8a6fb0",
    "all_labels": "#3fa34d",
    "all_labels_synthetic": "#b0892f",
}
OTHER = "#6b8afd"
MOST_POINTS = 400  # of one curve; more cannot be seen
FEW_POINTS = 20


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Bytes as an address that a page can hold inside itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def png(pixels: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) uint8 as PNG without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=False)
    return buffer.getvalue()


def grid(images: np.ndarray, columns: int, tile: int = 128, gap: int = 3) -> np.ndarray:
    """Tiles (N, H, W) uint8 into one (h, w, 2) uint8 picture of gray and alpha; the gaps are transparent.

    Tiles larger than `tile` are reduced with a box filter, smaller ones stand as they are.
    """
    small = [_fit(image, tile) for image in images]
    height, width = small[0].shape
    rows = -(-len(small) // columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 2), np.uint8)
    for index, image in enumerate(small):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = np.stack([image, np.full_like(image, 255)], axis=-1)
    return sheet


def _fit(image: np.ndarray, tile: int) -> np.ndarray:
    longest = max(image.shape)
    if longest <= tile:
        return image
    size = (max(1, round(image.shape[1] * tile / longest)), max(1, round(image.shape[0] * tile / longest)))
    return np.array(Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.BOX))


def evenly(count: int, wanted: int) -> list[int]:
    """At most `wanted` places spread evenly over `count`, the first and the last among them."""
    if count <= wanted:
        return list(range(count))
    return sorted({round(place) for place in np.linspace(0, count - 1, wanted)})


def curve_chart(curves: Mapping[str, Sequence[tuple[int, float]]], title: str) -> str:
    """Loss over steps, one line per series, as SVG text. Series named by an arm get the arm's color."""
    figure, axes = _canvas(4.6, 2.7)
    values = [value for curve in curves.values() for _, value in curve]
    for name, curve in curves.items():
        steps, losses = np.array(curve, dtype=np.float64).T
        color = ARM_COLORS.get(name.rsplit("-", 1)[0], OTHER)
        shown = evenly(len(steps), MOST_POINTS)
        axes.plot(steps[shown], losses[shown], color=color, alpha=0.28, linewidth=0.8)
        axes.plot(steps[shown], running_mean(losses)[shown], color=color, linewidth=1.8, label=name, **dots(shown))
    if values and min(values) > 0 and max(values) / min(values) > 30:
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_title(title, loc="left")
    if len(curves) > 1:
        axes.legend(frameon=False, labelcolor=TEXT)
    return _svg(figure, title)


def dots(shown: Sequence[int]) -> dict[str, Any]:
    """Marks on a curve of few points: without them a single one could not be seen."""
    return {"marker": "o", "markersize": 3.5} if len(shown) <= FEW_POINTS else {}


def running_mean(values: np.ndarray, share: float = 0.05) -> np.ndarray:
    """Centered mean over a window of this share of the curve; the window is cut at the ends."""
    half = max(0, int(len(values) * share / 2))
    total = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    low, high = np.maximum(0, places - half), np.minimum(len(values), places + half + 1)
    return (total[high] - total[low]) / (high - low)


def score_chart(scores: Mapping[str, tuple[Sequence[float], float, float, float]], title: str) -> str:
    """One line per arm: a dot per image, the mean and its interval; as SVG text.

    scores: arm -> (one Dice per image, mean, low, high), all in [0, 1].
    """
    figure, axes = _canvas(7.6, 0.9 + 0.55 * len(scores))
    for place, (arm, (values, mean, low, high)) in enumerate(scores.items()):
        color = ARM_COLORS.get(arm, OTHER)
        ordered = np.sort(np.asarray(values, dtype=np.float64))
        # The golden ratio spreads neighbors in value apart in height, without a draw of random numbers.
        lift = ((np.arange(len(ordered)) * 0.6180339887) % 1.0 - 0.5) * 0.5
        axes.scatter(ordered, place + lift, s=9, color=color, alpha=0.45, linewidths=0)
        axes.plot([low, high], [place, place], color=TEXT, linewidth=2.4, solid_capstyle="butt")
        axes.plot([mean], [place], marker="D", markersize=6, color=color, markeredgecolor=TEXT, markeredgewidth=1.2)
    axes.set_yticks(range(len(scores)), list(scores))
    axes.set_ylim(len(scores) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("Dice of each test image; diamond and bar: mean and 95% interval over groups")
    axes.set_title(title, loc="left")
    return _svg(figure, title)


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(TEXT)
        axes.spines[side].set_alpha(0.5)
    axes.tick_params(colors=TEXT, labelsize=9)
    axes.xaxis.label.set_color(TEXT)
    axes.title.set_color(TEXT)
    axes._left_title.set_color(TEXT)  # type: ignore[attr-defined]
    axes.grid(color=TEXT, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "sonosynth", "svg.fonttype": "none"}):
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    prefix = re.sub(r"\W+", "-", title.lower())  # names must differ between the charts of one page
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}-", text)
    text = text.replace("<svg ", f'<svg role="img" aria-label="{html.escape(title)}" ', 1)
    return text.replace(TEXT, "currentColor").strip()
