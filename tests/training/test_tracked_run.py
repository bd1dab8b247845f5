"""What trackers are told."""

from dataclasses import replace
from pathlib import Path

from asrscale.training.tracked_run import TrackedRun, markdown_table


def test_an_id_stays_where_a_run_goes_on_and_is_new_where_it_begins(tmp_path: Path) -> None:
    new = TrackedRun(tmp_path / "cv", project="p", config={})
    (tmp_path / "cv").mkdir()
    going_on = replace(new, resume_step=4)
    first = new.id_of("wandb")
    assert going_on.id_of("wandb") == first != going_on.id_of("trackio")
    assert new.id_of("wandb") != first and new.name == "cv"


def test_a_table_of_markdown_takes_any_text() -> None:
    rows = [{"a|b": "x\ny", "c": 1}, {"a|b": "<i>", "c": 2}]
    assert markdown_table(rows).splitlines() == ["| a\\|b | c |", "| --- | --- |", "| x y | 1 |", "| &lt;i> | 2 |"]
