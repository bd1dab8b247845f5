"""The settings of a training run: sections put together, defaults that depend on each other, the run's config.json."""

import json
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from asrscale.common.checkpoint_files import may_be_hub_id
from asrscale.common.errors import CliError
from asrscale.common.json_values import parse_object
from asrscale.training.settings import (
    DEMO_DATA,
    BatchingSettings,
    DataSettings,
    EvaluationSettings,
    GeneralSettings,
    MemorySettings,
    ModelSettings,
    OptimisationSettings,
    TrackingSettings,
)

DEMO_MODEL = "tiny"

# The defaults of the sections are for fine-tuning. These are for a model that starts from random weights;
# docs/experiments/trained-models.md has the curves.
FROM_SCRATCH: dict[str, Any] = {
    "weight_decay": 0.01,
    "adam_beta2": 0.98,
    "activation_checkpointing": 0,
}

# Settings that follow from the data and the model where no flag gives them: see `recipe_settings`.
RECIPE_SETTINGS = (
    "batch_seconds",
    "units_per_step",
    "max_steps",
    "learning_rate",
    "schedule",
    "warmup_steps",
    "freeze_steps",
    "freeze_feature_encoder",
    "mask_time_prob",
    "mask_feature_prob",
    "layerdrop",
    "eval_steps",
    "save_steps",
    "log_steps",
    "patience",
)

PLACES_OF_DATA = ("train", "valid", "cache_dir", "augment")

# Settings that decide what the next step computes: they must not change when a run is resumed. Where the data lie may
# change; what is in them is compared by its hash.
FIXED_BY_THE_RUN = (
    "model",
    "revision",
    "language",
    "train_adapter",
    "vocab",
    "new_head",
    "seed",
    "batch_seconds",
    "units_per_step",
    "epochs",
    "max_steps",
    "max_minutes",
    "learning_rate",
    "schedule",
    "warmup_steps",
    "weight_decay",
    "adam_beta2",
    "max_gradient_norm",
    "ema",
    "freeze_feature_encoder",
    "lora_rank",
    "freeze_steps",
    "dropout",
    "mask_time_prob",
    "mask_feature_prob",
    "layerdrop",
    "mix_temperature",
    "perturb_speed",
    "eval_utterances",
    "metric",
)


@dataclass(frozen=True)
class TrainConfig:
    """Fine-tunes a CTC model: shards in, a Hugging Face model folder and its error rates out.

    Start it with `deepspeed -q launch/train.py …` (all GPUs), `torchrun … -- launch/train.py …`, `srun`, or plain
    `python` (one process). Run it again with the same flags to go on after an interruption.
    """

    general: GeneralSettings = field(default_factory=GeneralSettings)
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    batching: BatchingSettings = field(default_factory=BatchingSettings)
    optimisation: OptimisationSettings = field(default_factory=OptimisationSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    open: frozenset[str] = frozenset()  # names of RECIPE_SETTINGS that nobody has chosen yet


def train_config(**given: Any) -> TrainConfig:
    """Makes the settings of a run from those that were given, by the names of their flags.

    Without data they are the demo's. Those that the recipe is to choose are `open`.

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
    _check_export(given)
    defaults = FROM_SCRATCH if given.get("model") == DEMO_MODEL else {}
    is_open = set(RECIPE_SETTINGS) - given.keys()
    if "epochs" in given:
        is_open -= {"max_steps"}
    return replace(replace_settings(TrainConfig(), **defaults | given), open=frozenset(is_open))


def _check_export(given: Mapping[str, Any]) -> None:
    """Raises CliError where an adapter cannot be exported without the weights that it belongs to."""
    if not given.get("export_adapter"):
        return
    if not given.get("train_adapter"):
        raise CliError("--export_adapter needs --train_adapter: all weights of the model would change")
    model = str(given.get("model", ""))
    if given.get("push_to_hub") and (Path(model).exists() or not may_be_hub_id(model)):
        raise CliError(
            f"--push_to_hub with --export_adapter: others do not have --model {model}: leave one of the two out"
        )


def replace_settings(config: TrainConfig, /, **changes: Any) -> TrainConfig:
    """Changes settings by the names of their flags, whichever sections they are in.

    Raises:
        CliError: A value is out of range.
        TypeError: There is no such setting.
    """
    unknown = changes.keys() - to_dict(config).keys()
    if unknown:
        raise TypeError(f"no settings of a run: {', '.join(sorted(unknown))}")
    changed: dict[str, Any] = {}
    for section_field in _sections(config):
        section = getattr(config, section_field.name)
        own = {one.name: changes[one.name] for one in fields(section) if one.name in changes}
        changed[section_field.name] = replace(section, **own)
    return replace(config, **changed)


def _sections(config: TrainConfig) -> list[Field[Any]]:
    """Returns the fields of a configuration that are sections of settings."""
    return [one for one in fields(config) if is_dataclass(getattr(config, one.name))]


def by_section(config: TrainConfig) -> dict[str, dict[str, Any]]:
    """The settings by the names of their sections and of their flags."""
    return {section.name: asdict(getattr(config, section.name)) for section in _sections(config)}


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The settings by the names of their flags, as JSON has them."""
    flat: dict[str, Any] = {}
    for section in by_section(config).values():
        flat |= section
    loaded: dict[str, Any] = json.loads(json.dumps(flat))
    return loaded


def check_resumable(config: TrainConfig, folder: Path, content: Mapping[str, str]) -> list[str]:
    """Compares settings and data with those that a run was last started with.

    Args:
        config: The settings now.
        folder: The run folder.
        content: The hash of the content of the training and the validation data, by the names of their flags; and what
            --augment does, without folders, as `augment`, with a hash that covers these as `augment_content`.

    Returns:
        What changed and may change, a line each.

    Raises:
        CliError: Data or settings changed that must not, or config.json cannot be read.
    """
    try:
        before = parse_object((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CliError(f"{folder} has checkpoints but no readable config.json: choose another --run") from error
    before.setdefault("metric", "wer")  # by which older versions chose
    before = to_dict(TrainConfig()) | before  # any other setting that they lacked did what its default does
    changed = {name: now for name, now in to_dict(config).items() if before.get(name) != now}
    for name in FIXED_BY_THE_RUN:
        if name in changed:
            cure = "go on with the old value, or choose another --run"
            raise CliError(f"{folder} was started with --{name} {before.get(name)}, not {changed[name]}: {cure}")
    _check_same_data(config, folder, content, before.get("content"))
    _check_same_augmentation(config, folder, content, before)
    return [f"--{name} is {now} from here on, and was {before.get(name)}" for name, now in changed.items()]


def _check_same_data(config: TrainConfig, folder: Path, content: Mapping[str, str], before: Any) -> None:
    """Raises CliError where the data are not those that a run was last started with.

    Args:
        config: The settings now.
        folder: The run folder.
        content: As `check_resumable` takes it.
        before: What config.json holds of it.
    """
    if before is None:
        raise CliError(
            f"{folder} was started by an older asrscale, which recorded too little of its data to go on safely: "
            "choose another --run, or finish this one with the version that began it"
        )
    for name in ("train", "valid"):
        if content[name] != before[name]:
            places = ", ".join(getattr(config.data, name))
            raise CliError(
                f"{folder} was started with other data than {places} (--{name}) has now: sound or transcripts changed: "
                "give the data as they were, or choose another --run"
            )


def _check_same_augmentation(
    config: TrainConfig, folder: Path, content: Mapping[str, str], before: Mapping[str, Any]
) -> None:
    """Raises CliError where the sound would not be changed as when a run was last started.

    Args:
        config: The settings now.
        folder: The run folder.
        content: As `check_resumable` takes it.
        before: What config.json holds.
    """
    now = config.data.augment
    if content.get("augment", "") != before["content"].get("augment", ""):
        was = f"with --augment {before['augment']}" if before["augment"] else "without --augment"
        raise CliError(
            f"{folder} was started {was}, not {f'with {now}' if now else 'without'}: go on with the old value, or "
            "choose another --run"
        )
    if content.get("augment_content", "") != before["content"].get("augment_content", ""):
        raise CliError(
            f"{folder} was started with other recordings than are in the folders of --augment {now}: give them as they "
            "were, or choose another --run"
        )
