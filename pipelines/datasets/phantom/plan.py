"""Which images are made: patients with one to three views, in the class ratio of BUSI, at two sites."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipelines.runtime.randomness import numpy_generator_for

RATIO = {"benign": 437, "malignant": 210, "normal": 133}  # images of BUSI
VIEWS, VIEW_SHARES = (1, 2, 3), (0.5, 0.3, 0.2)
# Steps of a two-dimensional sequence that covers the unit square evenly at any length (powers of the plastic number,
# Roberts 2018): sizes and contrasts follow their population in small sets, too.
STEPS = (0.7548776662466927, 0.5698402909980532)
TWO_LESIONS = (1, 24)  # the second of each 24 benign patients has two lesions, thus two mask files


@dataclass(frozen=True)
class View:
    """One image to make. lesions: how many the patient has; number: k in `benign (k).png`; site: A or B; nested: one
    more lesion inside the first; size, contrast: where the lesion stands in its class's population, 0..1.
    """

    patient: int
    view: int
    class_name: str
    lesions: int
    number: int
    site: str = "A"
    nested: bool = False
    size: float = 0.5
    contrast: float = 0.5

    @property
    def case(self) -> str:
        return f"{self.class_name} ({self.number})"


def plan(seed: int, count: int, classes: tuple[str, ...], site_b: float = 0.0) -> list[View]:
    """`count` views in the class ratio of BUSI: each next patient is of the class that lags most behind its share.

    site_b: share of the patients of each class who are scanned at site B. A longer plan begins with the shorter one
    (but for a last patient whose views were cut).
    """
    total = sum(RATIO[name] for name in classes)
    made = dict.fromkeys(classes, 0)
    patients = dict.fromkeys(classes, 0)
    offset = {name: numpy_generator_for(seed, f"phantom/site/{name}").random(3).tolist() for name in classes}
    views: list[View] = []
    patient = 0
    while len(views) < count:
        name = max(classes, key=lambda key: RATIO[key] / total * (len(views) + 1) - made[key])
        rng = numpy_generator_for(seed, "phantom/views", patient)
        own = patients[name]
        two = name == "benign" and own % TWO_LESIONS[1] == TWO_LESIONS[0]
        lesions = 0 if name == "normal" else 2 if two else 1
        # evenly spread, so that small sets have their share too
        at, *starts = offset[name]
        site = "B" if math.floor((own + 1) * site_b + at) > math.floor(own * site_b + at) else "A"
        size, contrast = ((start + own * step) % 1.0 for start, step in zip(starts, STEPS, strict=True))
        for view in range(min(int(rng.choice(VIEWS, p=VIEW_SHARES)), count - len(views))):
            made[name] += 1
            views.append(View(patient, view, name, lesions, made[name], site, False, size, contrast))
        patients[name] += 1
        patient += 1
    return views
