"""What the trackers beside metrics.jsonl get of a run."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

Scalars: TypeAlias = Mapping[str, float]  # by name
TextRows: TypeAlias = Sequence[Mapping[str, str | int | float]]  # of the same names, such as key, reference, hypothesis
WandbMode = Literal["auto", "offline", "online", "off"]


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker gets at the start.

    Attributes:
        folder: The run folder.
        project: Under which the run is shown.
        config: The settings, by sections.
        lowest: Values, such as valid/wer, of which a summary has the lowest and not the last.
        resume_step: Training goes on after this step; None at the beginning.
        wandb_mode: How W&B is reached.
    """

    folder: Path
    project: str
    config: Mapping[str, Any]
    lowest: Sequence[str] = ()
    resume_step: int | None = None
    wandb_mode: WandbMode = "auto"

    @property
    def name(self) -> str:
        """The run's name, for people."""
        return self.folder.absolute().name

    def id_of(self, tracker: str) -> str:
        """Returns the run's id in RUN/TRACKER/id.txt, after drawing one where the run is new or has none."""
        path = self.folder / tracker / "id.txt"
        if self.resume_step is None or not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(secrets.token_hex(4))
        return path.read_text()


def markdown_table(rows: TextRows) -> str:
    """Returns rows as a table of Markdown; what means something there, and HTML, is escaped."""
    header = " | ".join(map(_escaped, rows[0]))
    lines = [header, " | ".join(["---"] * len(rows[0])), *(" | ".join(map(_escaped, row.values())) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _escaped(value: object) -> str:
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace("\n", " ")
    for sign in ("\\", "|", "*", "_", "`", "["):
        text = text.replace(sign, f"\\{sign}")
    return text
