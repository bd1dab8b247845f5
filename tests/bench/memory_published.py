"""Predicted memory beside what others have measured on GPUs; a part of bench_memory.py."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.passes import SHORT_SLICE_SAMPLES, config_file, set_slices
from helpers.planned import ARCHITECTURES

from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.gpu_memory import CUBLAS_BYTES, outside_bytes
from asrscale.memory.pass_cost import backward_in_modes
from asrscale.memory.tape import Tape
from asrscale.memory.workload import Workload, sketch

WHOLE_STEM = 10**9  # samples of a slice that no pass is longer than

# torch.cuda.max_memory_allocated of BERT-base on an A100 (transformers' documentation): fp16 weights, forward and
# logits.sum().backward(); by batch and length, eager and sdpa, MB.
BERT_MB = {
    (4, 256): (939.213, 764.834),
    (4, 512): (1970.447, 1227.162),
    (8, 256): (1594.295, 1226.114),
    (8, 512): (3629.401, 2134.262),
    (16, 256): (2874.426, 2134.262),
    (16, 512): (6964.659, 3961.013),
}


@dataclass(frozen=True)
class Reported:
    """What others wrote of fine-tuning wav2vec2, without its peak."""

    model: str
    utterances: int
    seconds: float
    card: str
    words: str
    every: int = 1  # activation checkpointing
    dtype: torch.dtype = torch.bfloat16  # of activations: autocast is taken for bf16 beside fp32 weights and states
    frozen: bool = True  # the stem


REPORTED = (
    Reported("base", 32, 23.4, "24 GB", "ran (patrickvonplaten/wav2vec2-base-100h-13K-steps; about 750 s)"),
    Reported("XLS-R 1B", 12, 10.0, "24 GB", "ran (transformers#14861; its lengths are not given)"),
    Reported("XLS-R 300M", 64, 5.0, "32 GB", "ran (model cards of AlexN)"),
    Reported("XLS-R 300M", 32, 20.0, "32 GB", "ran (model cards of AlexN)"),
    Reported(
        "large-960h",
        6,
        11.5,
        "16 GB",
        "6 are the most (speechbrain#944; recordings of up to 24 s)",
        every=0,
        dtype=torch.float32,
        frozen=False,
    ),
    Reported(
        "large-960h",
        6,
        24.0,
        "16 GB",
        "the same, if all were the longest",
        every=0,
        dtype=torch.float32,
        frozen=False,
    ),
)


def published() -> None:
    """Prints predictions beside what others measured of BERT, and what others wrote of wav2vec2."""
    print("| batch × length | eager: predicted, measured MB | | sdpa: predicted, measured MB | |")
    print("|---|---|---|---|---|")
    rows: dict[tuple[int, int], list[str]] = {shape: [] for shape in BERT_MB}
    for column, attention in enumerate(("eager", "sdpa")):
        bert = sketched_bert(attention)
        for shape, measured_mb in BERT_MB.items():
            predicted_mb = (bert_peak_bytes(bert, shape) + CUBLAS_BYTES) / 1e6
            measured = measured_mb[column]
            rows[shape] += [f"{predicted_mb:,.0f}, {measured:,.0f}", f"{predicted_mb / measured - 1:+.1%}"]
    for (utterances, length), cells in rows.items():
        print(f"| {utterances} × {length} | {' | '.join(cells)} |")

    print("\n| wav2vec2 | shape | card | reported | predicted GiB |\n|---|---|---|---|---|")
    for case in REPORTED:
        shape = f"{case.utterances} × {case.seconds:g} s"
        predicted_gib = wav2vec2_bytes(case) / 2**30
        print(f"| {case.model} | {shape} | {case.card} | {case.words} | {predicted_gib:.1f} |", flush=True)


def sketched_bert(attention: str) -> transformers.BertLMHeadModel:
    """BERT-base without weights, in training mode."""
    config = transformers.BertConfig(is_decoder=False)
    config._attn_implementation = attention
    with torch.device("meta"):
        bert = transformers.BertLMHeadModel(config)
    return bert.to(torch.float16).train()


def copies_for_cublas(args: Any, _: Any) -> int:
    """cuBLAS wants a unit stride: the expanded gradient of .sum() is copied."""
    return sum(tensor.numel() * tensor.element_size() for tensor in args[:2] if 1 not in tensor.stride())


def bert_peak_bytes(bert: transformers.BertLMHeadModel, shape: tuple[int, int]) -> float:
    """The peak of the loop that was measured: the last output is alive while the next is computed."""
    tape = Tape("meta", CudaSemantics.scratch | {torch.ops.aten.mm.default: copies_for_cublas})
    tape.hold([*bert.parameters(), *bert.buffers()])
    output = None
    for _ in range(2):
        tape.rows.clear()
        bert.zero_grad(set_to_none=True)
        with CudaSemantics(), tape:
            output = bert(input_ids=torch.zeros(shape, dtype=torch.int64, device="meta"))
            total = output.logits.sum()
            backward_in_modes(total, torch.ones_like(total))
    del output
    bert.zero_grad(set_to_none=True)
    return max(row.live_bytes for row in tape.rows)


def wav2vec2_bytes(case: Reported) -> float:
    """The predicted peak of stock transformers: fp32 weights, gradients and moments, and the activations of a pass."""
    set_slices(SHORT_SLICE_SAMPLES, WHOLE_STEM)
    with config_file(ARCHITECTURES[case.model]) as path:
        workload = Workload(
            model=path,
            dtype=case.dtype,
            step_seconds=160.0,
            freeze_feature_encoder=case.frozen,
        )
        sketched = sketch(workload, case.every, [case.seconds])
        recognizer, [cost] = sketched.recognizer, sketched.costs
    parameters = list(recognizer.model.parameters())
    weights_bytes = sum(4 * parameter.numel() for parameter in parameters)
    trained_bytes = sum(12 * parameter.numel() for parameter in parameters if parameter.requires_grad)
    return weights_bytes + trained_bytes + float(cost.timeline_bytes(case.utterances).max()) + outside_bytes(1)
