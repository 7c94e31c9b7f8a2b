"""Whether a training ended in nothing, as pure functions of the rows of metrics.csv."""

from __future__ import annotations

from pipelines.runtime.curves import Rows, curve_of

END = 0.2  # share of the steps that counts as the end of a training


def collapse(rows: Rows, *, learns: bool = True) -> list[str]:
    """Sentences on how a training ended in nothing: what was seen, and which param to change.

    One mask for all validation images (column foreground_val); no confident foreground pixel in any pseudo-label of the
    last fifth of the steps (column keep_foreground), where the training learns from unlabeled images.
    """
    found = []
    shares = curve_of(rows, "foreground_val")
    if shares and shares[-1][1] in (0.0, 1.0):
        found.append(
            f"collapsed: at step {shares[-1][0]} every pixel of the validation images is called "
            f"{'background' if shares[-1][1] == 0.0 else 'foreground'}; lower lr or raise total_steps of the scale's "
            "segment block, or raise segmenter.label_fraction"
        )
    kept = curve_of(rows, "keep_foreground")
    end = [value for step, value in kept if step > (1.0 - END) * kept[-1][0]]
    if learns and end and max(end) == 0.0:
        found.append(
            f"collapsed: no pseudo-label of the last {END:.0%} of the steps holds a confident foreground pixel, so the "
            "unlabeled images teach background alone; lower segmenter.semi.kappa_foreground, or raise "
            "segmenter.semi.ramp, so that they enter later"
        )
    return found
