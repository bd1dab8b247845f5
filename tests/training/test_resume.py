"""Where a run starts."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from asrscale.common import distributed
from asrscale.common.errors import CliError, TransientError
from asrscale.training.config import train_config
from asrscale.training.run import train
from asrscale.training.run_folder import locked_run_folder
from asrscale.training.watch import Watch


def test_the_run_folder_is_ours_before_a_checkpoint_is_chosen(
    tone_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is still saving elsewhere also drops old checkpoints; and reading them may hang."""
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny")
    config, watch = train_config(**data, run=str(tmp_path)), Watch(tmp_path)

    def chosen_too_early(folder: Path) -> None:
        raise AssertionError("chosen without the lock")

    with distributed.joined_ranks() as world, locked_run_folder(tmp_path, world), monkeypatch.context() as patched:
        patched.setattr("asrscale.training.checkpoint.whole_checkpoint", chosen_too_early)
        patched.setattr("asrscale.training.engine.joined_ranks", lambda: nullcontext(world))
        with pytest.raises(TransientError, match="is in use by another training, process"):
            train(config, watch)

    def hung(folder: Path) -> None:
        assert watch.rank == 0
        raise TimeoutError

    monkeypatch.setattr("asrscale.training.checkpoint.whole_checkpoint", hung)
    with pytest.raises(TimeoutError):
        train(config, watch)


@pytest.mark.parametrize(("name", "kind"), [("checkpoint", TransientError), ("seed", CliError)])
def test_a_checkpoint_that_some_ranks_do_not_see_yet_may_be_tried_again(
    name: str, kind: type[Exception], tone_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny")

    def with_another(value: object, world: distributed.World) -> list[object]:
        return [value, value | {name: 7} if isinstance(value, dict) else value]

    monkeypatch.setattr("asrscale.common.distributed.gather_objects", with_another)
    with pytest.raises(kind, match=f"the ranks do not agree on {name}: "):
        train(train_config(**data, run=str(tmp_path)), Watch(tmp_path))
