"""How exact the memory planner is, on a machine without a GPU.

python tests/bench_memory.py passes     # predicted against measured bytes of passes on the CPU
python tests/bench_memory.py ranks      # against real DeepSpeed ranks, ZeRO 0 to 3
python tests/bench_memory.py published  # against what others measured on a GPU
python tests/bench_memory.py cards      # what fits on which card
"""

import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale import devices, memory, model, plan
from asrscale import engine as ds
from asrscale.memory import CudaSemantics, Scratch, Tape, run_pass, trace_pass
from asrscale.model import (
    Recognizer,
    checkpoint_activations,
    count_frames,
    ctc_losses,
    forward_logits,
    freeze_feature_encoder,
    ignore_padding,
    sketch_recognizer,
)
from asrscale.regularise import attach_regulariser

BASE = dict(num_hidden_layers=3, vocab_size=32)  # the other defaults of transformers are those of wav2vec2-base
SMALL = dict(
    hidden_size=192, num_hidden_layers=4, num_attention_heads=4, intermediate_size=768, conv_dim=[96] * 7,
    num_conv_pos_embeddings=32, num_conv_pos_embedding_groups=4, vocab_size=32, attention_dropout=0.0,
)  # fmt: skip
NORMS = {
    "group": dict(feat_extract_norm="group", do_stable_layer_norm=False),
    "layer": dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True),
}
# So short that the stem of every pass runs in several slices; what a pass below one slice takes is overestimated.
SHORT_SLICE_SAMPLES = 16_000
SMALL_RANK = dict(num_hidden_layers=4, vocab_size=32, attention_dropout=0.0)
SHAPES = ((1, 4.0), (2, 3.0), (5, 1.0), (3, 2.5))  # utterances, seconds


def recognizers(
    settings: dict[str, Any], attention: str, dtype: torch.dtype, *, real: bool = True
) -> tuple[Recognizer, Recognizer]:
    """A model with real weights (or the sketch again), and its sketch."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(Wav2Vec2Config(**settings).to_dict()))
        sketch = sketch_recognizer(str(path), dtype=dtype, attention=attention)
    if not real:
        return sketch, sketch
    config = Wav2Vec2Config.from_dict(sketch.model.config.to_dict())
    config._attn_implementation = attention
    weighted = ignore_padding(Wav2Vec2ForCTC(config)).to(dtype).train()
    return Recognizer(weighted, sketch.processor, sketch.vocabulary), sketch


class CpuSemantics(CudaSemantics):
    """What a CPU keeps: dropout's noise in full precision, as meta tensors do, and its own attention."""

    scratch: ClassVar[Scratch] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.scaled_dot_product_attention and not kwargs["dropout_p"]:
            (query, key, value), mask = args, kwargs["attn_mask"]
            numbers = None if mask is None else torch.where(mask, *torch.empty(2, dtype=query.dtype, device="meta"))
            attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            return attend(query, key, value, attn_mask=numbers, scale=kwargs["scale"])[0]
        return False if func == torch.Tensor.all else func(*args, **(kwargs or {}))


def measure_pass(real: Recognizer, utterances: int, seconds: float) -> tuple[Tape, int, str]:
    """One real pass: its tape, the allocator's peak above the weights, and the operation that it lies in."""
    samples = int(seconds * 16_000)
    waveforms = torch.randint(-3000, 3000, (utterances, samples), dtype=torch.int16)
    # Padding everywhere: where a pass has none, the model drops its mask, and needs less than is predicted.
    lengths = torch.linspace(samples * 0.9, samples * 0.7, utterances).long()
    labels = torch.randint(5, 30, (utterances, int(seconds * 15)))
    tape = Tape("cpu", {})
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run_pass(real, waveforms, lengths, labels, torch.full((utterances,), labels.shape[1]), tape)
    events = profiled.profiler.kineto_results.events()
    live, peak, when = 0, 0, 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        live += event.nbytes()
        if live > peak:
            peak, when = live, event.start_ns()
    inside = [e for e in events if e.name() != "[memory]" and e.start_ns() <= when <= e.start_ns() + e.duration_ns()]
    return tape, peak, min(inside, key=lambda e: e.duration_ns()).name() if inside else "-"


def compare_passes(
    sizes: dict[str, dict[str, Any]], shapes: tuple[tuple[int, float], ...] = SHAPES
) -> Iterator[dict[str, Any]]:
    """Predicted and measured bytes for every combination of what decides them."""
    for (name, size), norm, attention in itertools.product(sizes.items(), NORMS, ("eager", "sdpa")):
        for checkpointed, frozen in itertools.product((False, True), repeat=2):
            real, sketch = recognizers(size | NORMS[norm], attention, torch.float32)
            masked = [attach_regulariser(r.model, mask_time_prob=0.05, mask_feature_prob=0.0, layerdrop=0.0)
                      for r in (real, sketch)]  # fmt: skip
            for recognizer in (real, sketch):
                if frozen:
                    freeze_feature_encoder(recognizer.model)
                if checkpointed:
                    checkpoint_activations(recognizer.model)
            for utterances, seconds in shapes:
                cost = trace_pass(sketch, seconds, masked[1], CpuSemantics())
                frames = int(count_frames(real.model, torch.tensor(int(seconds * 16_000))))
                masked[0].time_mask = torch.rand(utterances, frames) < 0.05
                tape, allocated, inside = measure_pass(real, utterances, seconds)
                weights_bytes, forward, ended = cost.weights_bytes, cost.forward_rows[1] - 1, tape.forward_rows[1] - 1
                timeline = cost.timeline_bytes(utterances)
                yield dict(
                    model=name, norm=norm, attention=attention, checkpointed=checkpointed, frozen=frozen,
                    utterances=utterances, seconds=seconds, allocated=allocated, inside=inside,
                    predicted_peak=timeline.max(), measured_peak=max(row[0] for row in tape.rows) - weights_bytes,
                    predicted_saved=timeline[forward], measured_saved=tape.rows[ended][0] - weights_bytes,
                )  # fmt: skip


def passes() -> None:
    """Prints a line a combination: the worst relative errors over the shapes."""
    rows = []
    for row in compare_passes({"base, 3 layers": BASE, "small": SMALL}):
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    print(
        "| model | norm | attention | checkpointing | stem | saved | peak of tensors | peak of the allocator | inside |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    names = ("model", "norm", "attention", "checkpointed", "frozen")
    for key, group in itertools.groupby(rows, key=lambda row: tuple(row[name] for name in names)):
        cases = list(group)
        saved, peak, allocated = (
            max((case[p] / case[m] - 1 for case in cases), key=abs)
            for p, m in (
                ("predicted_saved", "measured_saved"),
                ("predicted_peak", "measured_peak"),
                ("predicted_peak", "allocated"),
            )
        )
        inside = ", ".join(sorted({case["inside"].removeprefix("aten::") for case in cases}))
        words = *key[:3], "on" if key[3] else "off", "frozen" if key[4] else "trained"
        print(f"| {' | '.join(words)} | {saved:+.2%} | {peak:+.2%} | {allocated:+.1%} | {inside} |")


RANK_SHAPE = (2, 2.0)  # utterances, seconds


def resident_bytes(name: str) -> int:
    """VmRSS or VmHWM of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def measure_rank(stage: int, precision: ds.Precision) -> dict[str, Any]:
    """Two optimizer steps of two passes each on a real DeepSpeed rank: what was predicted and what was measured."""
    torch.set_num_threads(1)
    settings = SMALL_RANK | NORMS["layer"]
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    (utterances, seconds), samples = RANK_SHAPE, int(RANK_SHAPE[1] * 16_000)
    with ds.joined_ranks() as world:
        path = f"ds_configs/zero{stage}.json"
        config = ds.resolve_ds_config(
            ds.read_ds_config(path), precision=precision, max_gradient_norm=1.0, device=world.device
        )
        _, sketch = recognizers(settings, "sdpa", dtype, real=False)
        regulariser = attach_regulariser(sketch.model, mask_time_prob=1.0, mask_feature_prob=0.0, layerdrop=0.0)
        freeze_feature_encoder(sketch.model)
        cost = trace_pass(sketch, seconds, regulariser, CpuSemantics())
        states = devices.deepspeed_states(config["zero_optimization"], sketch.model, world.world_size)
        resident = states.weights + states.gradients + states.optimizer + states.buckets
        predicted = resident + max(
            states.step_bytes, states.backward_bytes + float(cost.timeline_bytes(utterances).max())
        )
        gc.collect()
        before = resident_bytes("VmRSS")
        real, _ = recognizers(settings, "sdpa", torch.float32)
        freeze_feature_encoder(real.model.train())
        tape = Tape("cpu", {})
        tape.hold([*real.model.parameters(), *real.model.buffers()])
        with tape:
            engine = ds.initialize(real.model, config, weight_decay=0.01, adam_beta2=0.98)
            waveforms = torch.randint(-3000, 3000, (utterances, samples), dtype=torch.int16)
            lengths = torch.linspace(samples, samples * 0.8, utterances).long()
            labels = torch.randint(5, 30, (utterances, int(seconds * 15)))
            for step in range(2):
                if step:
                    tape.rows.clear()
                    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
                for _ in range(2):
                    logits = forward_logits(engine, real, waveforms, lengths)
                    frames = count_frames(real.model, lengths)
                    loss = ctc_losses(logits, frames, labels, torch.full((utterances,), labels.shape[1]), 0).sum()
                    ds.backward(engine, loss, world)
                    del logits, loss
                ds.take_step(engine, 1e-5)
        row = dict(
            stage=stage, precision=precision, ranks=world.world_size, predicted=predicted,
            tensors=max(row[0] for row in tape.rows), rss=resident_bytes("VmHWM") - before,
        )  # fmt: skip
        engine.destroy()
    return row


def ranks() -> None:
    """Prints a line a ZeRO stage: predicted, counted and resident bytes of two gloo ranks."""
    print("| ZeRO | precision | ranks | predicted MB | tensors MB | | resident MB | |")
    print("|---|---|---|---|---|---|---|---|")
    # Freed memory goes back to the system at once, so that what is resident is what is used.
    malloc = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
    for stage, precision, world_size in itertools.product("0123", ("fp32", "bf16"), "12"):
        if stage + precision == "0bf16":  # refused: it could not accumulate gradients in fp32
            continue
        command = ["torchrun", "--standalone", "--nproc_per_node", world_size, __file__, "rank", stage, precision]
        done = subprocess.run(command, env=os.environ | malloc, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        row = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
        tensors, rss = (row["predicted"] / row[name] - 1 for name in ("tensors", "rss"))
        mb = [f"{row[name] / 1e6:,.0f}" for name in ("predicted", "tensors", "rss")]
        cells = stage, precision, world_size, mb[0], mb[1], f"{tensors:+.1%}", mb[2], f"{rss:+.1%}"
        print(f"| {' | '.join(cells)} |", flush=True)


def rank() -> None:
    """What `ranks` starts."""
    row = measure_rank(int(sys.argv[2]), sys.argv[3])  # type: ignore[arg-type]
    if os.environ["RANK"] == "0":
        print(json.dumps(row), flush=True)
    os._exit(0)


LAYER = NORMS["layer"]
MODELS: dict[str, dict[str, Any]] = {
    "base": {},
    "large-960h": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096),
    "XLS-R 300M": LAYER | dict(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    ),
    "XLS-R 1B": LAYER | dict(
        hidden_size=1280, num_hidden_layers=48, num_attention_heads=16, intermediate_size=5120
    ),
}  # fmt: skip
WHOLE_STEM = 10**9


def cards() -> None:
    """Prints the most padded seconds of a pass of 10 s utterances by card, model and what saves memory."""
    gpus = [devices.find_gpu(gib) for gib in ("6", "8", "12", "16", "24", "40", "80")]
    print(f"| model | settings | {' | '.join(gpu.name for gpu in gpus)} |\n|---|---|{'---|' * len(gpus)}")
    for model_name, settings in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "config.json")
            path.write_text(json.dumps(Wav2Vec2Config(**settings).to_dict()))
            config = plan.plan_config(model=str(path))
            for checkpointed, slice_samples in itertools.product((False, True), (WHOLE_STEM, 160_000)):
                memory.SLICE_SAMPLES = model.SLICE_SAMPLES = slice_samples
                # Without slices any size is a whole one.
                memory.SLICE_SAMPLES = min(slice_samples, 160_000)
                recognizer, costs = plan.sketch(config, [10.0], CudaSemantics(), checkpointed=checkpointed)
                for name in ("zero2", "zero2_offload"):
                    read = ds.read_ds_config(f"ds_configs/{name}.json")
                    zero = ds.resolve_ds_config(
                        read, precision="bf16", max_gradient_norm=1.0, device=torch.device("cuda")
                    )["zero_optimization"]
                    states = devices.deepspeed_states(zero, recognizer.model, 1)
                    caps = [plan.cap_of(costs, devices.activation_budget_bytes(gpu, states, 1)) for gpu in gpus]
                    stem = "whole stem" if slice_samples == WHOLE_STEM else "sliced stem"
                    words = f"{name}, {'checkpointing, ' if checkpointed else ''}{stem}"
                    print(
                        f"| {model_name} | {words} | {' | '.join(f'{cap:,}' if cap else '-' for cap in caps)} |",
                        flush=True,
                    )


def copies_for_cublas(args: Any, _: Any) -> int:
    """cuBLAS wants a unit stride: the expanded gradient of .sum() is copied."""
    return sum(x.numel() * x.element_size() for x in args[:2] if 1 not in x.stride())


def published() -> None:
    """Prints predictions beside torch.cuda.max_memory_allocated of BERT-base on an A100 (transformers' documentation).

    fp16 weights, forward and logits.sum().backward(), by batch and length; eager and sdpa, MB.
    """
    measured = {
        (4, 256): (939.213, 764.834), (4, 512): (1970.447, 1227.162), (8, 256): (1594.295, 1226.114),
        (8, 512): (3629.401, 2134.262), (16, 256): (2874.426, 2134.262), (16, 512): (6964.659, 3961.013),
    }  # fmt: skip
    print(
        "| batch × length | eager: predicted, measured MB | | sdpa: predicted, measured MB | |\n|---|---|---|---|---|"
    )
    rows: dict[tuple[int, int], list[str]] = {shape: [] for shape in measured}
    for column, attention in enumerate(("eager", "sdpa")):
        config = transformers.BertConfig(is_decoder=False)
        config._attn_implementation = attention
        with torch.device("meta"):
            bert = transformers.BertLMHeadModel(config)
        bert = bert.to(torch.float16).train()
        for shape, results in measured.items():
            tape = Tape("meta", CudaSemantics.scratch | {torch.ops.aten.mm.default: copies_for_cublas})
            tape.hold([*bert.parameters(), *bert.buffers()])
            output = None
            for _ in range(2):  # as in their loop, the last output is alive while the next is computed
                tape.rows.clear()
                bert.zero_grad(set_to_none=True)
                with CudaSemantics(), tape:
                    output = bert(input_ids=torch.zeros(shape, dtype=torch.int64, device="meta"))
                    total = output.logits.sum()
                    start = (total,), (torch.ones_like(total),), False, False, ()
                    torch.autograd.graph._engine_run_backward(*start, allow_unreachable=True, accumulate_grad=True)
            del output
            bert.zero_grad(set_to_none=True)
            peak = (max(row[0] for row in tape.rows) + devices.CUBLAS_BYTES) / 1e6
            rows[shape] += [f"{peak:,.0f}, {results[column]:,.0f}", f"{peak / results[column] - 1:+.1%}"]
    for shape, cells in rows.items():
        print(f"| {shape[0]} × {shape[1]} | {' | '.join(cells)} |")


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    memory.SLICE_SAMPLES = model.SLICE_SAMPLES = SHORT_SLICE_SAMPLES
    for name in sys.argv[1:2] or ("published", "cards"):
        {f.__name__: f for f in (passes, ranks, rank, cards, published)}[name]()
