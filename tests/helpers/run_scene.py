"""Data, a model and an undisturbed run of it, beside which other attempts at the same run are put."""

import json
import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from conftest import write_corpus
from safetensors.torch import load_file
from torch import Tensor
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.training.checkpoint import whole_checkpoint
from helpers.models import FEW_WEIGHTS
from helpers.run_attempts import Attempt, Fault, attempt
from helpers.sharding import shard

STEPS = 6
EMA = 0.2  # from the third step on
Score = tuple[float, float, float]

# All that a step computes, but for the settings that a sequence may change.
FIXED: dict[str, Any] = {
    "max_steps": STEPS,
    "warmup_steps": 1,
    "learning_rate": 0.4,
    "batch_seconds": 2.0,
    "units_per_step": 1,
    "memory_cap_seconds": 4.0,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "layerdrop": 0.0,
    "freeze_steps": 2,
    "freeze_feature_encoder": "true",
    "schedule": "linear",
    "log_steps": 1,
    "ledger": "true",
    "wandb": "off",
    "config": "ds_configs/zero0.json",
    "decode_threads": 1,
}


@dataclass(frozen=True)
class Scene:
    """What all sequences share."""

    root: Path
    losses: dict[int, float]  # of the undisturbed run, by step
    scores: dict[int, Score]
    weights: dict[int, dict[str, Tensor]]
    averages: dict[int, dict[str, Tensor]]  # the moving average with EMA, by step
    visits: dict[int, list[str]]  # the keys of each step

    @property
    def model(self) -> Path:
        return self.root / "model"

    def data(self, variant: str) -> Path:
        """The shards: as they were ("plain"), or with a transcript of "train" or "valid" corrected."""
        return self.root / variant / "shards"


def make_scene(root: Path) -> Scene:
    """Builds data and model, and runs the undisturbed run."""
    write_corpus(root / "plain", utterances=24)
    torch.manual_seed(0)
    Wav2Vec2ForCTC(Wav2Vec2Config(**FEW_WEIGHTS)).wav2vec2.save_pretrained(root / "model")
    _build(root / "plain")
    for split in ("train", "valid"):
        corrected = shutil.copytree(root / "plain", root / split, ignore=shutil.ignore_patterns("shards"))
        _correct_a_transcript(corrected / "corpus.csv", _recording_in(root / "plain" / "shards" / split))
        _build(corrected)
        # A sentence that changes may go to another split: only this one is to be other than it was.
        [other] = {"train", "valid"} - {split}
        shutil.rmtree(corrected / "shards" / other)
        shutil.copytree(root / "plain" / "shards" / other, corrected / "shards" / other)

    run_folder = root / "undisturbed"
    scene = Scene(root, {}, {}, {}, {}, {})
    every = {"eval_steps": 1, "save_steps": 1, "save_total_limit": 99, "patience": 0, "ema": EMA}
    done = start(scene, run_folder, scene.data("plain"), every, Fault())
    assert done.code == 0, done.output
    for row in rows_of(run_folder / "metrics.jsonl"):
        step = row["step"]
        if "train/loss" in row:
            scene.losses[step] = row["train/loss"]
        if "valid/wer" in row:
            scene.scores[step] = score_of(row)
    for row in rows_of(run_folder / "ledger" / "rank-00000.jsonl"):
        scene.visits[row["step"]] = row["keys"]
    for step in range(1, STEPS + 1):
        checkpoint, refusals = whole_checkpoint(run_folder, step)
        assert checkpoint is not None and not refusals
        scene.weights[step] = load_file(checkpoint / "model.safetensors")
        scene.averages[step] = moving_average_in(checkpoint)
    return scene


def moving_average_in(checkpoint: Path) -> dict[str, Tensor]:
    """The moving average of a checkpoint, by the names of the weights."""
    states = load_file(checkpoint / "optimizer.safetensors")
    prefix = "weight_average/"
    return {name.removeprefix(prefix): value for name, value in states.items() if name.startswith(prefix)}


def _build(folder: Path) -> None:
    shard("--csv", folder / "corpus.csv", "--out", folder / "shards", "--shard_utterances", 8)


def _recording_in(split: Path) -> str:
    """The file name of a recording that went into a split."""
    [tar_file, *_] = sorted(split.glob("*.tar"))
    with tarfile.open(tar_file) as tar:
        [member, *_] = [member for member in tar if member.name.endswith(".json")]
        file = tar.extractfile(member)
        assert file is not None
        return str(json.load(file)["audio"])


def _correct_a_transcript(csv_file: Path, name: str) -> None:
    """Changes a letter of one transcript, and not the transcript's length."""
    lines = csv_file.read_text().splitlines()
    for number, line in enumerate(lines):
        if line.startswith(f"{name},"):
            words = line.split(",")
            words[1] = ("a" if words[1][0] != "a" else "e") + words[1][1:]
            lines[number] = ",".join(words)
    csv_file.write_text("\n".join(lines) + "\n")


def start(scene: Scene, run_folder: Path, data: Path | str, changing: dict[str, Any], fault: Fault) -> Attempt:
    """Makes one attempt at the run in `run_folder`."""
    flags = FIXED | changing
    train, valid = f"{data}/train", f"{data}/valid"
    words = ["--train", train, "--valid", valid, "--model", str(scene.model), "--run", str(run_folder)]
    for name, value in flags.items():
        words += [f"--{name}", str(value)]
    return attempt(words, run_folder, fault)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file; none where it does not exist."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def score_of(row: dict[str, Any]) -> Score:
    """What decides which evaluation is the best."""
    loss = row["valid/loss"]
    return row["valid/wer"], row["valid/cer"], float("inf") if loss is None else loss


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Names, sizes and times of all files below a folder, but for the lock."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name != "lock":
            status = os.lstat(path)
            found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns)
    return found
