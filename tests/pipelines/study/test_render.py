"""How numbers are written."""

from __future__ import annotations

from typing import Any

from pipelines.study.columns import title
from pipelines.study.render import flat_rows, markdown, number


def table(**more: Any) -> dict[str, Any]:
    row = {"axes": {"arm": "a|b"}, "asked": 2, "done": 0, "missing": {"arm=a|b seed=0": "failed: segment-1: x"}}
    row |= {"mode": None, "foreground": None, "metrics": {}, "gain": None, "why": "not run"}
    head = {
        "name": "toy",
        "study": "s" * 64,
        "code": "c" * 12,
        "commit": "d" * 12,
        "base": "b" * 12,
        "hardware": [],
        "bootstrap": 100,
        "reach": None,
    }
    head |= {"families": {key: {"planned": 2, "there": 1} for key in ("reference", "compare")}}
    return {**head, "metrics": ["dice"], "reference": None, "rows": [row], "comparisons": [], "notes": [], **more}


def test_numbers() -> None:
    assert number("dice", 0.12345) == "0.123"
    assert number("dice", 0.1, sign=True) == "+0.100"
    assert number("hd95_native", 12.345) == "12.3"
    assert number("dice", None) == ""


def test_titles() -> None:
    assert [title(name) for name in ("dice", "hd95_native", "ece_box", "error_auroc")] == [
        "Dice",
        "HD95, px, native",
        "ECE, box",
        "AUROC of errors",
    ]


def test_what_is_not_run_says_so_and_failures_their_reason() -> None:
    lines = markdown(table()).splitlines()
    assert "| a\\|b | not run |  |  |  |  |  |" in lines
    assert lines[-1] == "- arm=a|b seed=0: segment-1: x"
    widths = {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 1


def test_comparisons_have_their_own_table() -> None:
    gain = {
        "dice": {
            "mean": 0.05,
            "low": -0.01,
            "high": 0.1,
            "p": 0.04,
            "p_holm": 0.08,
            "images": 9,
            "groups": 7,
            "seeds": 3,
        }
    }
    one = {"first": {"arm": "x"}, "second": {"arm": "y"}, "on": {"set": "a"}, "gain": gain, "why": ""}
    both = [{**one, "modes": ["refine", "direct"], "foreground": "lesion"}]
    both.append({**one, "modes": [None, None], "foreground": None, "gain": None, "why": "second not run"})
    lines = markdown(table(comparisons=both)).splitlines()
    assert (
        "| arm: x | arm: y | set: a | refine / direct | lesion | +0.050 (-0.010 to +0.100) | 0.04 (0.08) | 9 | 7 | 3 |"
        in lines
    )
    assert "| arm: x | arm: y | set: a |  |  | second not run |  |  |  |  |" in lines
    assert any(
        "of these trained networks, not of another training" in line
        and line.endswith("over all 2 planned comparisons, of which 1 are not there yet and count as p = 1.")
        for line in lines
    )


def test_flat_rows_have_every_column() -> None:
    columns, (row,) = flat_rows(table())
    assert list(row) == columns
    assert (row["arm"], row["state"], row["dice_mean"]) == ("a|b", "not run", None)
