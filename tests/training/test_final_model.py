"""The end of a run: when the model counts as complete."""

import resource
from pathlib import Path

import pytest
from helpers.training import metric

from asrscale.common.errors import CliError
from asrscale.training import final_model
from asrscale.training.config import train_config
from asrscale.training.run import train
from asrscale.training.watch import Watch


def test_the_model_is_complete_when_all_is_written_and_uploaded_before_the_ranks_leave(
    tone_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny", wandb="off")
    brief = dict(max_steps=1, warmup_steps=0, eval_utterances=4, push_to_hub="me/speech")
    config, watch, card = (
        train_config(**data, **brief, run=str(tmp_path)),
        Watch(tmp_path),
        tmp_path / "model/README.md",
    )
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    monkeypatch.setattr(
        "asrscale.training.final_model.plot_metrics", lambda folder: (tmp_path / "nowhere" / "metrics.png").touch()
    )
    with pytest.raises(FileNotFoundError):
        train(config, watch)
    assert len(metric(tmp_path, "final/wer")) == 1 and not card.exists()
    monkeypatch.undo()
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    seen = []

    def pushed(folder: Path, repo_id: str) -> bool:
        assert watch.hang_seconds == float("inf")  # it may take as long as it likes
        return bool(seen.append(("push", watch.doing, card.exists())))

    def together() -> None:
        seen.append(("barrier", watch.doing, card.exists()))

    monkeypatch.setattr("asrscale.training.final_model.push_model", pushed)
    monkeypatch.setattr("asrscale.common.distributed.barrier", together)
    for _ in range(2):  # the second finds the run complete
        seen.clear()
        assert train(config, watch) == 0
        assert seen[-2:] == [("push", "saving", True), ("barrier", "ending", True)]


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("export_model", "model"),
        ("write_jsonl", "valid.jsonl"),
        ("plot_metrics", "the results"),
        ("write_text", "the results"),
    ],
)
def test_a_full_disk_at_the_end_is_one_line_and_the_same_command_goes_on(
    place: str, what: str, tone_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny", wandb="off")
    config = train_config(**data, max_steps=1, warmup_steps=0, eval_utterances=4, run=str(tmp_path))
    original = getattr(final_model, place)

    def on_a_full_disk(*given: object) -> object:
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, unlimited[1]))  # bytes a file
        try:
            return original(*given)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)

    with monkeypatch.context() as patched:
        patched.setattr(final_model, place, on_a_full_disk)
        with pytest.raises(CliError, match=rf"{what} cannot be written \(.*\): make room in {tmp_path}, and") as caught:
            train(config, Watch(tmp_path))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("model.partial")) and not (tmp_path / "model" / "README.md").exists()
    assert train(config, Watch(tmp_path)) == 0 and (tmp_path / "model" / "README.md").exists()
