"""The integrity report: what each check weighs, one table of all findings, and the content of integrity.json."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.datasets.case import Finding
from pipelines.runtime.errors import DataError

ORDER = {"error": 0, "exclude": 1, "warning": 2, "flag": 3}
SHOWN = 5  # findings per check on the terminal, of those that neither stop the run nor leave a case out
CELLS = {"severity": 8, "check": 24, "file": 50, "expected": 32, "found": 34, "remedy": 34}  # widest, in characters
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Check:
    """severity: by default. unusable: such a case cannot become a row of the arrays, so it can only be left out.

    mask: it is about masks, so a set that is read for its images alone has none of it. whole: it is about the set or
    about several cases, so there is no one case to leave out.
    """

    severity: str
    unusable: bool = False
    mask: bool = False
    whole: bool = False


CHECKS = {
    "unreadable": Check("error", unusable=True),
    "link": Check("error", unusable=True),
    "name": Check("error", unusable=True, whole=True),  # which of two files is meant is not for us to guess
    "dimensions": Check("error", unusable=True),
    "small image": Check("error"),
    "missing mask": Check("error", unusable=True, mask=True),
    "mask without image": Check("error", mask=True),
    "ambiguous mask": Check("error", unusable=True, mask=True),
    "mask size": Check("error", unusable=True, mask=True),
    "resized mask": Check("flag", mask=True),
    "value range": Check("error", unusable=True),
    "swapped": Check("error"),
    "constant image": Check("warning"),
    "dark image": Check("warning"),
    "empty mask": Check("exclude", unusable=True, mask=True),
    "full mask": Check("error", mask=True),
    "inverted mask": Check("error", mask=True),
    "lesion in a normal case": Check("error", mask=True),
    "different masks": Check("warning", mask=True, whole=True),
    "class conflict": Check("warning", whole=True),
    "duplicates": Check("warning", whole=True),
    "duplicate chain": Check("warning", whole=True),
    "mask values": Check("warning", mask=True),
    "overlap": Check("warning", mask=True),
    "clipped outline": Check("warning", mask=True),
    "area": Check("warning", mask=True),
    "components": Check("warning", mask=True),
    "vanished lesion": Check("warning", mask=True),
    "count": Check("warning", whole=True),
    "order": Check("error", whole=True),
    "table": Check("warning"),
    "unread": Check("warning"),
    "layout": Check("error", whole=True),
    "color": Check("flag"),
    "reduced copy": Check("flag", whole=True),
}


def policy_of(overrides: Mapping[str, str], *, strict: bool) -> dict[str, str]:
    """Severity per check: the defaults of CHECKS, changed by `prepare.policy`, warnings raised to errors by `strict`.

    DataError where a case that cannot be used is to be kept, or a case is to be left out where none is to blame.
    """
    policy = {name: check.severity for name, check in CHECKS.items()} | dict(overrides)
    for name, severity in overrides.items():
        barred = {"exclude": "no single case is to blame"} if CHECKS[name].whole else {}
        if CHECKS[name].unusable:
            barred |= dict.fromkeys(("warning", "flag"), "such a case cannot be used")
        if severity in barred:
            *most, last = (other for other in ORDER if other not in barred)
            expected = f"{', '.join(most)} or {last}" if most else last
            raise DataError(f"prepare.policy: {name}: expected {expected}, as {barred[severity]}, found {severity}")
    return {name: "error" if strict and severity == "warning" else severity for name, severity in policy.items()}


def printable(text: str) -> str:
    """The text with every control character, and every byte of a file name that is no text, replaced by `?`."""
    return "".join(char if char.isprintable() else "?" for char in text)


def ordered(findings: Sequence[Finding], policy: Mapping[str, str]) -> list[Finding]:
    """Errors first; the same order on every file system; each finding once."""
    clean = {Finding(*(printable(value) for value in asdict(item).values())) for item in findings}
    key = ("check", "case", "file", "found", "expected", "remedy")
    return sorted(clean, key=lambda item: (ORDER[policy[item.check]], *(getattr(item, name) for name in key)))


def table(findings: Sequence[Finding], policy: Mapping[str, str], *, limit: int = SHOWN) -> str:
    """All findings as a table: severity, check, file, expected, found, remedy; long cells go on in the next line.

    Errors and excluded cases are all there; of each other check the first `limit`, and how many more there are.
    """
    rows: list[tuple[str, ...]] = [tuple(CELLS)]
    shown: Counter[str] = Counter()
    for item in ordered(findings, policy):
        shown[item.check] += 1
        if policy[item.check] in ("error", "exclude") or shown[item.check] <= limit:
            where = item.file or item.case or "the set"
            rows.append((policy[item.check], item.check, where, item.expected, item.found, item.remedy))
    cells = [[textwrap.wrap(text, CELLS[name]) or [""] for name, text in zip(CELLS, row, strict=True)] for row in rows]
    widths = [max(len(line) for row in cells for line in row[column]) for column in range(len(CELLS))]
    lines: list[str] = []
    for row in cells:
        for number in range(max(len(cell) for cell in row)):
            parts = [cell[number] if number < len(cell) else "" for cell in row]
            padded = (part.ljust(width) for part, width in zip(parts, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
    for check, count in sorted(shown.items()):
        if policy[check] not in ("error", "exclude") and count > limit:
            lines.append(f"... and {count - limit} more of {check}")
    return "\n".join(lines)


def counted(findings: Sequence[Finding], policy: Mapping[str, str]) -> dict[str, int]:
    """Number of findings per severity."""
    counts = Counter(policy[item.check] for item in ordered(findings, policy))
    return {severity: counts[severity] for severity in ORDER}


def as_report(
    name: str, findings: Sequence[Finding], policy: Mapping[str, str], excluded: Sequence[str], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """The content of integrity.json; excluded: names of the cases that are left out, each listed with its reasons."""
    listed = [{"severity": policy[item.check], **asdict(item)} for item in ordered(findings, policy)]
    counts = counted(findings, policy)
    gone = {printable(case) for case in excluded}
    reasons = [
        {key: entry[key] for key in ("case", "check", "file", "expected", "found")}
        for entry in listed
        if entry["severity"] == "exclude" and entry["case"] in gone
    ]
    return {
        "dataset": name,
        "errors": counts["error"],
        "warnings": counts["warning"],
        "flags": counts["flag"],
        "excluded": sorted(reasons, key=lambda entry: (entry["case"], entry["check"])),
        "excluded_cases": len(gone),
        "findings": listed,
        **facts,
    }


def quantiles(values: Sequence[float], digits: int = 6) -> dict[str, float]:
    """p5, p25, p50, p75, p95 of numbers; {} of none."""
    if not len(values):
        return {}
    found = np.quantile(np.asarray(values, np.float64), QUANTILES)
    return {f"p{100 * q:g}": round(float(value), digits) for q, value in zip(QUANTILES, found, strict=True)}
