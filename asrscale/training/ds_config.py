"""DeepSpeed configuration files: read, checked, completed."""

import json
from pathlib import Path
from typing import Any, Literal

import torch

from asrscale.common.distributed import World
from asrscale.common.errors import CliError

Precision = Literal["auto", "fp32", "bf16", "fp16"]


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


def resolve_precision(precision: Precision, world: World) -> Precision:
    """What `auto` means here: bf16 on Ampere and later, fp16 before, fp32 on a CPU, for which fp16 is a CliError."""
    on_cpu = world.device.type == "cpu"
    if on_cpu and precision == "fp16":
        raise CliError("--precision fp16 needs a GPU: use fp32 or bf16 on a CPU")
    if precision != "auto":
        return precision
    return "fp32" if on_cpu else "bf16" if torch.cuda.get_device_capability(world.device) >= (8, 0) else "fp16"


def read_ds_config(path: str) -> dict[str, Any]:
    """Reads a DeepSpeed configuration; CliError without one, or for a concrete value of what is a flag here."""
    try:
        config = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CliError(f"--config {path}: {error.strerror}: choose one of ds_configs/") from error
    except ValueError as error:
        raise CliError(f"--config {path} is not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise CliError(f"--config {path} holds no JSON object")
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
    return config


def resolve_ds_config(
    config: dict[str, Any], *, precision: Precision, max_gradient_norm: float, device: torch.device
) -> dict[str, Any]:
    """The configuration that DeepSpeed gets: the file's, without "auto"; CliError for stage 0 in 16 bits."""
    zero = {"stage": 0} | dict(config.get("zero_optimization", {}))
    if zero["stage"] == 0 and precision != "fp32":
        raise CliError(f"ZeRO stage 0 cannot add up {precision} gradients in fp32: use ds_configs/zero1.json")
    if zero.get("overlap_comm", "auto") == "auto":
        # Overlap needs a GPU's streams; with steps of our own DeepSpeed allows it from stage 2 on.
        zero["overlap_comm"] = device.type == "cuda" and zero["stage"] >= 2
    return {key: value for key, value in config.items() if key not in _OWNED_KEYS} | {
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
