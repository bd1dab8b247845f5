import errno
import os
import resource
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

import pytest
import torch
from conftest import Disk
from helpers.weights import mean_of
from safetensors.torch import load_file, save_file

from asrscale.common import distributed
from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer
from asrscale.model.export import export_model
from asrscale.model.recognizer import Recognizer
from asrscale.training import checkpoint, ds_config
from asrscale.training import engine as ds
from asrscale.training.checkpoint import RunState
from asrscale.training.schedule import LearningRates

WORLD = distributed.World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def engine_and_recognizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[ds.Engine, Recognizer]:
    """A real engine in a world of one that has taken a step."""
    recognizer = build_recognizer("tiny", "abc", seed=1)
    recognizer.model.freeze_feature_encoder()
    config = ds_config.resolve_ds_config(
        {"zero_optimization": {"stage": 1}}, precision="fp32", max_gradient_norm=1.0, device=WORLD.device
    )
    with ds.joined_ranks() as world:
        engine = ds.initialize(recognizer.model, config, weight_decay=0.0, adam_beta2=0.9)
        ds.backward(engine, engine(torch.randn(1, 16_000)).logits.square().mean(), world)
        ds.take_step(engine, LearningRates(0.1, 0.1))
        yield engine, recognizer


def save(
    engine: ds.Engine,
    recognizer: Recognizer,
    run: Path,
    keep: int = 2,
    keep_weights: Collection[int] = (),
    **state: object,
) -> str | None:
    frozen = {name: p.detach() for name, p in recognizer.model.named_parameters() if not p.requires_grad}
    return checkpoint.save_checkpoint(
        engine, frozen, RunState(**state), run, keep=keep, keep_weights=keep_weights, world=WORLD
    )


def newest(run: Path) -> Path | None:
    return checkpoint.whole_checkpoint(run)[0]


def test_a_checkpoint_holds_every_weight_and_both_moments(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    engine, recognizer = engine_and_recognizer
    save(engine, recognizer, tmp_path, step=3, best=(0.5, 0.2, 1.0), best_step=3)
    latest = newest(tmp_path)
    assert latest is not None and latest.name == "step-00000003"
    modes = {path.stat().st_mode for path in latest.iterdir()}
    assert modes == {(tmp_path / "checkpoints" / "latest").stat().st_mode}  # those of the umask, not 0600
    assert (tmp_path / "checkpoints" / "latest").read_text() == (tmp_path / "checkpoints" / "best").read_text()
    assert checkpoint.read_state(latest) == RunState(step=3, best=(0.5, 0.2, 1.0), best_step=3)
    fresh = build_recognizer("tiny", "abc", seed=2)
    checkpoint.load_weights(fresh, latest)
    expected = recognizer.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in fresh.model.state_dict().items())
    moments = ds.gather_moments(engine, WORLD)
    assert int(moments["adam_steps"]) == 1
    assert not any("feature_extractor" in name for name in moments)
    assert all(bool(value.any()) for name, value in moments.items() if name.endswith("lm_head.weight"))


def test_a_checkpoint_of_an_older_version_has_one_count_of_adams_steps(
    engine_and_recognizer: tuple[ds.Engine, Recognizer],
) -> None:
    engine, _ = engine_and_recognizer
    weights, moments = ds.gather_weights(engine, {}, WORLD), ds.gather_moments(engine, WORLD)
    del moments["adam_steps_below"]
    ds.restore_state(engine, weights, moments | {"adam_steps": torch.tensor(7)}, WORLD)
    found = ds.gather_moments(engine, WORLD)
    assert int(found["adam_steps"]) == int(found["adam_steps_below"]) == 7
    ds.set_adam_steps(engine, of_head=1, below=1)


def test_old_checkpoints_go_but_never_the_best_or_the_newest(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    for step in range(1, 6):
        save(*engine_and_recognizer, tmp_path, step=step, best_step=min(step, 2), best=(0.1,))
    names = sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))
    assert names == ["step-00000002", "step-00000004", "step-00000005"]
    assert newest(tmp_path).name == names[-1]


def test_of_older_checkpoints_only_the_weights_are_kept_that_are_wanted(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    for step in range(1, 8):
        wanted = [old for old in (2, 4, 6) if old <= step]
        save(
            *engine_and_recognizer, tmp_path, keep=1, keep_weights=wanted, step=step, best_step=min(step, 3), best=(1,)
        )
    names = [
        "step-00000002.weights",
        "step-00000003",
        "step-00000004.weights",
        "step-00000006.weights",
        "step-00000007",
    ]
    assert sorted(path.name for path in folder.glob("step-*")) == names
    assert not (folder / names[0] / "optimizer.safetensors").exists()
    assert checkpoint.whole_weights(tmp_path, [2, 3, 4, 5, 7]) == ([folder / names[n] for n in (0, 1, 2, 4)], [])
    assert checkpoint.whole_checkpoint(tmp_path, 2)[0] == folder / names[4]  # nothing goes on from weights alone
    weights = load_file(folder / names[0] / "model.safetensors")
    assert weights.keys() == engine_and_recognizer[1].model.state_dict().keys()

    flip(folder / names[0] / "model.safetensors")
    (folder / names[2] / "manifest.json").unlink()
    found, refused = checkpoint.whole_weights(tmp_path, [2, 4, 6])
    assert found == [folder / names[3]] and len(refused) == 2
    assert refused[0] == f"the weights in {folder / names[0]} are not whole: model.safetensors"
    # A run that went back to an earlier step: weights of later ones are of another past.
    save(*engine_and_recognizer, tmp_path, keep=1, keep_weights=[4, 2], step=4)
    assert sorted(path.name for path in folder.glob("step-*")) == ["step-00000002.weights", "step-00000004"]


def test_a_save_that_was_cut_short_is_not_seen(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    save(*engine_and_recognizer, tmp_path, step=1)
    partial = tmp_path / "checkpoints" / "step-00000002.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    assert newest(tmp_path).name == "step-00000001"
    save(*engine_and_recognizer, tmp_path, step=2)
    assert newest(tmp_path).name == "step-00000002" and not partial.exists()


@pytest.mark.parametrize("best_step", [3, None])
def test_a_step_is_saved_again_without_a_moment_in_which_no_checkpoint_is_found(
    best_step: int | None,
    engine_and_recognizer: tuple[ds.Engine, Recognizer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kill may come before and after every change to the folder, also of the save that follows a kill."""
    folder = tmp_path / "run" / "checkpoints"
    for step in (1, 2, 3):
        save(*engine_and_recognizer, tmp_path / "run", keep=2, keep_weights=[1], step=step)
    moments: list[Path] = []

    def as_if_killed_here() -> None:
        moments.append(tmp_path / f"killed-{len(moments)}")
        shutil.copytree(folder, moments[-1] / "checkpoints")

    def watched(original: Callable[..., object]) -> Callable[..., object]:
        def change(path: Path, *given: object, **named: object) -> object:
            as_if_killed_here()
            result = original(path, *given, **named)
            as_if_killed_here()
            return result

        return change

    with monkeypatch.context() as patched:
        for owner, name in ((Path, "rename"), (Path, "mkdir"), (shutil, "rmtree")):
            patched.setattr(owner, name, watched(getattr(owner, name)))
        given = dict(step=3, best=(0.5,), best_step=best_step)
        save(*engine_and_recognizer, tmp_path / "run", keep=1, keep_weights=[1, 2], **given)
    assert len(moments) >= 8
    for run in moments:
        found = newest(run)
        assert found is not None and checkpoint.whole_checkpoint(run, 3)[0] == found
        assert checkpoint.read_state(found).step == 3
        assert len(checkpoint.whole_weights(run, [1, 2, 3])[0]) == 3
    for run in moments:
        save(*engine_and_recognizer, run, keep=1, keep_weights=[2], step=4, best=(0.5,), best_step=best_step)
        assert not list((run / "checkpoints").glob("*.weights/optimizer.safetensors"))
        left = ["step-00000002.weights", *(["step-00000003"] if best_step else []), "step-00000004"]
        assert sorted(path.name for path in (run / "checkpoints").glob("step-*")) == left


def test_a_kill_between_latest_and_best_loses_neither(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = checkpoint._point

    def killed_before_best(folder: Path, name: str, target: str) -> None:
        if name == "best":
            raise KeyboardInterrupt
        original(folder, name, target)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoint, "_point", killed_before_best)
        save(*engine_and_recognizer, tmp_path, step=12, best_step=12, best=(0.1,))
    assert newest(tmp_path).name == "step-00000012"
    for step in (13, 14, 15):
        save(*engine_and_recognizer, tmp_path, step=step, best_step=12, best=(0.1,))
    assert checkpoint.whole_checkpoint(tmp_path, 12) == (tmp_path / "checkpoints" / "step-00000012", [])
    assert (tmp_path / "checkpoints" / "best").read_text().strip() == "step-00000012"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def nest(path: Path) -> None:
    path.write_text("[" * 100_000)  # deeper than Python follows


@pytest.mark.parametrize("name", [*checkpoint.FILES, checkpoint.MANIFEST_FILE])
@pytest.mark.parametrize("damage", [flip, halve, nest, Path.unlink])
def test_a_damaged_newest_checkpoint_is_refused_and_the_one_before_is_taken(
    name: str, damage: Callable[[Path], None], engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    save(*engine_and_recognizer, tmp_path, step=1, best_step=1, best=(0.5,))
    save(*engine_and_recognizer, tmp_path, step=2, best_step=2, best=(0.4,))
    folder = tmp_path / "checkpoints"
    damage(folder / "step-00000002" / name)
    found, [refused] = checkpoint.whole_checkpoint(tmp_path)
    assert found == folder / "step-00000001"
    assert refused.startswith(f"{folder / 'step-00000002'} is not whole: ") and name.split(".")[0] in refused
    assert checkpoint.whole_checkpoint(tmp_path, 2) == (found, [refused])
    damage(folder / "step-00000001" / name)
    found, refused_all = checkpoint.whole_checkpoint(tmp_path)
    assert found is None and len(refused_all) == 2
    # The run goes on from an older one: what was damaged does not outlive its next save, nor count as one to keep.
    save(*engine_and_recognizer, tmp_path, keep=1, step=1, best_step=1, best=(0.5,))
    assert [path.name for path in sorted(folder.glob("step-*"))] == ["step-00000001"]


def test_a_disk_without_room_is_told_and_the_checkpoint_before_stands(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    assert save(*engine_and_recognizer, tmp_path, step=1) is None
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (100, 1_000_000):  # within the first file, and within the second
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))  # Python ignores SIGXFSZ: an OSError remains
        try:
            problem = save(*engine_and_recognizer, tmp_path, step=2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        assert problem is not None and "File too large" in problem
        assert newest(tmp_path).name == "step-00000001"
        assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"step-00000001", "latest"}
    assert save(*engine_and_recognizer, tmp_path, step=3) is None and newest(tmp_path).name == "step-00000003"


@pytest.mark.parametrize(
    ("fault", "message"), [("full", "No space left on device"), ("read-only", "Read-only file system")]
)
def test_a_disk_that_fails_costs_no_checkpoint_and_once_it_is_mended_the_next_is_saved(
    fault: str, message: str, engine_and_recognizer: tuple[ds.Engine, Recognizer], disk: Disk
) -> None:
    assert save(*engine_and_recognizer, disk.folder, step=1) is None
    disk.damage(fault)
    problem = save(*engine_and_recognizer, disk.folder, step=2)
    assert problem is not None and message in problem
    assert checkpoint.whole_checkpoint(disk.folder) == (disk.folder / "checkpoints" / "step-00000001", [])
    disk.repair(fault)
    assert save(*engine_and_recognizer, disk.folder, step=3) is None
    assert newest(disk.folder).name == "step-00000003"


@pytest.mark.parametrize("count", range(6))  # three files, the manifest, the folder, the folder above
def test_an_error_of_the_disk_at_any_moment_costs_no_checkpoint(
    count: int, engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors of what the kernel writes late are raised by fsync."""
    assert save(*engine_and_recognizer, tmp_path, step=1) is None
    fsync, left = os.fsync, count

    def failing(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        problem = save(*engine_and_recognizer, tmp_path, step=2)
    assert problem is not None and "Input/output error" in problem
    found, refused = checkpoint.whole_checkpoint(tmp_path)
    assert found is not None and not refused and found.name in ("step-00000001", "step-00000002")
    assert save(*engine_and_recognizer, tmp_path, step=3) is None and newest(tmp_path).name == "step-00000003"


def test_what_fails_after_a_checkpoint_is_whole_is_no_failed_save(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoints"
    (folder / "latest" / "cannot be replaced").mkdir(parents=True)
    (folder / "step-00000000").touch()  # no folder: cannot be removed as one
    for step in (1, 2, 3):
        assert save(*engine_and_recognizer, tmp_path, keep=1, step=step, best_step=1, best=(0.1,)) is None
    found = {path.name for path in folder.glob("step-*")}
    assert (
        found == {"step-00000000.dropped", "step-00000001", "step-00000003"}
        and newest(tmp_path).name == "step-00000003"
    )
    assert (folder / "best").read_text() == "step-00000001\n"


def test_weights_that_are_not_finite_are_never_saved(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    engine, _ = engine_and_recognizer
    with pytest.raises(FloatingPointError, match="step 9"):
        checkpoint.save_checkpoint(
            engine, {"x": torch.tensor(float("nan"))}, RunState(step=9), tmp_path, keep=1, world=WORLD
        )
    assert newest(tmp_path) is None


def test_a_checkpoint_of_another_model_is_refused(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    save(*engine_and_recognizer, tmp_path, step=1)
    with pytest.raises(CliError, match="holds another model than --model"):
        checkpoint.load_weights(build_recognizer("tiny", "abcé"), newest(tmp_path))


def test_the_weights_of_a_checkpoint_reach_the_export(
    engine_and_recognizer: tuple[ds.Engine, Recognizer], tmp_path: Path
) -> None:
    engine, trained = engine_and_recognizer
    save(engine, trained, tmp_path, step=1)
    fresh = build_recognizer("tiny", "abc", seed=2)
    checkpoint.load_weights(fresh, tmp_path / "checkpoints/step-00000001")
    export_model(fresh, tmp_path / "model", torch.float32)
    weights, expected = load_file(tmp_path / "model" / "model.safetensors"), trained.model.state_dict()
    assert weights.keys() == expected.keys()
    assert all(value.equal(expected[name]) for name, value in weights.items())


def test_the_mean_of_weights_is_numpys(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    folders = [tmp_path / str(number) for number in range(5)]
    values = []
    for number, folder in enumerate(folders):
        folder.mkdir()
        tensors = {name: torch.randn(7, 3, generator=generator) * 10**number for name in ("a", "b", "frozen")}
        save_file(tensors, folder / "model.safetensors")
        values.append(tensors)
    found = checkpoint.average_weights(folders, ["a", "b"])
    assert found.keys() == {"a", "b"}
    for name, expected in mean_of(values).items():
        assert name == "frozen" or (found[name].dtype == torch.float32 and found[name].equal(expected))
