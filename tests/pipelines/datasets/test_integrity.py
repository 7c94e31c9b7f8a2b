from __future__ import annotations

from typing import get_args

import pytest

from pipelines.datasets.case import Finding
from pipelines.datasets.integrity import CHECKS, as_report, ordered, policy_of, printable, quantiles, table
from pipelines.params import prepare
from pipelines.runtime.errors import DataError

POLICY = policy_of({}, strict=False)


def finding(check: str, case: str, found: str = "another", **fields: str) -> Finding:
    return Finding(check, case, fields.get("file", f"{case}.png"), "this", found, "mend it")


def test_params_name_every_check() -> None:
    assert sorted(get_args(prepare.Check)) == sorted(CHECKS)
    assert {check.severity for check in CHECKS.values()} == set(get_args(prepare.Severity))


def test_policy_overrides_and_strict() -> None:
    assert POLICY["empty mask"] == "exclude"
    assert policy_of({"color": "exclude"}, strict=False)["color"] == "exclude"
    strict = policy_of({"area": "flag"}, strict=True)
    assert {name for name, severity in strict.items() if severity == "warning"} == set()
    assert (strict["area"], strict["components"], strict["color"]) == ("flag", "error", "flag")
    with pytest.raises(DataError, match=r"unreadable: expected error or exclude, .* found warning"):
        policy_of({"unreadable": "warning"}, strict=False)
    for severity in ("exclude", "warning", "flag"):
        with pytest.raises(DataError, match=rf"name: expected error, as .*, found {severity}"):
            policy_of({"name": severity}, strict=False)
    with pytest.raises(DataError, match=r"class conflict: expected error, warning or flag, .* found exclude"):
        policy_of({"class conflict": "exclude"}, strict=False)


def test_one_table_with_errors_first_and_all_of_them() -> None:
    findings = [finding("color", f"c{index:02d}") for index in range(20)]
    findings += [finding("unreadable", f"z{index:02d}", "text") for index in range(9)]
    findings += [finding("empty mask", f"e{index}") for index in range(7)] + [finding("area", "y")]
    findings += [finding("area", "y")]  # named twice, listed once
    assert [POLICY[item.check] for item in ordered(findings, POLICY)] == (
        ["error"] * 9 + ["exclude"] * 7 + ["warning"] + ["flag"] * 20
    )
    lines = table(findings, POLICY).splitlines()
    assert lines[0].split() == ["severity", "check", "file", "expected", "found", "remedy"]
    assert lines[1].split() == ["error", "unreadable", "z00.png", "this", "text", "mend", "it"]
    assert [sum(line.startswith(word) for line in lines) for word in ("error", "exclude", "warning", "flag")] == [
        *(9, 7, 1, 5)
    ]
    assert lines[-1] == "... and 15 more of color"
    starts = {line.index("this") for line in lines[1:-1]}
    assert len(starts) == 1  # columns stand below one another
    assert table(findings[::-1], POLICY) == table(findings, POLICY)


def test_long_cells_go_on_in_the_next_line() -> None:
    text = table([finding("unreadable", "x", "a long story " * 9)], POLICY)
    assert max(map(len, text.splitlines())) < 200
    assert " ".join(line[line.rindex("  ") :].strip() for line in text.splitlines()).count("story") < 9
    assert text.count("story") == 9


def test_hostile_text_is_made_printable() -> None:
    assert printable("a\nb\udcffc\x1b[0m") == "a?b?c?[0m"
    found = as_report("toy", [finding("unread", "x", file="new\nline\udcff.png")], POLICY, [], {})
    assert found["findings"][0]["file"] == "new?line?.png"
    assert "\n" not in table([finding("unread", "x", file="new\nline.png")], POLICY).splitlines()[1]


def test_report_counts_and_lists_who_is_left_out() -> None:
    findings = [finding("empty mask", "e"), finding("mask without image", "o"), finding("area", "y")]
    report = as_report("toy", findings, POLICY | {"mask without image": "exclude"}, ["e"], {"images": 3})
    assert (report["errors"], report["warnings"], report["flags"], report["images"]) == (0, 1, 0, 3)
    assert report["excluded"] == [
        {"case": "e", "check": "empty mask", "file": "e.png", "expected": "this", "found": "another"}
    ]
    assert report["excluded_cases"] == 1
    assert [item["severity"] for item in report["findings"]] == ["exclude", "exclude", "warning"]


def test_quantiles() -> None:
    assert quantiles([]) == {}
    assert quantiles(list(range(101))) == {"p5": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95}
