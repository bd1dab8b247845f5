"""TensorBoard's own reader finds what was tracked."""

import math
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator

from asrscale.training.tracking import open_tracker


def tracked(folder: Path, **given: Any) -> Any:
    return open_tracker(folder, project="p", config={"general": {"seed": 1}}, trackers=["tensorboard"], **given)


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={TENSORS: 0})
    return found.Reload()


def scalars(folder: Path, name: str) -> dict[int, float]:
    return {event.step: event.value for event in read(folder).Scalars(name)}


def test_curves_and_texts_are_there_and_a_resumed_run_has_one_of_each(tmp_path: Path) -> None:
    rows = [{"key": "a|b", "reference": "red <b>lamp</b>", "hypothesis": "*red*"}]
    with tracked(tmp_path) as tracker:
        tracker.log_predictions(0, rows)
        for step in (1, 2, 3):
            tracker.log(step, {"train/loss": step / 4, "train/padding": math.nan, "speed/rank_seconds": (0.1, 0.2)})
    with tracked(tmp_path, resume_step=2) as tracker:  # step 3 is taken again
        for step in (3, 4):
            tracker.log(step, {"train/loss": step / 8})
    assert scalars(tmp_path, "train/loss") == {1: 0.25, 2: 0.5, 3: 0.375, 4: 0.5}
    found = read(tmp_path)
    assert found.Tags()["scalars"] == ["train/loss"]  # what is not finite, or several numbers, makes no curve
    [predictions] = found.Tensors("valid/predictions/text_summary")
    text = predictions.tensor_proto.string_val[0].decode()
    assert text.splitlines()[0] == "| key | reference | hypothesis |"
    assert "a\\|b" in text and "&lt;b>" in text and "\\*red\\*" in text
    settings = found.Tensors("settings/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"seed": 1' in settings


def test_a_new_run_in_the_same_folder_hides_the_old_one(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        with tracked(tmp_path) as tracker:
            tracker.log(5, {"train/loss": value})
    assert scalars(tmp_path, "train/loss") == {5: 2.0}
