"""DeepSpeed configuration files: read, checked, completed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch

from asrscale.common.addresses import clean_value
from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.common.json_values import parse_json

Precision = Literal["auto", "fp32", "bf16", "fp16"]

# In the wheel the configurations lie inside of the package (pyproject.toml), in a checkout beside it.
_IN_WHEEL = Path(__file__).parents[1] / "ds_configs"
SHIPPED_FOLDER = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parents[2] / "ds_configs"

# What DeepSpeed does not get, and its one member.
_OWN_SECTION, _STAGE_0_UP_TO = "asrscale", "stage_0_up_to_parameters"

BF16_CAPABILITY = (8, 0)  # CUDA's compute capability of Ampere, the first GPUs that compute in bf16

# Keys of a DeepSpeed configuration that asrscale sets itself, and what to use instead.
_OWNED_KEYS = {
    "train_batch_size": "--batch_seconds and --units_per_step",
    "train_micro_batch_size_per_gpu": "--batch_seconds and --memory_cap_seconds",
    "gradient_accumulation_steps": "--units_per_step",
    "managed_gradient_accumulation": "--units_per_step",
    "gradient_clipping": "--max_gradient_norm",
    "optimizer": "--learning_rate, --weight_decay and --adam_beta2",
    "scheduler": "--schedule and --warmup_steps",
    "data_efficiency": "--batch_seconds",
    "curriculum_learning": "--batch_seconds",
    "communication_data_type": "--precision",
    "data_types": "--precision",
}

# As DeepSpeed's settings of trackers have one: comet.api_key.
_NAME_OF_SECRET = re.compile(r"(api|access|secret|private)_?key$|token$|secret|passw|credential", re.IGNORECASE)


def resolve_precision(precision: Precision, world: World) -> Precision:
    """Returns what `auto` means here: bf16 on Ampere and later, fp16 before, fp32 on a CPU; others as they are.

    Raises:
        CliError: fp16 on a CPU.
    """
    on_cpu = world.device.type == "cpu"
    if on_cpu and precision == "fp16":
        raise CliError("--precision fp16 needs a GPU: use fp32 or bf16 on a CPU")
    if precision != "auto":
        return precision
    if on_cpu:
        return "fp32"
    has_bf16 = torch.cuda.get_device_capability(world.device) >= BF16_CAPABILITY
    return "bf16" if has_bf16 else "fp16"


def find_ds_config(name: str) -> Path:
    """Finds a DeepSpeed configuration: a file, or one that is shipped with asrscale, from any folder.

    A shipped one is called `zero2`, `zero2.json` or `ds_configs/zero2.json`.
    """
    path = Path(name)
    shipped = SHIPPED_FOLDER / f"{path.stem}.json"
    is_shipped_name = path.parent in (Path(), Path("ds_configs")) and path.suffix in ("", ".json")
    if not path.is_file() and is_shipped_name and shipped.is_file():
        return shipped
    return path


def read_ds_config(path: str) -> dict[str, Any]:
    """Reads and checks a DeepSpeed configuration.

    Raises:
        CliError: It is missing or no JSON object, or has a concrete value where asrscale has a flag, or a secret.
    """
    config = _read_json_object(path)
    for name, text in _texts("", config):
        if clean_value(text) != text or _NAME_OF_SECRET.search(name):
            cure = "leave it out and use the environment"
            raise CliError(f'--config {path}: "{name}" is secret, and the settings of a run are written down: {cure}')
    for key, flag in _OWNED_KEYS.items():
        if config.get(key, "auto") != "auto":
            raise CliError(f'--config {path}: "{key}" must be "auto" or absent: use {flag}')
    for key in ("bf16", "fp16"):
        section = config.get(key, {})
        if not isinstance(section, dict) or section.get("enabled", "auto") != "auto":
            raise CliError(f'--config {path}: "{key}" must be an object whose "enabled" is "auto": use --precision')
    zero = config.get("zero_optimization", {})
    if not isinstance(zero, dict) or zero.get("stage", 0) not in (0, 1, 2, 3):
        raise CliError(f'--config {path}: "zero_optimization" needs a "stage" of 0, 1, 2 or 3')
    _check_own_section(path, config)
    return config


def _check_own_section(path: str, config: dict[str, Any]) -> None:
    """CliError where the section that DeepSpeed does not get holds anything but what is known."""
    section = config.get(_OWN_SECTION, {})
    is_known = isinstance(section, dict) and section.keys() <= {_STAGE_0_UP_TO}
    limit = section.get(_STAGE_0_UP_TO, 0) if is_known else None
    if type(limit) is not int or limit < 0:
        raise CliError(f'--config {path}: "{_OWN_SECTION}" may hold "{_STAGE_0_UP_TO}" alone, a number of parameters')


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yields the texts in a value of JSON, each with the name of the member that it is in; empty ones are left out."""
    if isinstance(value, str) and value:
        yield name, value
    elif isinstance(value, dict):
        for member, content in value.items():
            yield from _texts(member, content)
    elif isinstance(value, list):
        for content in value:
            yield from _texts(name, content)


def _read_json_object(path: str) -> dict[str, Any]:
    """Reads a file of --config; CliError where it is missing or holds no JSON object."""
    try:
        content = parse_json(find_ds_config(path).read_text(encoding="utf-8"))
    except OSError as error:
        names = ", ".join(sorted(file.stem for file in SHIPPED_FOLDER.glob("*.json")))
        raise CliError(f"--config {path}: {error.strerror}: give a file, or one of {names}") from error
    except ValueError as error:
        raise CliError(f"--config {path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise CliError(f"--config {path} holds no JSON object")
    return content


def resolve_ds_config(
    config: dict[str, Any], *, precision: Precision, max_gradient_norm: float, device: torch.device
) -> dict[str, Any]:
    """Returns the configuration that DeepSpeed gets: the file's, without "auto", and what asrscale sets itself.

    Args:
        config: From `read_ds_config`.
        precision: From `resolve_precision`.
        max_gradient_norm: Gradients are clipped to it.
        device: What the model is trained on.

    Raises:
        CliError: ZeRO stage 0 in 16 bits.
    """
    zero = {"stage": 0} | dict(config.get("zero_optimization", {}))
    if zero["stage"] == 0 and precision != "fp32":
        raise CliError(f"ZeRO stage 0 cannot add up {precision} gradients in fp32: use ds_configs/zero1.json")
    if zero.get("overlap_comm", "auto") == "auto":
        # Overlap needs a GPU's streams; with steps of our own DeepSpeed allows it from stage 2 on.
        zero["overlap_comm"] = device.type == "cuda" and zero["stage"] >= 2
    from_file = {key: value for key, value in config.items() if key not in _OWNED_KEYS and key != _OWN_SECTION}
    return from_file | {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": max_gradient_norm,
        "bf16": dict(config.get("bf16", {})) | {"enabled": precision == "bf16"},
        "fp16": dict(config.get("fp16", {})) | {"enabled": precision == "fp16"},
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,
        "timers": {"throughput": {"enabled": False}},  # DeepSpeed's waits for the GPU before every pass
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
    }


def keep_model_whole(
    resolved: dict[str, Any], from_file: dict[str, Any], *, parameters: int, world: World
) -> dict[str, Any]:
    """Returns a configuration with ZeRO stage 0 in place of 1 and 2, in fp32 on CPUs: on one rank, or of a small model.

    The weights come out the same. On one rank there is nothing to partition, and the higher stages need more memory. On
    several they spare 12 bytes a parameter at most. Their bookkeeping takes a tenth of the time of a step, and up to a
    third with a small model: docs/decisions/small-models.md.

    Args:
        resolved: From `resolve_ds_config`.
        from_file: From `read_ds_config`; its "asrscale" section says up to how many parameters on several ranks.
            Without one nothing changes.
        parameters: Of the model.
        world: The ranks.
    """
    limit = from_file.get(_OWN_SECTION, {}).get(_STAGE_0_UP_TO, 0)
    zero = resolved["zero_optimization"]
    is_fp32 = not (resolved["bf16"]["enabled"] or resolved["fp16"]["enabled"])
    is_partitioned = zero["stage"] in (1, 2) and not zero.get("offload_optimizer")
    is_wanted = parameters <= limit or (limit > 0 and world.world_size == 1)
    if is_wanted and is_partitioned and is_fp32 and world.device.type == "cpu":
        return resolved | {"zero_optimization": {"stage": 0, "overlap_comm": False}}
    return resolved
