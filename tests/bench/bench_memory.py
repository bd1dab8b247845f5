"""How exact the memory planner is, on a machine without a GPU.

python tests/bench/bench_memory.py passes     # predicted against measured bytes of passes on the CPU
python tests/bench/bench_memory.py ranks      # against real DeepSpeed ranks, ZeRO 0 to 3
python tests/bench/bench_memory.py published  # against what others measured on a GPU
python tests/bench/bench_memory.py cards      # what fits on which card, and what saves how much
python tests/bench/bench_memory.py heads      # what of it are logits and loss
python tests/bench/bench_memory.py savers     # what saves how much on this CPU, and its price in time
"""

import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale import plan
from asrscale.common import distributed
from asrscale.memory import choices, deepspeed_states, gpus, pass_cost, timing
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.pass_cost import run_pass, trace_pass
from asrscale.memory.tape import Scratch, Tape
from asrscale.model import padding
from asrscale.model.building import build_meta_recognizer
from asrscale.model.forward import count_frames, ctc_losses, forward_logits
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.lora import add_lora
from asrscale.model.padding import make_padding_invariant
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import attach_regulariser
from asrscale.training import ds_config
from asrscale.training import engine as ds

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
WARM_UP = dict(num_hidden_layers=1, hidden_size=192, num_attention_heads=4, intermediate_size=768)
SHAPES = ((1, 4.0), (2, 3.0), (5, 1.0), (3, 2.5))  # utterances, seconds


@contextmanager
def config_file(settings: dict[str, Any]) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(Wav2Vec2Config(**settings).to_dict()))
        yield str(path)


def recognizers(
    settings: dict[str, Any], attention: str, dtype: torch.dtype, *, real: bool = True
) -> tuple[Recognizer, Recognizer]:
    """A model with real weights (or the sketch again), and its sketch."""
    with config_file(settings) as path:
        sketch = build_meta_recognizer(path, dtype=dtype, attention=attention)
    if not real:
        return sketch, sketch
    config = Wav2Vec2Config.from_dict(sketch.model.config.to_dict())
    config._attn_implementation = attention
    weighted = make_padding_invariant(Wav2Vec2ForCTC(config)).to(dtype).train()
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


def padded_pass(utterances: int, seconds: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Waveforms, lengths, labels and label lengths of a pass.

    Padding everywhere: where a pass has none, the model drops its mask, and needs less than is predicted.
    """
    samples = int(seconds * 16_000)
    waveforms = torch.randint(-3000, 3000, (utterances, samples), dtype=torch.int16)
    lengths = torch.linspace(samples * 0.9, samples * 0.7, utterances).long()
    labels = torch.randint(5, 30, (utterances, int(seconds * 15)))
    return waveforms, lengths, labels, torch.full((utterances,), labels.shape[1])


def measure_pass(real: Recognizer, utterances: int, seconds: float) -> tuple[Tape, int, str]:
    """One real pass: its tape, the allocator's peak above the weights, and the operation that it lies in."""
    given, tape = padded_pass(utterances, seconds), Tape("cpu", {})
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run_pass(real, *given, tape)
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
# Freed memory goes back to the system at once, so that what is resident is what is used.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
# And what is allocated is written to at once: on a GPU, too, it counts from then on, and not page by page.
AS_ON_A_GPU = MALLOC | {"MALLOC_PERTURB_": "1"}


def resident_bytes(name: str) -> int:
    """VmRSS or VmHWM of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def run_backward(
    engine: ds.Engine, real: Recognizer, given: tuple[Tensor, Tensor, Tensor, Tensor], world: distributed.World
) -> float:
    """Forward, loss and backward of a pass; its mean loss."""
    waveforms, lengths, labels, num_labels = given
    logits = forward_logits(engine, real, waveforms, lengths)
    loss = ctc_losses(logits, count_frames(real.model, lengths), labels, num_labels, 0).mean()
    ds.backward(engine, loss / world.world_size, world)
    return float(loss.detach())


def train_two_steps(settings: dict[str, Any], config: dict[str, Any], world: distributed.World) -> tuple[Tape, int]:
    """Two optimizer steps of two passes each: the tape of the second, and by how much the process was larger in it."""
    gc.collect()
    before = resident_bytes("VmRSS")
    real, _ = recognizers(settings, "sdpa", torch.float32)
    freeze_feature_encoder(real.model.train())
    tape = Tape("cpu", {})
    tape.hold([*real.model.parameters(), *real.model.buffers()])
    with tape:
        engine = ds.initialize(real.model, config, weight_decay=0.01, adam_beta2=0.98)
        given = padded_pass(*RANK_SHAPE)
        for step in range(2):
            if step:
                tape.rows.clear()
                Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
            for _ in range(2):
                run_backward(engine, real, given, world)
            ds.take_step(engine, 1e-5)
    grown = resident_bytes("VmHWM") - before
    engine.destroy()
    return tape, grown


def predicted_bytes(config: dict[str, Any], sketch: Recognizer, activations: float, world: distributed.World) -> float:
    """The peak of a DeepSpeed rank's tensors."""
    states = deepspeed_states.deepspeed_states(config["zero_optimization"], sketch.model, world.world_size)
    return sum(states.resident.values()) + max(states.step_bytes, states.backward_bytes + activations)


def measure_rank(stage: int, precision: ds_config.Precision) -> dict[str, Any]:
    """What was predicted and what was measured of a real DeepSpeed rank."""
    torch.set_num_threads(1)
    settings = SMALL_RANK | NORMS["layer"]
    with ds.joined_ranks() as world:
        config = ds_config.resolve_ds_config(
            ds_config.read_ds_config(f"ds_configs/zero{stage}.json"), precision=precision, max_gradient_norm=1.0,
            device=world.device,
        )  # fmt: skip
        dtype = torch.float32 if precision == "fp32" else torch.bfloat16
        _, sketch = recognizers(settings, "sdpa", dtype, real=False)
        regulariser = attach_regulariser(sketch.model, mask_time_prob=1.0, mask_feature_prob=0.0, layerdrop=0.0)
        freeze_feature_encoder(sketch.model)
        cost = trace_pass(sketch, RANK_SHAPE[1], regulariser, CpuSemantics())
        activations = float(cost.timeline_bytes(RANK_SHAPE[0]).max())
        predicted = predicted_bytes(config, sketch, activations, world)
        # Once with a small model: code, primitives and scratch that libraries keep from their first use on.
        train_two_steps(settings | WARM_UP, config, world)
        tape, grown = train_two_steps(settings, config, world)
    tensors = max(row[0] for row in tape.rows)
    return dict(
        stage=stage, precision=precision, ranks=world.world_size, predicted=predicted, tensors=tensors, rss=grown
    )


def ranks() -> None:
    """Prints a line a ZeRO stage: predicted, counted and resident bytes of two gloo ranks."""
    print("| ZeRO | precision | ranks | predicted MB | tensors MB | | resident MB | |")
    print("|---|---|---|---|---|---|---|---|")
    for stage, precision, world_size in itertools.product("0123", ("fp32", "bf16"), "12"):
        if stage + precision == "0bf16":  # refused: it could not accumulate gradients in fp32
            continue
        command = ["torchrun", "--standalone", "--nproc_per_node", world_size, __file__, "rank", stage, precision]
        done = subprocess.run(command, env=os.environ | AS_ON_A_GPU, capture_output=True, text=True, check=False)
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
NOTEBOOK_SECONDS = 20  # 2 clips, each padded to 10 s


def sketched(
    path: str, *, every: int = 0, slices: bool = True, rank: int = 0
) -> tuple[Recognizer, list[pass_cost.PassCost]]:
    """What a pass of 10 s utterances costs."""
    pass_cost.SLICE_SAMPLES = 160_000
    padding.SLICE_SAMPLES = 160_000 if slices else WHOLE_STEM  # without slices any size is a whole one
    config = plan.plan_config(model=path, activation_checkpointing=every, lora_rank=rank)
    return choices.sketch(config, [10.0], CudaSemantics())


def pass_seconds(cost: pass_cost.PassCost) -> float:
    """Estimated compute of 16 utterances on an A100, without what real training is slower by."""
    return float(timing.operation_seconds(cost, 16, gpus.GPUS["a100-40"]).sum())


def cards() -> None:
    """Prints the most padded seconds of a pass of 10 s utterances by card, model and what saves memory, and its price.

    Time is that of the arithmetic of a pass, to that without checkpointing. The notebook's settings are 2 clips padded
    to 10 s, fp16 by autocast (weights, gradients and moments in fp32: 16 bytes a parameter), every layer checkpointed.
    """
    gpus = [gpus.find_gpu(gib) for gib in ("6", "8", "12", "16", "24", "40", "80")]
    print(f"| model | settings | time | {' | '.join(gpu.name for gpu in gpus)} |\n|---|---|---|{'---|' * len(gpus)}")
    ways: dict[str, tuple[str, dict[str, Any]]] = {
        "whole stem": ("zero2", dict(slices=False)),
        "sliced stem (all below)": ("zero2", {}),
        "checkpointing every 4th layer": ("zero2", dict(every=4)),
        "checkpointing every 2nd layer": ("zero2", dict(every=2)),
        "checkpointing every layer": ("zero2", dict(every=1)),
        "checkpointing every layer, whole stem": ("zero2", dict(every=1, slices=False)),
        "offload": ("zero2_offload", {}),
        "offload, checkpointing every layer": ("zero2_offload", dict(every=1)),
        "LoRA, rank 16": ("zero2", dict(rank=16)),
        "LoRA, rank 16, checkpointing every layer": ("zero2", dict(rank=16, every=1)),
    }
    for (model_name, settings), (words, (name, how)) in itertools.product(MODELS.items(), ways.items()):
        with config_file(settings) as path:
            recognizer, costs = sketched(path, **how)
            zero = ds_config.resolve_ds_config(
                ds_config.read_ds_config(f"ds_configs/{name}.json"), precision="bf16", max_gradient_norm=1.0,
                device=torch.device("cuda"),
            )["zero_optimization"]  # fmt: skip
            slower = pass_seconds(costs[0]) / pass_seconds(sketched(path)[1][0])
        states = deepspeed_states.deepspeed_states(zero, recognizer.model, 1)
        budgets = [deepspeed_states.activation_budget_bytes(gpu, states, 1) for gpu in gpus]
        cells = [f"{cap:,}" if cap else "-" for cap in (choices.cap_of(costs, budget) for budget in budgets)]
        print(f"| {model_name} | {words} | {slower:.2f} | {' | '.join(cells)} |", flush=True)
        if "whole stem" in words and how.get("every"):
            states = deepspeed_states.States(
                16.0 * sum(p.numel() for p in recognizer.model.parameters()), 0, 0, 0, 0, 0
            )
            budgets = [deepspeed_states.activation_budget_bytes(gpu, states, 1) for gpu in gpus]
            fits = [choices.cap_of(costs, budget) >= NOTEBOOK_SECONDS for budget in budgets]
            cells = [str(NOTEBOOK_SECONDS) if fit else "-" for fit in fits]
            print(f"| {model_name} | the notebook's | | {' | '.join(cells)} |", flush=True)


def heads() -> None:
    """Prints the peak of a pass of 16 × 10 s, every layer checkpointed, by vocabulary.

    What is more than with 32 tokens is the most that logits and loss in slices could save.
    """
    print("| model | 32 tokens: MiB | 500 | 5,000 |\n|---|---|---|---|")
    for name, settings in MODELS.items():
        peaks = []
        for tokens in (32, 500, 5000):
            with config_file(settings | {"vocab_size": tokens}) as path:
                peaks.append(sketched(path, every=1)[1][0].timeline_bytes(16).max())
        cells = [f"{peak / 2**20:,.0f} ({peak / peaks[0] - 1:+.0%})" for peak in peaks]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def savers() -> None:
    """Prints what each saver is worth on this CPU and costs: base with 8 layers, 2 × 4 s, best of three."""
    print("| settings | predicted MB | tensors MB | seconds of the processor |\n|---|---|---|---|")
    for frozen, every, rank in ((False, 0, 0), (True, 0, 0), (True, 4, 0), (True, 2, 0), (True, 1, 0), (True, 1, 16)):
        real, sketch = recognizers(BASE | NORMS["layer"] | dict(num_hidden_layers=8), "sdpa", torch.float32)
        for recognizer, device in ((real, "cpu"), (sketch, "meta")):
            if rank:
                with torch.device(device):
                    add_lora(recognizer.model, rank)
            if frozen:
                freeze_feature_encoder(recognizer.model)
            if every:
                checkpoint_activations(recognizer.model, every)
        regulariser = attach_regulariser(sketch.model, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0)
        predicted = trace_pass(sketch, 4.0, regulariser, CpuSemantics()).timeline_bytes(2).max()
        seconds = []
        for _ in range(3):
            began = time.process_time()
            tape, _, _ = measure_pass(real, 2, 4.0)
            seconds.append(time.process_time() - began)
        peak = max(row[0] for row in tape.rows) - sum(p.numel() * 4 for p in real.model.parameters())
        words = f"{'frozen' if frozen else 'trained'} stem, every {every}, LoRA {rank}"
        print(f"| {words} | {predicted / 1e6:,.0f} | {peak / 1e6:,.0f} | {min(seconds):.2f} |", flush=True)


def copies_for_cublas(args: Any, _: Any) -> int:
    """cuBLAS wants a unit stride: the expanded gradient of .sum() is copied."""
    return sum(x.numel() * x.element_size() for x in args[:2] if 1 not in x.stride())


# What is told of fine-tuning wav2vec2: model, utterances, seconds, checkpointing, precision, frozen stem, card,
# and what came of it. Autocast is taken for bf16 activations beside fp32 weights, gradients and moments.
REPORTED: tuple[tuple[str, int, float, int, str, bool, str, str], ...] = (
    ("base", 32, 23.4, 1, "bf16", True, "24 GB", "ran (patrickvonplaten/wav2vec2-base-100h-13K-steps; about 750 s)"),
    ("XLS-R 1B", 12, 10.0, 1, "bf16", True, "24 GB", "ran (transformers#14861; its lengths are not told)"),
    ("XLS-R 300M", 64, 5.0, 1, "bf16", True, "32 GB", "ran (model cards of AlexN)"),
    ("XLS-R 300M", 32, 20.0, 1, "bf16", True, "32 GB", "ran (model cards of AlexN)"),
    ("large-960h", 6, 11.5, 0, "fp32", False, "16 GB", "6 are the most (speechbrain#944; recordings of up to 24 s)"),
    ("large-960h", 6, 24.0, 0, "fp32", False, "16 GB", "the same, if all were the longest"),
)


def published() -> None:
    """Prints predictions beside what others measured.

    torch.cuda.max_memory_allocated of BERT-base on an A100 (transformers' documentation): fp16 weights, forward and
    logits.sum().backward(), by batch and length, eager and sdpa, MB; and what is told of wav2vec2, without its peaks.
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
            peak = (max(row[0] for row in tape.rows) + deepspeed_states.CUBLAS_BYTES) / 1e6
            rows[shape] += [f"{peak:,.0f}, {results[column]:,.0f}", f"{peak / results[column] - 1:+.1%}"]
    for shape, cells in rows.items():
        print(f"| {shape[0]} × {shape[1]} | {' | '.join(cells)} |")
    print("\n| wav2vec2 | shape | card | reported | predicted GiB |\n|---|---|---|---|---|")
    for name, utterances, seconds, every, precision, frozen, card, told in REPORTED:
        with config_file(MODELS[name]) as path:
            padding.SLICE_SAMPLES = WHOLE_STEM  # stock transformers
            settings = dict(activation_checkpointing=every, precision=precision, freeze_feature_encoder=frozen)
            recognizer, [cost] = choices.sketch(plan.plan_config(model=path, **settings), [seconds], CudaSemantics())
        parameters = sum(p.numel() for p in recognizer.model.parameters())
        learned = sum(p.numel() for p in recognizer.model.parameters() if p.requires_grad)
        total = (
            4 * parameters
            + 12 * learned
            + float(cost.timeline_bytes(utterances).max())
            + deepspeed_states.outside_bytes(1)
        )
        print(f"| {name} | {utterances} × {seconds:g} s | {card} | {told} | {total / 2**30:.1f} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pass_cost.SLICE_SAMPLES = padding.SLICE_SAMPLES = SHORT_SLICE_SAMPLES
    for name in sys.argv[1:2] or ("published", "cards"):
        {f.__name__: f for f in (passes, ranks, rank, cards, heads, savers, published)}[name]()
