"""Every setting of a training run: one frozen dataclass, its flags, its checks, its file."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from asrscale.cli import setting
from asrscale.errors import CliError

DEMO_DATA = "data/demo/shards"
DEMO_MODEL = "tiny"

# The defaults below are for fine-tuning: the values of the notebook this project began with, and units of 160 s so that
# ranks balance. These are for a model that starts from random weights; docs/experiments.md has the curves.
FROM_SCRATCH: dict[str, Any] = dict(
    learning_rate=3e-3, weight_decay=0.01, adam_beta2=0.98, warmup_steps=100, schedule="cosine", max_steps=4000,
    batch_seconds=6.0, units_per_step=2, freeze_feature_encoder=False, activation_checkpointing=0,
    mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0,
)  # fmt: skip

# SpecAugment over time and over features, and LayerDrop, up to so many hours of training data: fairseq's fine-tuning
# recipes base_1h, base_10h, base_100h and base_960h (examples/wav2vec/config/finetuning).
REGULARISATION_BY_HOURS = (
    (3, 0.65, 0.25, 0.1),
    (30, 0.65, 0.5, 0.05),
    (300, 0.65, 0.5, 0.1),
    (math.inf, 0.5, 0.1, 0.1),
)


@dataclass(frozen=True)
class TrainConfig:
    """Fine-tunes a Wav2Vec2ForCTC: shards in, a Hugging Face model folder and its WER out.

    Start it with `deepspeed launch/train.py …` (all GPUs), `torchrun … -- launch/train.py …`, `srun`, or plain `python`
    (one process). Run it again with the same flags to go on after an interruption.
    """

    config: str = setting("ds_configs/zero2.json", help="DeepSpeed configuration")
    train: tuple[str, ...] = setting((DEMO_DATA + "/train",), help="data set folders to train on")
    valid: tuple[str, ...] = setting((DEMO_DATA + "/valid",), help="data set folders for the WER")
    run: str = setting("runs/demo", help="run folder: settings, metrics, checkpoints, the model")
    model: str = setting("facebook/wav2vec2-base-960h", help="Hugging Face id or folder; 'tiny' starts from scratch")
    vocab: str | None = setting(None, help="shards, or a vocab.json: another vocabulary than the checkpoint's own")
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = setting(
        "auto", help="auto: as transformers does"
    )
    seed: int = setting(42, help="seeds the order of the data, the initial weights, dropout and SpecAugment")

    batch_seconds: float = setting(160.0, help="padded audio of a unit; from scratch 6")
    units_per_step: int = setting(4, help="units of an optimizer step; from scratch 2")
    memory_cap_seconds: float = setting(0.0, help="padded audio of a pass on one GPU; 0: what fits, and on a CPU 40")
    memory_gib: float = setting(0.0, help="memory of a GPU to count on for that; 0: all that it has")
    restarts: int = setting(0, help="start again so often where ZeRO 2 or 3 ran out of memory and cannot go on")
    epochs: float = setting(3.0, help="length of the run")
    max_steps: int = setting(0, help="length of the run in steps, instead of --epochs; from scratch 4000")

    learning_rate: float = setting(1e-4, help="peak; from scratch 3e-3")
    schedule: Literal["linear", "cosine", "tri_stage"] = setting(
        "linear",
        help="after warm-up: linear to 0; constant to 30 % of the run and cosine to 2 % (from scratch); or constant to "
        "half of the run and exponential to 5 %",
    )
    warmup_steps: int = setting(500, help="steps to the peak; from scratch 100")
    weight_decay: float = setting(0.005, help="AdamW's; from scratch 0.01")
    adam_beta2: float = setting(0.999, help="AdamW's; from scratch 0.98")
    max_gradient_norm: float = setting(1.0, help="gradients are clipped to this norm")

    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", help="auto: bf16 or fp16 on a GPU, else fp32")
    freeze_feature_encoder: bool = setting(True, help="keep the convolutional stem as it is; from scratch false")
    activation_checkpointing: int = setting(
        1, help="recompute the activations of every N-th layer to save memory: 1 all, 0 none; from scratch 0"
    )
    lora_rank: int = setting(0, help="train additions of this rank to the transformer's layers, and the head; 0: all")
    dropout: float | None = setting(None, help="every dropout of the model; none: the checkpoint's own")
    freeze_steps: int = setting(0, help="train the head only for so many steps at first")
    mask_time_prob: float | None = setting(None, help="SpecAugment over time; none: by hours of data; from scratch 0")
    mask_feature_prob: float | None = setting(None, help="SpecAugment over features; as --mask_time_prob")
    layerdrop: float | None = setting(None, help="share of layers skipped in a step; as --mask_time_prob")
    perturb_speed: bool = setting(False, help="hear each utterance at 0.9, 1.0 or 1.1 of its speed, anew each epoch")
    max_unknown_fraction: float = setting(0.01, help="most of the characters that the vocabulary may miss")
    max_bad_fraction: float = setting(0.01, help="most of the utterances that may turn out damaged while training")
    max_skipped_steps: int = setting(10, help="stop after so many steps in a row without a finite gradient")

    log_steps: int = setting(20, help="steps between lines of metrics.jsonl")
    eval_steps: int = setting(500, help="steps between evaluations")
    eval_utterances: int = setting(500, help="size of the fixed subset for evaluations while training")
    save_steps: int = setting(500, help="steps between checkpoints")
    save_total_limit: int = setting(2, help="checkpoints to keep beside the best")
    patience: int = setting(3, help="stop after so many evaluations without a better WER; 0: never")
    hang_seconds: float = setting(600.0, help="end the run when no rank comes further for so long")
    decode_threads: int = setting(2, help="threads of each rank that read and decode")
    ledger: bool = setting(False, help="write the keys of each step's utterances to RUN/ledger")
    cache_dir: str | None = setting(None, help="folder on the node's own disk for copies of shards that lie elsewhere")
    cache_bytes: int = setting(100_000_000_000, help="size of --cache_dir; the least recently used copies are dropped")
    export_dtype: Literal["fp32", "bf16"] = setting("fp32", help="numbers of the exported model; bf16 halves its size")
    push_to_hub: str | None = setting(None, help="Hugging Face id to upload the model to; made public unless it exists")
    wandb: Literal["auto", "offline", "online", "off"] = setting("auto", help="auto: online if you are logged in")
    wandb_project: str = setting("asrscale", help="W&B project")


def train_config(**given: Any) -> TrainConfig:
    """The settings of a run from those that were given; defaults fit the model, and without data are the demo's.

    Raises:
        CliError: A value out of range, flags that exclude or need each other, or no demo data where it is needed.
    """
    if "epochs" in given and "max_steps" in given:
        raise CliError("--epochs and --max_steps both say how long the run is: give one")
    if ("train" in given) != ("valid" in given):
        missing = "valid" if "train" in given else "train"
        raise CliError(f"missing flag --{missing}: give both --train and --valid, or neither for the demo's data")
    if "train" not in given:
        if not Path(DEMO_DATA, "train", "dataset.json").is_file():
            raise CliError(f"no --train and --valid given, and no demo data in {DEMO_DATA}: 'make demo' makes it")
        given = {"model": DEMO_MODEL} | given
    defaults = FROM_SCRATCH if given.get("model") == DEMO_MODEL else {}
    if "epochs" in given:
        defaults = {name: value for name, value in defaults.items() if name != "max_steps"}
    config = TrainConfig(**defaults | given)
    for name in ("train", "valid", "model", "vocab", "cache_dir"):
        if re.search(r"://[^/]*@", str(getattr(config, name))):  # settings go to files, to W&B and to the model's card
            raise CliError(f"--{name}: user and password in an address would be written down: use the environment")
    for rule, (holds, names) in _RANGES.items():
        for name in names:
            if (value := getattr(config, name)) is not None and not holds(value):
                raise CliError(f"--{name} {value:g}: give a value {rule}")
    return config


def regularised(config: TrainConfig, hours: float) -> TrainConfig:
    """The settings with what REGULARISATION_BY_HOURS says where they say nothing."""
    _, *rates = next(row for row in REGULARISATION_BY_HOURS if hours <= row[0])
    found: dict[str, Any] = dict(zip(("mask_time_prob", "mask_feature_prob", "layerdrop"), rates, strict=True))
    return replace(config, **{name: rate for name, rate in found.items() if getattr(config, name) is None})


ORDERING = ("seed", "batch_seconds", "units_per_step", "perturb_speed")  # decide the order of the data


def chosen(config: TrainConfig, *names: str) -> dict[str, Any]:
    """Some of the settings."""
    return {name: getattr(config, name) for name in names}


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The settings as JSON has them."""
    loaded: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return loaded


# Settings that decide what the next step computes: they must not change when a run is resumed.
FIXED_BY_THE_RUN = ("train", "valid", "model", "vocab", "seed", "batch_seconds", "units_per_step", "epochs",
                    "max_steps", "learning_rate", "schedule", "warmup_steps", "weight_decay", "adam_beta2",
                    "max_gradient_norm", "freeze_feature_encoder", "lora_rank", "freeze_steps", "dropout",
                    "mask_time_prob", "mask_feature_prob", "layerdrop", "perturb_speed", "eval_utterances")  # fmt: skip


def check_resumable(config: TrainConfig, folder: Path, data_fingerprint: str) -> list[str]:
    """What changed since a run was last started, a line each; CliError for data and settings that must not."""
    try:
        before = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CliError(f"{folder} has checkpoints but no readable config.json: choose another --run") from error
    changed = {name: now for name, now in to_dict(config).items() if before.get(name) != now}
    for name in FIXED_BY_THE_RUN:
        if name in changed:
            cure = "go on with the old value, or choose another --run"
            raise CliError(f"{folder} was started with --{name} {before.get(name)}, not {changed[name]}: {cure}")
    if before.get("data_fingerprint") != data_fingerprint:
        raise CliError(f"{folder} was started with other data in {', '.join(config.train)}: choose another --run")
    return [f"--{name} is {now} from here on, and was {before.get(name)}" for name, now in changed.items()]


# Which values each number may have; None, where a setting has it, is always fine.
_RANGES: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {
    "above 0": (lambda value: value > 0, (
        "batch_seconds", "units_per_step", "epochs", "learning_rate", "max_gradient_norm",
        "max_skipped_steps", "hang_seconds", "log_steps", "eval_steps", "eval_utterances", "save_steps",
        "save_total_limit", "decode_threads", "cache_bytes")),
    "of 0 or more": (lambda value: value >= 0, (
        "max_steps", "warmup_steps", "weight_decay", "patience", "seed", "freeze_steps", "activation_checkpointing",
        "lora_rank", "restarts", "memory_cap_seconds", "memory_gib")),
    "from 0 to below 1": (lambda value: 0 <= value < 1, (
        "adam_beta2", "dropout", "mask_time_prob", "mask_feature_prob", "layerdrop", "max_unknown_fraction",
        "max_bad_fraction")),
}  # fmt: skip
