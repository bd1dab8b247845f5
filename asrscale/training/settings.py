"""The sections of a training run's settings: their flags, defaults and checks.

Every field is a flag of its own on the command line; `config.TrainConfig` puts the sections together.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from asrscale.augmentation.effects import parse_effects
from asrscale.common.addresses import clean_value
from asrscale.common.cli import setting
from asrscale.common.errors import CliError

DEMO_DATA = "data/demo/shards"
DEMO_RUN = "runs/demo"

# What --help shows as the default of settings that the data and the model decide.
BY_RECIPE = "by hours of data, and the model"


@dataclass(frozen=True)
class GeneralSettings:
    """The run."""

    run: str = setting(DEMO_RUN, help="run folder: settings, metrics, checkpoints, the model")
    seed: int = setting(42, help="seeds the order of the data, the initial weights, dropout and SpecAugment")
    hang_seconds: float = setting(600.0, help="end the run when no rank makes progress for so long")

    def __post_init__(self) -> None:
        _check_at_least_0(self, "seed")
        _check_above_0(self, "hang_seconds")
        _check_no_credentials(self)


@dataclass(frozen=True)
class DataSettings:
    """Data."""

    train: tuple[str, ...] = setting(
        (DEMO_DATA + "/train",),
        help="data set folders to train on; FOLDER=0.3 visits its utterances in 30 % of the epochs, =2.5 two or three "
        "times in each",
    )
    mix_temperature: float = setting(
        1.0,
        help="instead of such weights, give each data set a share of an epoch by its hours to the power of 1/X: 1 as "
        "the data are, higher for more even shares",
    )
    valid: tuple[str, ...] = setting((DEMO_DATA + "/valid",), help="data set folders for the error rates")
    perturb_speed: bool = setting(False, help="play each utterance at 0.9, 1.0 or 1.1 of its speed, drawn each epoch")
    augment: str | None = setting(
        None,
        help="what is done to the sound of training, drawn anew each epoch: parts joined by commas, such as "
        "noise=DIR:10..30dB@0.3, rir=DIR, gain=-18..6dB, clip=3..15dB, telephone, codec=mp3+opus+mulaw; behind an @ "
        "the share of utterances, else half of them",
    )
    max_unknown_fraction: float = setting(0.01, help="largest share of characters that the vocabulary may lack")
    max_bad_fraction: float = setting(0.01, help="largest share of utterances that may turn out damaged while training")
    decode_threads: int = setting(2, help="threads of each rank that read and decode")
    cache_dir: str | None = setting(None, help="folder on the node's own disk for copies of remote shards")
    cache_bytes: int = setting(100_000_000_000, help="size of --cache_dir; the least recently used copies are dropped")

    def __post_init__(self) -> None:
        _check_fractions(self, "max_unknown_fraction", "max_bad_fraction")
        _check_above_0(self, "decode_threads", "cache_bytes")
        _check(self, ("mix_temperature",), "of 1 or more", lambda value: value >= 1)
        _check_no_credentials(self)
        if self.augment is not None:
            parse_effects(self.augment)  # raises CliError


@dataclass(frozen=True)
class BatchingSettings:
    """Batches, and the length of the run."""

    batch_seconds: float = setting(160.0, help="padded audio of a unit", default_text=BY_RECIPE)
    units_per_step: int = setting(4, help="units of an optimizer step", default_text=BY_RECIPE)
    epochs: float = setting(3.0, help="length of the run", default_text=BY_RECIPE)
    max_steps: int = setting(0, help="length of the run in steps, instead of --epochs", default_text=BY_RECIPE)
    max_minutes: float = setting(
        0.0, help="as many steps as fit into this time, start, evaluations and export included; 0: no limit"
    )

    @property
    def step_seconds(self) -> float:
        """Padded audio of an optimizer step, on all ranks together."""
        return self.batch_seconds * self.units_per_step

    def __post_init__(self) -> None:
        _check_above_0(self, "batch_seconds", "units_per_step", "epochs")
        _check_at_least_0(self, "max_steps", "max_minutes")


@dataclass(frozen=True)
class OptimisationSettings:
    """Optimisation."""

    learning_rate: float = setting(1e-4, help="peak", default_text=BY_RECIPE)
    schedule: Literal["linear", "cosine", "tri_stage"] = setting(
        "linear",
        help="after warm-up: linear to 0; constant to 30 % of the run and cosine to 2 %; or constant to half of the "
        "run and exponential to 5 %",
        default_text=BY_RECIPE,
    )
    warmup_steps: int = setting(0, help="steps to the peak", default_text=BY_RECIPE)
    weight_decay: float = setting(0.005, help="AdamW's; from scratch 0.01")
    adam_beta2: float = setting(0.999, help="AdamW's; from scratch 0.98")
    max_gradient_norm: float = setting(1.0, help="gradients are clipped to this norm")
    freeze_steps: int = setting(0, help="train the head only for so many steps at first", default_text=BY_RECIPE)
    ema: float = setting(0.0, help="decay of a moving average of the weights, such as 0.999; 0: none is kept")
    max_skipped_steps: int = setting(10, help="stop after so many steps in a row without a finite gradient")

    def __post_init__(self) -> None:
        _check_above_0(self, "learning_rate", "max_gradient_norm", "max_skipped_steps")
        _check_at_least_0(self, "warmup_steps", "weight_decay", "freeze_steps")
        _check_fractions(self, "adam_beta2", "ema")


@dataclass(frozen=True)
class ModelSettings:
    """Model and regularisation."""

    model: str = setting("facebook/wav2vec2-base-960h", help="Hugging Face id or folder; 'tiny' starts from scratch")
    revision: str | None = setting(None, help="branch, tag or commit of a Hugging Face id; none: its main branch")
    language: str | None = setting(
        None, help="which language of a model of many, such as MMS, as tr or tur; one that it lacks starts at random"
    )
    train_adapter: bool = setting(False, help="train the adapter and the head of --language only")
    vocab: str | None = setting(
        None,
        help="shards, or a vocab.json, model folder or Hugging Face id: another vocabulary than the checkpoint's own",
    )
    new_head: bool = setting(False, help="draw the head at random, though the checkpoint has a trained one")
    attention: Literal["auto", "sdpa", "flash_attention_2", "eager"] = setting(
        "auto", help="auto: as transformers does"
    )
    compile_layers: bool = setting(
        False, help="compile the transformer's layers by torch.compile: not at ZeRO stage 3; not yet measured on a GPU"
    )
    freeze_feature_encoder: bool = setting(
        True, help="keep the convolutional stem as it is", default_text="true; false for small models"
    )
    lora_rank: int = setting(0, help="train additions of this rank to the transformer's layers, and the head; 0: all")
    dropout: float | None = setting(None, help="every dropout of the model; none: the checkpoint's own")
    mask_time_prob: float = setting(0.0, help="SpecAugment: share of frames to mask", default_text=BY_RECIPE)
    mask_feature_prob: float = setting(0.0, help="SpecAugment: share of features to mask", default_text=BY_RECIPE)
    layerdrop: float = setting(0.0, help="share of layers skipped in a step", default_text=BY_RECIPE)

    def __post_init__(self) -> None:
        if self.train_adapter and self.lora_rank:
            raise CliError("--train_adapter and --lora_rank both say what is trained: give one")
        _check_at_least_0(self, "lora_rank")
        _check_fractions(self, "dropout", "mask_time_prob", "mask_feature_prob", "layerdrop")
        _check_no_credentials(self)


@dataclass(frozen=True)
class MemorySettings:
    """Memory and precision."""

    config: str = setting("ds_configs/zero2.json", help="DeepSpeed configuration")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting("auto", help="auto: bf16 or fp16 on a GPU, else fp32")
    activation_checkpointing: int = setting(
        1, help="recompute the activations of every N-th layer to save memory: 1 all, 0 none; from scratch 0"
    )
    memory_cap_seconds: float = setting(0.0, help="padded audio of a pass on one GPU; 0: what fits, and on a CPU 40")
    memory_gib: float = setting(0.0, help="memory of a GPU to count on for that; 0: all that it has")
    restarts: int = setting(0, help="start again so often where ZeRO 2 or 3 ran out of memory and cannot go on")

    def __post_init__(self) -> None:
        _check_at_least_0(self, "activation_checkpointing", "memory_cap_seconds", "memory_gib", "restarts")
        _check_no_credentials(self)


@dataclass(frozen=True)
class EvaluationSettings:
    """Evaluations, checkpoints and the exported model."""

    eval_steps: int = setting(500, help="steps between evaluations", default_text=BY_RECIPE)
    eval_utterances: int = setting(500, help="size of the fixed subset for evaluations while training")
    metric: Literal["auto", "wer", "cer"] = setting(
        "auto",
        help="error rate that decides which model is the best: of words or of characters; auto: cer where most letters "
        "of the validation data are of scripts without spaces, such as Chinese or Thai",
    )
    patience: int = setting(
        3, help="stop after so many evaluations without a better --metric; 0: never", default_text=BY_RECIPE
    )
    save_steps: int = setting(500, help="steps between checkpoints", default_text=BY_RECIPE)
    save_total_limit: int = setting(2, help="checkpoints to keep beside the best")
    average: int = setting(
        0, help="average the weights of the last N checkpoints of --save_steps, and keep these weights for it; 0: none"
    )
    export_dtype: Literal["fp32", "bf16"] = setting("fp32", help="numbers of the exported model; bf16 halves its size")
    export_adapter: bool = setting(
        False, help="with --train_adapter, export the adapter and the head only, with a reference to --model"
    )
    export: Literal["none", "onnx", "onnx_int8"] = setting(
        "none", help="write the model as ONNX, too, to RUN/model/onnx; onnx_int8: and one with matrices of 8 bits"
    )
    license: str | None = setting(
        None, help="license in the card of the exported model, such as cc-by-4.0; none: that in the card of --model"
    )
    push_to_hub: str | None = setting(
        None, help="Hugging Face id to upload the model to; made private unless it exists"
    )
    public: bool = setting(False, help="make the repository of --push_to_hub public, where it is made")

    def __post_init__(self) -> None:
        _check_above_0(self, "eval_steps", "eval_utterances", "save_steps", "save_total_limit")
        _check_at_least_0(self, "patience", "average")
        if self.public and not self.push_to_hub:
            raise CliError("--public is about the repository of --push_to_hub: give both, or leave it out")
        _check_no_credentials(self)


@dataclass(frozen=True)
class TrackingSettings:
    """Metrics and records."""

    log_steps: int = setting(20, help="steps between lines of metrics.jsonl", default_text=BY_RECIPE)
    ledger: bool = setting(False, help="write the keys of each step's utterances to RUN/ledger")
    tracker: tuple[Literal["wandb", "trackio", "tensorboard"], ...] = setting(
        ("wandb",), help="where metrics go beside RUN/metrics.jsonl; one or several"
    )
    wandb: Literal["auto", "offline", "online", "off"] = setting(
        "auto", help="auto: as WANDB_MODE says, or else online if you are logged in"
    )
    wandb_predictions: bool = setting(
        False, help="send 20 transcripts and what was recognised of them at each evaluation to W&B and trackio"
    )
    wandb_project: str = setting("asrscale", help="project of W&B and of trackio")

    def __post_init__(self) -> None:
        _check_above_0(self, "log_steps")
        _check_no_credentials(self)


def _check_above_0(section: object, *names: str) -> None:
    _check(section, names, "above 0", lambda value: value > 0)


def _check_at_least_0(section: object, *names: str) -> None:
    _check(section, names, "of 0 or more", lambda value: value >= 0)


def _check_fractions(section: object, *names: str) -> None:
    _check(section, names, "from 0 to below 1", lambda value: 0 <= value < 1)


def _check(section: object, names: tuple[str, ...], rule: str, holds: Callable[[Any], bool]) -> None:
    """Raises CliError for a value that breaks a rule; None, where a setting has it, is always fine."""
    for name in names:
        value = getattr(section, name)
        if value is not None and not holds(value):
            raise CliError(f"--{name} {value:g}: give a value {rule}")


def _check_no_credentials(section: object) -> None:
    """Settings go to files, to W&B and to the model's card, so no address may hold a password or a signature."""
    for field in fields(section):  # type: ignore[arg-type]  # of a dataclass
        value = getattr(section, field.name)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str) and clean_value(text) != text:
                secret = "user, password and query of an address would be written down"
                raise CliError(f"--{field.name}: {secret}: leave them out and use the environment")
