"""Serve the pipeline on a schedule: `python -m pipelines.flows.serve --interval SECONDS` (or `--cron`).

Needs a running server (`prefect server start`), found at PREFECT_API_URL. One run at a time: a run that comes due while
another still works is cancelled, not queued.
"""

import argparse
import os
import sys
from pathlib import Path

from pipelines.flows.server import answers
from pipelines.flows.settings import set_environment

LOCAL_SERVER = "http://127.0.0.1:4200/api"


def main(arguments: list[str] | None = None) -> int:
    """Command line. Serves until it is interrupted; returns 1 at once where no server answers."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.flows.serve",
        description="Serve the pipeline of this folder on a schedule, against a running Prefect server.",
        epilog='example: prefect server start (terminal 1); python -m pipelines.flows.serve --cron "0 3 * * *"',
    )
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--interval", type=float, metavar="SECONDS", help="start a run so often")
    when.add_argument("--cron", help='start runs at these times, such as "0 3 * * *"')
    parser.add_argument("--targets", nargs="+", metavar="STAGE", help="only these stages and what they need")
    parser.add_argument("--stage-deadline", type=float, metavar="SECONDS", help="end a stage that takes longer")
    options = parser.parse_args(arguments)

    server = os.environ.setdefault("PREFECT_API_URL", LOCAL_SERVER)
    if not answers(server):
        print(
            f"no Prefect server answers at {server}: run `prefect server start`, or set PREFECT_API_URL",
            file=sys.stderr,
        )
        return 1
    set_environment(Path.cwd())
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

    from pipelines.flows.flow import pipeline

    pipeline.serve(
        name="scheduled",
        interval=options.interval,
        cron=options.cron,
        parameters={"targets": options.targets, "stage_deadline_s": options.stage_deadline},
        global_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW),
        pause_on_shutdown=False,  # the schedule goes on when this is started again
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
