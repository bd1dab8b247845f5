"""Trackio: a local database, shown by `trackio show`, or a Space of the hub where TRACKIO_SPACE_ID names one."""

import io
from contextlib import redirect_stdout
from typing import Any

from asrscale.training.tracked_run import Scalars, TextRows, TrackedRun, markdown_table

PACKAGE = "trackio"


def start(run: TrackedRun) -> Any:
    """Returns trackio's run, under a name with an id, since its names are unique in a project."""
    import trackio

    with redirect_stdout(io.StringIO()):
        return trackio.init(
            project=run.project,
            name=f"{run.name}-{run.id_of('trackio')}",
            config=dict(run.config),
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )


def log(run: Any, step: int, values: Scalars) -> None:
    """Records values measured at a step."""
    run.log(dict(values), step=step)


def log_texts(run: Any, step: int, rows: TextRows) -> None:
    """Records what was recognised at a step."""
    import trackio

    run.log({"valid/predictions": trackio.Markdown(markdown_table(rows))}, step=step)


def finish(run: Any, *, failed: bool) -> None:
    """Writes what is left."""
    import trackio

    with redirect_stdout(io.StringIO()):
        trackio.finish()  # not the run's own, or trackio ends it again when the process ends, and says so


def abandon(run: Any) -> None:
    """Ends after a failure."""
    finish(run, failed=True)
