"""Measures on a machine with GPUs what was only predicted without one, and prints a page of results.

make gpu-check                  # or: python tests/gpu_check.py
python tests/gpu_check.py cpu   # tries the script itself where there is no GPU: its figures mean nothing
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
from helpers.deepspeed_ranks import predicted_bytes, run_backward
from helpers.passes import CpuSemantics, masked, padded_pass, save_memory, sketched, weighted
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from asrscale.common import distributed
from asrscale.common.distributed import World
from asrscale.data.batches import Batch
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.gpu_memory import CUBLAS_BYTES
from asrscale.memory.pass_cost import run_pass, trace_pass
from asrscale.memory.tape import Tape
from asrscale.model.forward import count_frames, forward_logits
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import prepare_pass
from asrscale.training import ds_config
from asrscale.training import engine as ds
from asrscale.training.schedule import LearningRates

ON_CPU = "cpu" in sys.argv
DEVICE = torch.device("cpu" if ON_CPU else "cuda")
SETTINGS: dict[str, Any] = dict(vocab_size=32, num_hidden_layers=2 if ON_CPU else 12)  # else wav2vec2-base
UTTERANCES = 2 if ON_CPU else 8
SECONDS = 2.0 if ON_CPU else 10.0
REDUCED_GIB = 0.01 if ON_CPU else 0.5
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
    """A prediction in words, and on a GPU what was measured."""
    text = f"predicted {predicted / 2**20:,.0f} MiB"
    if ON_CPU:
        return text
    return f"{text}, measured {measured / 2**20:,.0f} MiB: {predicted / measured - 1:+.1%}"


def a_pass() -> Batch:
    return padded_pass(UTTERANCES, SECONDS).to(DEVICE)


def pair(attention: str, precision: str, every: int) -> tuple[Recognizer, Recognizer, float]:
    """A model with weights, its sketch, and the predicted peak above the weights."""
    sketch = sketched(SETTINGS, attention, DTYPES[precision])
    real = weighted(sketch, attention, DTYPES[precision])
    for one in (real, sketch):
        save_memory(one, frozen=True, every=every)
    semantics = CpuSemantics() if ON_CPU else CudaSemantics()
    cost = trace_pass(sketch, SECONDS, masked(sketch, 0.0), semantics)
    return real, sketch, float(cost.timeline_bytes(UTTERANCES).max())


def passes() -> Iterator[str]:
    """Predicted and measured peak of passes without an engine, and the kernels' agreement."""
    batch = a_pass()
    logits = {}
    for precision in precisions():
        for attention in ("eager", "sdpa"):
            for every in (0, 2, 1):
                torch.manual_seed(0)
                real, _, predicted = pair(attention, precision, every)
                real.model.to(DEVICE)
                measured = measured_pass_bytes(real, batch)
                yield f"pass, {precision}, {attention}, checkpointing {every}: {beside(predicted, measured)}"
            with torch.no_grad():
                logits[attention] = forward_logits(real.model.eval(), real, batch.waveforms, batch.num_samples).float()
        num_frames = count_frames(real.model, batch.num_samples)
        worst = largest_difference(logits["eager"], logits["sdpa"], num_frames)
        yield f"logits, {precision}: eager and sdpa differ by {worst:.1e} at most"


def measured_pass_bytes(real: Recognizer, batch: Batch) -> int:
    """The peak of a pass above the weights."""
    prepare_pass(masked(real, 0.0), real.model, batch, seed=0, step=0)
    weights_bytes = sum(parameter.numel() * parameter.element_size() for parameter in real.model.parameters())
    run_pass(real, batch, Tape(DEVICE.type, {}))  # what libraries allocate once
    peak_bytes()
    run_pass(real, batch, Tape(DEVICE.type, {}))
    return peak_bytes() - weights_bytes - (0 if ON_CPU else CUBLAS_BYTES)


def largest_difference(one: Tensor, other: Tensor, num_frames: Tensor) -> float:
    """Between the logits of real frames."""
    rows = zip(one - other, num_frames.tolist(), strict=True)
    return max(float(row[:frames].abs().max()) for row, frames in rows)


def kernels() -> Iterator[str]:
    """Which of torch's attention kernels run here, with the mask that padding makes and without."""
    dtype = DTYPES[precisions()[-1]]
    query = torch.randn(2, 12, 64, 64, device=DEVICE, dtype=dtype, requires_grad=True)
    mask = torch.zeros(2, 1, 64, 64, device=DEVICE, dtype=dtype)
    for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
        without_mask = attention_runs(backend, query, None)
        with_mask = attention_runs(backend, query, mask)
        yield f"attention, {backend.name.lower()}, {dtype}, without mask: {without_mask}; with mask: {with_mask}"


def attention_runs(backend: SDPBackend, query: Tensor, mask: Tensor | None) -> str:
    """Whether a kernel runs forward and backward, and if not, why."""
    try:
        with sdpa_kernel(backend):
            torch.nn.functional.scaled_dot_product_attention(query, query, query, mask).sum().backward()
    except RuntimeError as error:
        return f"no ({str(error).splitlines()[0][:60]})"
    return "runs"


def training(world: World, stage: int, precision: ds_config.Precision) -> str:
    """Steps of DeepSpeed: what the loss does, what the peak was, how long a step took."""
    torch.manual_seed(0)
    real, sketch, activations_bytes = pair("sdpa", precision, 1)
    config = ds_config.resolve_ds_config(
        ds_config.read_ds_config(f"ds_configs/zero{stage}.json"),
        precision=precision,
        max_gradient_norm=1.0,
        device=world.device,
    )
    predicted = predicted_bytes(config, sketch, activations_bytes, world) + CUBLAS_BYTES
    engine = ds.initialize(real.model.float().to(world.device), config, weight_decay=0.01, adam_beta2=0.98)
    batch = a_pass()
    prepare_pass(masked(real, 0.0), real.model, batch, seed=0, step=0)
    losses: list[float] = []
    began = norm = 0.0
    for step in range(STEPS):
        if step == 1:  # the first makes the optimizer's states
            peak_bytes()
            began = time.perf_counter()
        losses.append(run_backward(engine, real, batch, world))
        norm = ds.take_step(engine, LearningRates(1e-5, 1e-5))
    measured = peak_bytes()
    seconds = (time.perf_counter() - began) / (STEPS - 1)
    engine.destroy()
    where = f"ZeRO-{stage}, {precision}, {world.world_size} × {DEVICE.type}"
    steps = f"{STEPS} steps of {seconds:.2f} s, last gradient norm {norm:.2g}"
    return f"{where}: loss {losses[0]:.3f} to {losses[-1]:.3f} in {steps}; {beside(predicted, measured)}"


def collectives(world: World) -> str:
    """Whether a sum over the ranks is right, and how many bytes a second a large one takes."""
    expected = world.world_size * (world.world_size + 1) / 2
    right = distributed.all_reduce_sum([world.rank + 1], world) == [expected]
    tensor = torch.ones(int(REDUCED_GIB * 2**30) // 4, device=world.device)
    torch.distributed.all_reduce(tensor)
    float(tensor[0])  # waits for it
    began = time.perf_counter()
    torch.distributed.all_reduce(tensor)
    float(tensor[0])
    gb_per_second = tensor.nbytes / (time.perf_counter() - began) / 1e9
    ranks = f"{torch.distributed.get_backend()}, {world.world_size} ranks"
    return f"{ranks}: sums {'right' if right else 'WRONG'}, {gb_per_second:.1f} GB/s of {REDUCED_GIB} GiB"


def rank() -> None:
    """What torchrun starts on every GPU."""
    with ds.joined_ranks() as world:
        lines = [collectives(world)]
        for precision in precisions():
            for stage in (2, 3):
                lines.append(training(world, stage, precision))  # type: ignore[arg-type]
        if world.is_main:
            print("\n".join(lines), flush=True)


def main() -> None:
    if not ON_CPU and not torch.cuda.is_available():
        print("gpu-check: torch finds no GPU on this machine, so nothing was checked")
        return
    if ON_CPU:
        count = 2
        machine = "a CPU"
    else:
        count = torch.cuda.device_count()
        seen_gib = torch.cuda.mem_get_info()[1] / 2**30
        machine = f"{torch.cuda.get_device_name()}, {seen_gib:.2f} GiB seen, CUDA {torch.version.cuda}"
    print(f"{count} × {machine}, torch {torch.__version__}\n")
    for line in (*kernels(), *passes()):
        print(line, flush=True)
    command = ["torchrun", "--standalone", "--nproc_per_node", str(count), __file__, "rank", *sys.argv[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout if done.returncode == 0 else f"ranks: exit code {done.returncode}\n{done.stderr[-3000:]}")
    sys.exit(done.returncode)


if __name__ == "__main__":
    rank() if "rank" in sys.argv else main()
