"""Which links the search for duplicates may pass over, so that a video costs what its images do, not their square.

What counts are groups (connected components). A link between two images that are connected already changes none; so it
is looked at, as evidence for the reader, only while both images have less than LINKS of them. Every pair that could
connect is looked at, in an order of digests, so that neither the order of rows nor an unrelated image changes a link.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

LINKS = 8  # of one image; in a cluster of at most nine images every link is listed


class Clusters(Protocol):
    """What is connected. a, b: (P,) rows, of one set or of two."""

    def connected(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(P,) bool."""

    def join(self, a: int, b: int) -> None:
        """Row a and row b are duplicates."""


class Within:
    """Connected components of `count` images of one set. labels: (N,), equal within a component."""

    def __init__(self, count: int) -> None:
        self.labels = np.arange(count)

    def connected(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.labels[a] == self.labels[b]

    def join(self, a: int, b: int) -> None:
        self.labels[self.labels == self.labels[b]] = self.labels[a]


class Between:
    """Components of a first set (labels: (N,)) and the `count` images of a second one that each has a link to.

    Only images of the first set are taken for one another: those of a component join or leave a pool together, while
    a list of the owner's may put two images of one component of the second set into two parts.
    """

    def __init__(self, labels: np.ndarray, count: int) -> None:
        _, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        several = np.cumsum(sizes > 1) * (sizes > 1)  # an image alone needs no memory: its pairs come once
        self.index = several[inverse]
        self.reached = np.zeros((int(several.max(initial=0)) + 1, count), bool)

    def connected(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return self.reached[self.index[a], b]

    def join(self, a: int, b: int) -> None:
        self.reached[self.index[a], b] = self.index[a] > 0


class Links:
    """Counts per image of a first and a second set; within one set both are the same counts.

    passed_over: comparisons that were left out because they could connect nothing.
    """

    def __init__(self, clusters: Clusters, count: int, others: int | None = None) -> None:
        self.clusters = clusters
        self.told_a = np.zeros(count, np.int64)
        self.told_b = self.told_a if others is None else np.zeros(others, np.int64)
        self.passed_over = 0

    def add(self, a: int, b: int) -> None:
        """A link of row a and row b."""
        self.clusters.join(a, b)
        self.count(a, b)

    def count(self, a: int, b: int) -> None:
        """A pair of connected rows was looked at."""
        self.told_a[a] += 1
        self.told_b[b] += 1

    def open(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(P,) bool: the pairs to look at, because they may connect or because both images have few links."""
        return ~self.clusters.connected(a, b) | ((self.told_a[a] < LINKS) & (self.told_b[b] < LINKS))

    def room(self, a: int) -> int:
        """Links that row a may have with connected rows."""
        return max(0, LINKS - int(self.told_a[a]))

    def is_open(self, a: int, b: int) -> bool:
        return bool(self.open(np.array([a]), np.array([b]))[0])
