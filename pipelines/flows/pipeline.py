"""Run the pipeline as a Prefect flow, once: `python -m pipelines.flows.pipeline [--targets STAGE ...]`.

No server has to run: without PREFECT_API_URL one is started for this run alone.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from pipelines.flows.server import start_temporary_server
from pipelines.flows.settings import set_environment


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns 0, or 1 after one line that says what is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.flows.pipeline",
        description="Run the pipeline as a Prefect flow: one task per DVC stage, no server needed.",
        epilog="example: python -m pipelines.flows.pipeline --targets audit segment@supervised-0",
    )
    parser.add_argument("--targets", nargs="+", metavar="STAGE", help="only these stages and what they need")
    parser.add_argument("--stage-deadline", type=float, metavar="SECONDS", help="end a stage that takes longer")
    options = parser.parse_args(arguments)

    # late, so that --help and a refused params.yaml answer at once
    from pipelines.params.loader import load_params
    from pipelines.runtime.errors import SonoSynthError

    root = Path.cwd()
    try:
        load_params(root / "params.yaml")
        set_environment(root)
        if "PREFECT_API_URL" not in os.environ:
            os.environ["PREFECT_API_URL"] = start_temporary_server()
    except SonoSynthError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    from pipelines.flows.flow import pipeline

    state: Any = pipeline(options.targets, options.stage_deadline, return_state=True)
    print(state.message, file=sys.stdout if state.is_completed() else sys.stderr)
    return 0 if state.is_completed() else 1


if __name__ == "__main__":
    raise SystemExit(main())
