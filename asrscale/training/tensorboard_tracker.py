"""TensorBoard: event files in RUN/tensorboard, for `tensorboard --logdir RUN`."""

import json
from typing import Any

from asrscale.training.tracked_run import Scalars, TextRows, TrackedRun, markdown_table

PACKAGE = "tensorboard"


def start(run: TrackedRun) -> Any:
    """Returns torch's writer; what earlier attempts wrote of steps that are taken again is hidden by TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    first_step = 0 if run.resume_step is None else run.resume_step + 1
    writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=first_step)
    settings = json.dumps(run.config, indent=2, ensure_ascii=False, default=str)
    text = "\n".join(f"    {line}" for line in settings.splitlines())  # code, in Markdown
    writer.add_text("settings", text, first_step)
    return writer


def log(writer: Any, step: int, values: Scalars) -> None:
    """Records values measured at a step."""
    for name, value in values.items():
        writer.add_scalar(name, value, step)


def log_texts(writer: Any, step: int, rows: TextRows) -> None:
    """Records what was recognised at a step."""
    writer.add_text("valid/predictions", markdown_table(rows), step)
    writer.flush()  # an evaluation is seen at once


def finish(writer: Any, *, failed: bool) -> None:
    """Writes what is left."""
    writer.close()


def abandon(writer: Any) -> None:
    """Ends after a failure."""
    writer.close()
