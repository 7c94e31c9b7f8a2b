"""`python -m pipelines check`: is everything there that a run needs? `inspect`: what is in the data?"""

from __future__ import annotations

import argparse
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m pipelines", description="SonoSynth's own commands.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("check", help="check params, data, disk, device and dvc.lock; exit 1 if anything is amiss")
    commands.add_parser("inspect", help="write data/inspection/index.html: counts, findings, duplicates, for eyes")
    command = parser.parse_args(arguments).command
    if command == "inspect":
        from pipelines.inspection.build import main as inspect

        return inspect(Path.cwd())
    from pipelines.check import main as check  # late, so that --help answers at once

    return check(Path.cwd())


if __name__ == "__main__":
    raise SystemExit(main())
