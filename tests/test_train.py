"""Real launches on gloo ranks; every run here trains the `tiny` model on the tone corpus."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import webdataset
from conftest import Server
from helpers.training import (
    STEPS,
    launch,
    metric,
    short,
    zero_file,
)
from safetensors.torch import load_file
from transformers import AutoModelForCTC, AutoProcessor

from asrscale.common.errors import CliError
from asrscale.speech.normalisation import normalise
from asrscale.training.config import train_config
from asrscale.training.run import train
from asrscale.training.watch import Watch

Run = Callable[..., subprocess.CompletedProcess[str]]


def slow(*values: object) -> object:
    """A case that repeats what others show on other numbers of ranks."""
    return pytest.param(*values, marks=pytest.mark.slow)


def test_a_finished_run_says_so_again_and_other_settings_are_refused(
    undisturbed: Path, tone_shards: Path, run_command: Run
) -> None:
    again = run_command(*launch(1, tone_shards, undisturbed, *short()))
    assert again.returncode == 0 and "is complete: the model is in" in again.stderr
    assert len(metric(undisturbed, "train/loss")) == STEPS
    other = run_command(*launch(1, tone_shards, undisturbed, *short(), "--seed", 7))
    assert other.returncode == 2
    assert "was started with --seed 42, not 7" in other.stderr


@pytest.fixture(scope="module")
def learned(tone_shards: Path, tmp_path_factory: pytest.TempPathFactory, run_command: Run) -> Path:
    """A run long enough to learn the tones, with W&B offline, in bf16."""
    folder = tmp_path_factory.mktemp("learned") / "run"
    flags = ["--max_steps", 150, "--warmup_steps", 20, "--eval_steps", 50, "--precision", "bf16"]
    done = run_command(*launch(2, tone_shards, folder, *flags, wandb="offline"))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_run_folder_holds_what_was_promised(learned: Path) -> None:
    names = {path.name for path in learned.iterdir()}
    assert names >= {"config.json", "ds_config.json", "environment.json", "metrics.jsonl", "metrics.png", "checkpoints",
                     "model", "eval", "wandb"}  # fmt: skip
    assert min(metric(learned, "valid/wer").values()) < 0.1
    assert metric(learned, "final/wer")[150] < 0.1
    first, last = metric(learned, "train/loss")[20], metric(learned, "train/loss")[140]
    assert last < first / 10
    environment = json.loads((learned / "environment.json").read_text())
    assert environment["world_size"] == 2 and environment["model"]["attention"] == "sdpa"
    assert json.loads((learned / "config.json").read_text())["precision"] == "bf16"
    assert list((learned / "wandb").glob("offline-run-*")) and (learned / "wandb" / "id.txt").exists()
    card = (learned / "model" / "README.md").read_text()
    assert f"{metric(learned, 'final/wer')[150]:.2%}" in card and "learning_rate" in card
    checkpoints = {path.name for path in (learned / "checkpoints").glob("step-*")}
    best = (learned / "checkpoints" / "best").read_text().strip()
    assert best in checkpoints and (learned / "checkpoints" / "latest").read_text().strip() in checkpoints


def test_stock_transformers_gives_every_predicted_text(learned: Path, tone_shards: Path) -> None:
    model = AutoModelForCTC.from_pretrained(learned / "model").eval()
    processor = AutoProcessor.from_pretrained(learned / "model")
    shards = sorted(map(str, (tone_shards / "valid").glob("*.tar")))
    audio = {
        sample["__key__"]: soundfile.read(io.BytesIO(sample["flac"]), dtype="float32")[0]
        for sample in webdataset.WebDataset(shards, shardshuffle=False)
    }
    rows = [json.loads(line) for line in (learned / "eval" / "valid.jsonl").read_text().splitlines()]
    assert len(rows) == len(audio) > 10
    for row in rows:
        inputs = processor(audio[row["key"]], sampling_rate=16_000, return_tensors="pt")
        logits = model(inputs.input_values).logits
        assert processor.batch_decode(logits.argmax(-1))[0] == row["hypothesis"]
        assert row["reference"] == normalise(row["reference"])


def test_evaluate_repeats_the_final_result(learned: Path, tone_shards: Path, tmp_path: Path, run_command: Run) -> None:
    words = ["-m", "asrscale.evaluate", "--model", learned / "model", "--out", tmp_path]
    done = run_command(sys.executable, *words, "--data", f"{tone_shards / 'valid'},{tone_shards / 'train'}")
    assert done.returncode == 0, done.stderr
    assert f"{metric(learned, 'final/wer')[150]:.2%}" in done.stdout.splitlines()[1]
    ours = (tmp_path / "shards-valid.jsonl").read_text()
    assert ours == (learned / "eval" / "valid.jsonl").read_text()


def test_early_stopping_ends_a_run_that_does_not_improve(tone_shards: Path, tmp_path: Path, run_command: Run) -> None:
    flags = ["--max_steps", 500, "--warmup_steps", 1, "--learning_rate", 1e-12, "--eval_steps", 2, "--patience", 2]
    done = run_command(*launch(1, tone_shards, tmp_path / "run", *flags))
    assert done.returncode == 0, done.stderr
    assert "stopped early after step" in done.stderr
    assert max(metric(tmp_path / "run", "valid/wer")) < 100
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_a_slow_store_shows_in_the_share_of_time_spent_waiting(
    http_server: Server, undisturbed: Path, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    pytest.importorskip("aiohttp", reason="needs aiohttp: pip install 'asrscale[remote]'")
    http_server.delay_seconds = 1.0
    words = launch(1, tone_shards, tmp_path / "run", *short())
    words[words.index("--train") + 1] = f"{http_server.url}/train"
    done = run_command(*words)
    assert done.returncode == 0, done.stdout + done.stderr
    shares, fast = ([*metric(folder, "train/waiting").values()] for folder in (tmp_path / "run", undisturbed))
    assert len(shares) == len(fast) == STEPS and all(0 <= share <= 1 for share in shares + fast)
    # A step is read while the one before it is computed: what it waits for is the rest of the store's second.
    step_seconds = [*metric(tmp_path / "run", "speed/step_seconds").values()]
    steps = list(zip(shares, step_seconds, strict=True))
    waiting_seconds = sum(share * seconds for share, seconds in steps)
    computing_seconds = sum((1 - share) * seconds for share, seconds in steps)
    assert waiting_seconds > 0.9 * (STEPS - 1) * http_server.delay_seconds - computing_seconds
    assert waiting_seconds > computing_seconds


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epoch", "3"], "unknown flag --epoch: did you mean --epochs?"),
        (["--schedule", "exponential"], "choose one of linear, cosine"),
        (["3"], "unexpected word '3'"),
        (["--config", "nowhere.json"], "--config nowhere.json: No such file"),
    ],
)
def test_the_command_says_it_in_one_line_with_exit_code_2(
    flags: list[str], message: str, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    done = run_command(*launch(1, tone_shards, tmp_path / "run"), *flags)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and message in done.stderr, done.stderr


def test_several_ranks_say_it_once(tone_shards: Path, tmp_path: Path, run_command: Run) -> None:
    done = run_command(*launch(2, tone_shards, tmp_path / "run", "--memory_cap_seconds", 0.3))
    assert done.returncode == 2
    assert (done.stdout + done.stderr).count("error: --memory_cap_seconds 0.3") == 1


def test_a_vocabulary_that_misses_characters_is_refused(learned: Path, tone_shards: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    subprocess.run(["cp", "-r", learned / "model", model], check=True)
    vocab = json.loads((model / "vocab.json").read_text())
    vocab["ß"] = vocab.pop("g")
    (model / "vocab.json").write_text(json.dumps(vocab))
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),))
    with pytest.raises(CliError, match=r"the vocabulary of --model .* misses .*'g' ×"):
        train(train_config(**data, model=str(model), run=str(tmp_path / "run")), Watch(tmp_path))


@pytest.mark.parametrize(("stage", "precision"), [(2, "bf16"), slow(0, "fp32"), slow(1, "bf16"), slow(3, "bf16")])
def test_a_checkpoint_is_fine_tuned_with_its_stem_untouched(
    stage: int, precision: str, learned: Path, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    flags = ["--model", learned / "model", "--max_steps", 8, "--warmup_steps", 2, "--batch_seconds", 4]
    flags += ["--freeze_feature_encoder", "true", "--mask_time_prob", 0.65, "--units_per_step", 4]
    words = [word for word in launch(2, tone_shards, tmp_path / "run") if word not in ("--model", "tiny")]
    flags += ["--config", zero_file(stage, tmp_path)]
    done = run_command(*words, *flags, "--precision", precision, "--log_steps", 1, "--dropout", "0.1")
    assert done.returncode == 0, done.stdout + done.stderr
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (
        settings["freeze_feature_encoder"] and settings["activation_checkpointing"] and settings["mask_time_prob"] > 0
    )
    before = load_file(learned / "model" / "model.safetensors")
    after = load_file(tmp_path / "run" / "checkpoints" / "step-00000008" / "model.safetensors")  # whichever is the best
    assert after.keys() - before.keys() == {"wav2vec2.masked_spec_embed"} and not before.keys() - after.keys()
    stem = [name for name in before if "feature_extractor" in name]
    assert stem and all(before[name].equal(after[name]) for name in stem)
    changed = [name for name in before if not before[name].equal(after[name])]
    assert "lm_head.weight" in changed and not set(changed) & set(stem)
    assert (tmp_path / "run" / "model" / "vocab.json").read_text() == (learned / "model" / "vocab.json").read_text()
    assert metric(tmp_path / "run", "final/wer")[8] < 0.1
