import json
from pathlib import Path

import pytest

from asrscale.common.atomic_files import write_json
from asrscale.common.errors import CliError
from asrscale.training.config import RECIPE_SETTINGS, check_resumable, to_dict, train_config

DATA = dict(train=("a",), valid=("b",))
CONTENT = {"train": "abc", "valid": "def"}


def test_defaults_fit_the_model() -> None:
    fine_tuning, from_scratch = train_config(**DATA), train_config(**DATA, model="tiny")
    assert (fine_tuning.optimisation.weight_decay, from_scratch.optimisation.weight_decay) == (0.005, 0.01)
    assert (fine_tuning.memory.activation_checkpointing, from_scratch.memory.activation_checkpointing) == (1, 0)


def test_what_nobody_gives_is_open_for_the_recipe() -> None:
    assert train_config(**DATA).open == set(RECIPE_SETTINGS)
    given = train_config(**DATA, model="tiny", learning_rate=1.0, layerdrop=0.0)
    assert given.optimisation.learning_rate == 1.0
    assert given.open == set(RECIPE_SETTINGS) - {"learning_rate", "layerdrop"}
    assert "max_steps" not in train_config(**DATA, epochs=2.0).open  # they say how long the run is


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(epochs=1.0, max_steps=5), "--epochs and --max_steps"),
        (dict(learning_rate=0.0), "--learning_rate 0: give a value above 0"),
        (dict(units_per_step=-1), "--units_per_step -1"),
        (dict(mask_time_prob=1.0), "--mask_time_prob 1: give a value from 0 to below 1"),
        (dict(warmup_steps=-3), "--warmup_steps -3: give a value of 0 or more"),
        (dict(ema=1.0), "--ema 1: give a value from 0 to below 1"),
        (dict(average=-1), "--average -1: give a value of 0 or more"),
    ],
)
def test_bad_values_are_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(CliError, match=message):
        train_config(**DATA, **given)


def test_half_given_data_is_refused() -> None:
    with pytest.raises(CliError, match="missing flag --valid"):
        train_config(train=("a",))


def test_without_data_the_demo_is_used_or_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CliError, match="'make demo' makes it"):
        train_config()
    folder = tmp_path / "data" / "demo" / "shards" / "train"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text("{}")
    config = train_config()
    assert config.model.model == "tiny"
    assert config.data.train == ("data/demo/shards/train",)


def test_a_run_is_only_resumed_with_the_settings_that_made_it(tmp_path: Path) -> None:
    config = train_config(**DATA, memory_cap_seconds=40.0)
    write_json(tmp_path / "config.json", to_dict(config) | {"content": CONTENT})
    assert check_resumable(config, tmp_path, CONTENT) == []
    assert check_resumable(train_config(**DATA, log_steps=7, memory_cap_seconds=99.0), tmp_path, CONTENT) == [
        "--memory_cap_seconds is 99.0 from here on, and was 40.0",
        "--log_steps is 7 from here on, and was 20",
    ]
    with pytest.raises(CliError, match="was started with --seed 42, not 43"):
        check_resumable(train_config(**DATA, seed=43), tmp_path, CONTENT)
    others = dict(
        mask_time_prob=0.1, dropout=0.2, perturb_speed=True, max_gradient_norm=2.0, freeze_feature_encoder=False
    )
    for name, value in others.items():
        with pytest.raises(CliError, match=f"was started with --{name}"):
            check_resumable(train_config(**DATA, **{name: value}), tmp_path, CONTENT)
    for name, where in (("train", "a"), ("valid", "b")):
        with pytest.raises(CliError, match=rf"was started with other data than {where} \(--{name}\) has now"):
            check_resumable(config, tmp_path, CONTENT | {name: "other"})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CliError, match=r"no readable config\.json"):
        check_resumable(config, tmp_path, CONTENT)


def test_a_run_keeps_the_error_rate_that_chooses_its_best_model(tmp_path: Path) -> None:
    by_words, by_characters = train_config(**DATA, metric="wer"), train_config(**DATA, metric="cer")
    older = {name: value for name, value in to_dict(by_words).items() if name != "metric"}  # which knew WER only
    for settings in (older, to_dict(by_words)):
        write_json(tmp_path / "config.json", settings | {"content": CONTENT})
        assert check_resumable(by_words, tmp_path, CONTENT) == []
        with pytest.raises(CliError, match="was started with --metric wer, not cer: go on with the old value"):
            check_resumable(by_characters, tmp_path, CONTENT)


def test_a_run_keeps_its_moving_average_and_older_runs_have_none(tmp_path: Path) -> None:
    settings = to_dict(train_config(**DATA, metric="wer"))
    older = {name: value for name, value in settings.items() if name not in ("ema", "average")}
    write_json(tmp_path / "config.json", older | {"content": CONTENT})
    assert check_resumable(train_config(**DATA, metric="wer"), tmp_path, CONTENT) == []
    changes = check_resumable(train_config(**DATA, metric="wer", average=3), tmp_path, CONTENT)
    assert changes == ["--average is 3 from here on, and was 0"]
    with pytest.raises(CliError, match=r"was started with --ema 0\.0, not 0\.999"):
        check_resumable(train_config(**DATA, metric="wer", ema=0.999), tmp_path, CONTENT)


def test_a_run_goes_on_where_its_data_are_now(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", to_dict(train_config(**DATA)) | {"content": CONTENT})
    moved = train_config(train=("/elsewhere/a",), valid=DATA["valid"])
    assert check_resumable(moved, tmp_path, CONTENT) == ["--train is ['/elsewhere/a'] from here on, and was ['a']"]


def test_a_run_keeps_what_is_done_to_the_sound_wherever_the_noises_lie(tmp_path: Path) -> None:
    noisy = train_config(**DATA, augment="noise=n:5..20dB@0.5")
    content = CONTENT | {"augment": "noise=5..20dB@0.5", "augment_content": "123"}
    write_json(tmp_path / "config.json", to_dict(noisy) | {"content": content})
    assert check_resumable(noisy, tmp_path, content) == []
    moved = train_config(**DATA, augment="noise=/moved")
    [change] = check_resumable(moved, tmp_path, content)
    assert change == "--augment is noise=/moved from here on, and was noise=n:5..20dB@0.5"
    with pytest.raises(CliError, match=r"other recordings than are in the folders of --augment noise=/moved: "):
        check_resumable(moved, tmp_path, content | {"augment_content": "124"})
    other = train_config(**DATA, augment="gain@0.3")
    with pytest.raises(CliError, match=r"was started with --augment noise=n:5\.\.20dB@0\.5, not with gain@0\.3: go on"):
        check_resumable(other, tmp_path, content | {"augment": "gain=-18..6dB@0.3", "augment_content": "5"})
    with pytest.raises(CliError, match=r"was started with --augment noise=n.*, not without: go on with the old value"):
        check_resumable(train_config(**DATA), tmp_path, CONTENT)

    settings = to_dict(train_config(**DATA))
    older = {name: value for name, value in settings.items() if name != "augment"}
    write_json(tmp_path / "config.json", older | {"content": CONTENT})
    assert check_resumable(train_config(**DATA), tmp_path, CONTENT) == []
    with pytest.raises(CliError, match=r"was started without --augment, not with noise=n"):
        check_resumable(noisy, tmp_path, content)


def test_a_run_that_does_not_know_its_data_is_not_resumed(tmp_path: Path) -> None:
    config = train_config(**DATA)
    write_json(tmp_path / "config.json", to_dict(config) | {"data_fingerprint": "abc"})
    with pytest.raises(CliError, match="was started by an older asrscale"):
        check_resumable(config, tmp_path, CONTENT)


def test_write_json_leaves_no_partial_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": "ü"})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": "ü"}
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
