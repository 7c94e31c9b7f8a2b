from __future__ import annotations

import numpy as np

from pipelines.datasets.linking import LINKS, Between, Links, Within


def rows(*values: int) -> np.ndarray:
    return np.array(values)


def test_connection_within_a_set_is_transitive() -> None:
    clusters = Within(5)
    clusters.join(3, 1)
    clusters.join(1, 4)
    assert clusters.connected(rows(4, 4, 0, 0), rows(3, 1, 0, 3)).tolist() == [True, True, True, False]


def test_between_sets_images_of_the_first_alone_stand_for_one_another() -> None:
    clusters = Between(np.array([7, 2, 7, 5]), 3)  # rows 0 and 2 are one component
    clusters.join(0, 1)
    clusters.join(1, 0)
    assert clusters.connected(rows(2, 0), rows(1, 1)).tolist() == [True, True]
    assert clusters.connected(rows(2, 3, 1, 1), rows(0, 1, 1, 2)).tolist() == [False] * 4


def test_a_connected_pair_is_open_until_one_image_has_links_enough() -> None:
    links = Links(Within(LINKS + 3), LINKS + 3)
    last = LINKS + 2
    for row in range(1, LINKS):
        links.add(0, row)
    assert links.is_open(0, LINKS - 1)
    links.count(0, LINKS - 1)
    assert not links.is_open(0, 2)  # image 0 has LINKS of them
    assert links.is_open(1, 2)
    assert links.is_open(0, last)  # not connected
    links.add(0, last)
    assert not links.is_open(0, last)


def test_two_sets_are_counted_apart() -> None:
    links = Links(Between(np.zeros(20, np.int64), 20), 20, 20)
    for row in range(LINKS):
        links.add(row, 0)
    assert not links.is_open(LINKS, 0)  # image 0 of the second set has LINKS of them
    assert links.is_open(LINKS, 1)
    links.add(LINKS, 1)
    assert links.is_open(LINKS + 1, 1)
