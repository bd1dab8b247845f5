"""What a machine with GPUs says of what was only predicted without one: one page of results.

make gpu-check                  # or: python tests/gpu_check.py
python tests/gpu_check.py cpu   # tries the script itself where there is no GPU: its figures mean nothing
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from bench.bench_memory import CpuSemantics, padded_pass, predicted_bytes, recognizers, run_backward
from torch.nn.attention import SDPBackend, sdpa_kernel

from asrscale.common import distributed
from asrscale.memory import deepspeed_states
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.pass_cost import run_pass, trace_pass
from asrscale.memory.tape import Tape
from asrscale.model.forward import count_frames, forward_logits
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import attach_regulariser
from asrscale.training import ds_config
from asrscale.training import engine as ds

ON_CPU = "cpu" in sys.argv
SETTINGS: dict[str, Any] = dict(vocab_size=32, num_hidden_layers=2 if ON_CPU else 12)  # else wav2vec2-base
UTTERANCES, SECONDS = (2, 2.0) if ON_CPU else (8, 10.0)
DEVICE, CAP_GB = ("cpu", 0.01) if ON_CPU else ("cuda", 0.5)
STEPS = 3 if ON_CPU else 15  # fp16 skips some while it looks for its loss scale
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def precisions() -> list[str]:
    if ON_CPU:
        return ["fp32"]
    return ["fp16", "bf16"] if torch.cuda.is_bf16_supported(including_emulation=False) else ["fp16"]


def peak_bytes() -> int:
    """The most that torch's allocator has held since the last call."""
    if ON_CPU:
        return 0
    torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return peak


def beside(predicted: float, measured: float) -> str:
    told = f"predicted {predicted / 2**20:,.0f} MiB"
    return told if ON_CPU else f"{told}, measured {measured / 2**20:,.0f} MiB: {predicted / measured - 1:+.1%}"


def pair(attention: str, precision: str, every: int) -> tuple[Recognizer, Recognizer, float]:
    """A model with weights on the device, its sketch, and the predicted peak above the weights."""
    real, sketch = recognizers(SETTINGS, attention, DTYPES[precision])
    for one in (real, sketch):
        freeze_feature_encoder(one.model)
        if every:
            checkpoint_activations(one.model, every)
    regulariser = attach_regulariser(sketch.model, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0)
    cost = trace_pass(sketch, SECONDS, regulariser, CpuSemantics() if ON_CPU else CudaSemantics())
    return real, sketch, float(cost.timeline_bytes(UTTERANCES).max())


def passes() -> Iterator[str]:
    """Predicted and measured peak of passes without an engine, and the kernels' agreement."""
    given, logits = tuple(tensor.to(DEVICE) for tensor in padded_pass(UTTERANCES, SECONDS)), {}
    for precision in precisions():
        for attention in ("eager", "sdpa"):
            for every in (0, 2, 1):
                torch.manual_seed(0)
                real, _, predicted = pair(attention, precision, every)
                real.model.to(DEVICE)
                weights = sum(p.numel() * p.element_size() for p in real.model.parameters())
                run_pass(real, *given, Tape(DEVICE, {}))  # what libraries allocate once
                peak_bytes()
                run_pass(real, *given, Tape(DEVICE, {}))
                measured = peak_bytes() - weights - (0 if ON_CPU else deepspeed_states.CUBLAS_BYTES)
                yield f"pass, {precision}, {attention}, checkpointing {every}: {beside(predicted, measured)}"
            with torch.no_grad():
                logits[precision, attention] = forward_logits(real.model.eval(), real, *given[:2]).float()
        frames = count_frames(real.model, given[1])
        apart = logits[precision, "eager"] - logits[precision, "sdpa"]
        worst = max(float(row[:length].abs().max()) for row, length in zip(apart, frames, strict=True))
        yield f"logits, {precision}: eager and sdpa differ by {worst:.1e} at most"


def kernels() -> Iterator[str]:
    """Which of torch's attention kernels run here, with the mask that padding makes and without."""
    dtype = DTYPES[precisions()[-1]]
    query = torch.randn(2, 12, 64, 64, device=DEVICE, dtype=dtype, requires_grad=True)
    mask = torch.zeros(2, 1, 64, 64, device=DEVICE, dtype=dtype)
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        told = []
        for name, given in (("without mask", None), ("with mask", mask)):
            try:
                with sdpa_kernel(backend):
                    torch.nn.functional.scaled_dot_product_attention(query, query, query, given).sum().backward()
                told.append(f"{name}: runs")
            except RuntimeError as error:
                told.append(f"{name}: no ({str(error).splitlines()[0][:60]})")
        yield f"attention, {backend.name.lower()}, {dtype}, {'; '.join(told)}"


def training(world: distributed.World, stage: int, precision: ds_config.Precision) -> str:
    """Steps of DeepSpeed: what the loss does, what the peak was, how long a step took."""
    torch.manual_seed(0)
    real, sketch, activations = pair("sdpa", precision, 1)
    read = ds_config.read_ds_config(f"ds_configs/zero{stage}.json")
    config = ds_config.resolve_ds_config(read, precision=precision, max_gradient_norm=1.0, device=world.device)
    predicted = predicted_bytes(config, sketch, activations, world) + deepspeed_states.CUBLAS_BYTES
    engine = ds.initialize(real.model.float().to(world.device), config, weight_decay=0.01, adam_beta2=0.98)
    given = tuple(tensor.to(DEVICE) for tensor in padded_pass(UTTERANCES, SECONDS))
    losses, began, norm = [], 0.0, 0.0
    for step in range(STEPS):
        if step == 1:  # the first makes the optimizer's states
            peak_bytes()
            began = time.perf_counter()
        losses.append(run_backward(engine, real, given, world))
        norm = ds.take_step(engine, 1e-5)
    measured, seconds = peak_bytes(), (time.perf_counter() - began) / (STEPS - 1)
    engine.destroy()
    told = (
        f"loss {losses[0]:.3f} to {losses[-1]:.3f} in {STEPS} steps of {seconds:.2f} s, last gradient norm {norm:.2g}"
    )
    return f"ZeRO-{stage}, {precision}, {world.world_size} × {DEVICE}: {told}; {beside(predicted, measured)}"


def collectives(world: distributed.World) -> str:
    """Is a sum over the ranks right, and how many bytes a second does a large one take."""
    right = distributed.all_reduce_sum([world.rank + 1], world) == [world.world_size * (world.world_size + 1) / 2]
    tensor = torch.ones(int(CAP_GB * 2**30) // 4, device=world.device)
    torch.distributed.all_reduce(tensor)
    float(tensor[0])
    began = time.perf_counter()
    torch.distributed.all_reduce(tensor)
    float(tensor[0])
    speed = tensor.nbytes / (time.perf_counter() - began) / 1e9
    backend = torch.distributed.get_backend()
    return (
        f"{backend}, {world.world_size} ranks: sums {'right' if right else 'WRONG'}, {speed:.1f} GB/s of {CAP_GB} GiB"
    )


def rank() -> None:
    """What torchrun starts on every GPU."""
    with ds.joined_ranks() as world:
        lines = [collectives(world)]
        lines += [training(world, stage, name) for name in precisions() for stage in (2, 3)]  # type: ignore[arg-type]
        if world.is_main:
            print("\n".join(lines), flush=True)


def main() -> None:
    if not ON_CPU and not torch.cuda.is_available():
        print("gpu-check: torch finds no GPU on this machine, so nothing was checked")
        return
    name = "a CPU" if ON_CPU else torch.cuda.get_device_name()
    count = 2 if ON_CPU else torch.cuda.device_count()
    free = "" if ON_CPU else f", {torch.cuda.mem_get_info()[1] / 2**30:.2f} GiB seen, CUDA {torch.version.cuda}"
    print(f"{count} × {name}{free}, torch {torch.__version__}\n")
    for line in (*kernels(), *passes()):
        print(line, flush=True)
    command = ["torchrun", "--standalone", "--nproc_per_node", str(count), __file__, "rank", *sys.argv[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout if done.returncode == 0 else f"ranks: exit code {done.returncode}\n{done.stderr[-3000:]}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    rank() if "rank" in sys.argv else main()
