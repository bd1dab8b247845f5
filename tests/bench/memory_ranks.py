"""Predicted memory of DeepSpeed ranks beside what real ones hold; a part of bench_memory.py, and what torchrun runs."""

import gc
import itertools
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.deepspeed_ranks import predicted_bytes, run_backward
from helpers.models import FAMILIES
from helpers.passes import SHORT_SLICE_SAMPLES, CpuSemantics, masked, padded_pass, set_slices, sketched, weighted
from helpers.resident import MALLOC, forget_peak, resident_bytes

from asrscale.common.distributed import World
from asrscale.memory.pass_cost import trace_pass
from asrscale.memory.tape import Tape
from asrscale.model.freezing import freeze_feature_encoder
from asrscale.model.regularisation import prepare_pass
from asrscale.training import ds_config
from asrscale.training import engine as ds
from asrscale.training.schedule import LearningRates

SMALL_RANK = dict(num_hidden_layers=4, vocab_size=32)
WARM_UP = dict(num_hidden_layers=1, hidden_size=192, num_attention_heads=4, intermediate_size=768)
RANK_SHAPE = (2, 2.0)  # utterances, seconds

# What is allocated is written to at once: on a GPU, too, it counts from then on, and not page by page.
AS_ON_A_GPU = MALLOC | {"MALLOC_PERTURB_": "1"}


@dataclass(frozen=True)
class ComparedRank:
    """What was predicted of a rank in bytes, and what was measured."""

    predicted: float
    tensors: float
    resident: float


def ranks() -> None:
    """Prints a line a ZeRO stage: predicted, counted and resident bytes of two gloo ranks."""
    print("| ZeRO | precision | ranks | predicted MB | tensors MB | | resident MB | |")
    print("|---|---|---|---|---|---|---|---|")
    for stage, precision, world_size in itertools.product("0123", ("fp32", "bf16"), "12"):
        if stage + precision == "0bf16":  # refused: it could not accumulate gradients in fp32
            continue
        row = measure_ranks(stage, precision, world_size)
        tensors_error = f"{row.predicted / row.tensors - 1:+.1%}"
        resident_error = f"{row.predicted / row.resident - 1:+.1%}"
        predicted, tensors, resident = (f"{size / 1e6:,.0f}" for size in (row.predicted, row.tensors, row.resident))
        cells = [stage, precision, world_size, predicted, tensors, tensors_error, resident, resident_error]
        print(f"| {' | '.join(cells)} |", flush=True)


def measure_ranks(stage: str, precision: str, world_size: str) -> ComparedRank:
    """Starts ranks; what the first of them has measured."""
    command = ["torchrun", "--standalone", "--nproc_per_node", world_size, __file__, stage, precision]
    done = subprocess.run(command, env=os.environ | AS_ON_A_GPU, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    line = next(line for line in done.stdout.splitlines() if line.startswith("{"))
    return ComparedRank(**json.loads(line))


def measure_rank(stage: int, precision: ds_config.Precision) -> ComparedRank:
    """What was predicted and what was measured of a real DeepSpeed rank."""
    settings = SMALL_RANK | FAMILIES["layer"]
    with ds.joined_ranks() as world:
        config = ds_config.resolve_ds_config(
            ds_config.read_ds_config(f"ds_configs/zero{stage}.json"),
            precision=precision,
            max_gradient_norm=1.0,
            device=world.device,
        )
        sketch = sketched(settings, "sdpa", torch.float32 if precision == "fp32" else torch.bfloat16)
        regulariser = masked(sketch)
        freeze_feature_encoder(sketch.model)
        utterances, seconds = RANK_SHAPE
        cost = trace_pass(sketch, seconds, regulariser, CpuSemantics())
        activations_bytes = float(cost.timeline_bytes(utterances).max())
        predicted = predicted_bytes(config, sketch, activations_bytes, world)

        # Once with a small model: code, primitives and scratch that libraries keep from their first use on.
        train_two_steps(settings | WARM_UP, config, world)
        tape, grown_bytes = train_two_steps(settings, config, world)
    tensors_bytes = max(row.live_bytes for row in tape.rows)
    return ComparedRank(predicted=predicted, tensors=tensors_bytes, resident=grown_bytes)


def train_two_steps(settings: dict[str, Any], config: dict[str, Any], world: World) -> tuple[Tape, int]:
    """Two optimizer steps of two passes each: the tape of the second, and by how much the process was larger in it."""
    gc.collect()
    before_bytes = resident_bytes("VmRSS")
    real = weighted(sketched(settings, "sdpa", torch.float32), "sdpa", torch.float32)
    ours = masked(real, 0.0)
    freeze_feature_encoder(real.model)
    tape = Tape("cpu", {})
    tape.hold([*real.model.parameters(), *real.model.buffers()])
    with tape:
        engine = ds.initialize(real.model, config, weight_decay=0.01, adam_beta2=0.98)
        batch = padded_pass(*RANK_SHAPE)
        prepare_pass(ours, real.model, batch, seed=0, step=0)
        for step in range(2):
            if step:
                tape.rows.clear()
                forget_peak()
            for _ in range(2):
                run_backward(engine, real, batch, world)
            ds.take_step(engine, LearningRates(1e-5, 1e-5))
    grown_bytes = resident_bytes("VmHWM") - before_bytes
    engine.destroy()
    return tape, grown_bytes


def main() -> None:
    """What torchrun starts."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    set_slices(SHORT_SLICE_SAMPLES, SHORT_SLICE_SAMPLES)
    stage, precision = sys.argv[1:]
    row = measure_rank(int(stage), precision)  # type: ignore[arg-type]
    if os.environ["RANK"] == "0":
        print(json.dumps(asdict(row)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
