"""What the size of ZeRO's buckets costs: a step of two gloo ranks, and what the planner says that they take.

    torchrun --nproc-per-node 2 tests/bench/bench_buckets.py

A random wav2vec2-base, all of it trained, one second of audio a pass: little computation, all of the communication.
"""

import time

import numpy as np
import torch

from asrscale.common import distributed
from asrscale.data.batches import silence
from asrscale.memory.deepspeed_states import deepspeed_states
from asrscale.model.architectures import ARCHITECTURES
from asrscale.model.building import build_meta_recognizer, build_recognizer
from asrscale.model.forward import forward_logits
from asrscale.training import ds_config
from asrscale.training import engine as ds
from asrscale.training.schedule import LearningRates

SIZES = (1_000_000, 10_000_000, 20_000_000, 50_000_000)
BASE = dict(layerdrop=0.0, mask_time_prob=0.0, vocab_size=32)  # the other defaults of transformers are those of base
ROUNDS, PASSES = 4, 2


def main() -> None:
    """Prints for each stage and size the best seconds of a step, and the MiB that a GPU of two needs for it in bf16."""
    ARCHITECTURES["base"] = BASE
    planned = build_meta_recognizer("base", dtype=torch.bfloat16).model
    with ds.joined_ranks() as world:
        torch.set_num_threads(1)
        for stage in (2, 3):
            given = ds_config.read_ds_config(f"ds_configs/zero{stage}.json")["zero_optimization"] | {
                "overlap_comm": True
            }
            for size in SIZES:
                zero = given | {"reduce_bucket_size": size}
                states = deepspeed_states(zero, planned, world.world_size)
                config = ds_config.resolve_ds_config(
                    {"zero_optimization": zero | {"overlap_comm": False}}, precision="fp32", max_gradient_norm=1.0,
                    device=world.device,
                )  # fmt: skip
                recognizer = build_recognizer("base", "", seed=0)
                engine = ds.initialize(recognizer.model, config, weight_decay=0.0, adam_beta2=0.98)
                batch, taken = silence(recognizer.vocabulary, 1, 16_000), []
                for _ in range(ROUNDS + 1):
                    distributed.barrier()
                    started = np.array([time.perf_counter(), time.process_time()])
                    for _ in range(PASSES):
                        logits = forward_logits(engine, recognizer, batch.waveforms, batch.num_samples)
                        ds.backward(engine, logits.square().mean(), world)
                    ds.take_step(engine, LearningRates(1e-5, 1e-5))
                    taken.append(np.array([time.perf_counter(), time.process_time()]) - started)
                engine.destroy()
                clock, processor = np.min(taken[1:], axis=0)
                mebibytes = (states.buckets + states.backward_bytes) / 2**20
                if world.is_main:
                    seconds = f"{clock:.2f} s, {processor:.2f} s of the processor"
                    print(f"ZeRO-{stage}, {size:11,}: {seconds}; {mebibytes:,.0f} MiB a GPU", flush=True)


if __name__ == "__main__":
    main()
