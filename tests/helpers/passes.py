"""Models to trace, and passes that are measured on the CPU: for the tests and benchmarks of the memory planner."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from asrscale.data.batches import Batch
from asrscale.memory import pass_cost
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.meta_operations import Scratch
from asrscale.memory.pass_cost import ForwardRows, run_pass
from asrscale.memory.tape import Tape
from asrscale.model import padding
from asrscale.model.building import build_meta_recognizer
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.padding import make_padding_invariant
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser, attach_regulariser, prepare_pass
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from helpers.models import stock_config

# Large enough that activations are more than what libraries allocate for themselves.
SMALL = dict(
    hidden_size=192,
    num_hidden_layers=4,
    num_attention_heads=4,
    intermediate_size=768,
    conv_dim=[96] * 7,
    num_conv_pos_embeddings=32,
    num_conv_pos_embedding_groups=4,
    vocab_size=32,
)

# So short that the stem of every pass runs in several slices; what a pass below one slice takes is overestimated.
SHORT_SLICE_SAMPLES = 16_000


def set_slices(trace_samples: int, stem_samples: int) -> None:
    """Sets how much audio is a slice to the planner, and to the frozen stem of a model."""
    pass_cost.SLICE_SAMPLES = trace_samples
    padding.SLICE_SAMPLES = stem_samples


@contextmanager
def config_file(settings: dict[str, Any]) -> Iterator[str]:
    """A config.json with a `model_type`, else wav2vec2's, and settings that differ from its default."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(stock_config(settings).to_dict()))
        yield str(path)


def sketched(settings: dict[str, Any], attention: str, dtype: torch.dtype) -> Recognizer:
    """A model without weights, in training mode."""
    with config_file(settings) as path:
        return build_meta_recognizer(path, dtype=dtype, attention=attention)


def weighted(sketch: Recognizer, attention: str, dtype: torch.dtype) -> Recognizer:
    """A model with the settings of a sketch and random weights, in training mode."""
    config = type(sketch.model.config).from_dict(sketch.model.config.to_dict())
    config._attn_implementation = attention
    model = make_padding_invariant(type(sketch.model)(config)).to(dtype).train()
    return Recognizer(model, sketch.processor, sketch.vocabulary)


def save_memory(recognizer: Recognizer, *, frozen: bool, every: int) -> None:
    """Freezes a model's stem, and recomputes every so many-th of its layers; 0 none."""
    if frozen:
        freeze_feature_encoder(recognizer.model)
    checkpoint_activations(recognizer.model, every)


def masked(recognizer: Recognizer, mask_time_prob: float = 1.0) -> Regulariser:
    """Attaches a regulariser that masks frames to a model, once and for all."""
    return attach_regulariser(
        recognizer.model,
        mask_time_prob=mask_time_prob,
        mask_feature_prob=0.0,
        layerdrop=0.0,
    )


class CpuSemantics(CudaSemantics):
    """What a CPU keeps: its own attention."""

    scratch: ClassVar[Scratch] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == Tensor.all:
            return False
        if func is functional.scaled_dot_product_attention:
            query, key, value = args
            return _cpu_attention(query, key, value, kwargs["attn_mask"], kwargs["scale"])
        return func(*args, **(kwargs or {}))


def _cpu_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Attention as on a CPU, which makes numbers of a mask."""
    if mask is not None and mask.requires_grad:  # a bias of positions, for which only matrix products have a gradient
        by_products: Tensor = torch.ops.aten._scaled_dot_product_attention_math(query, key, value, mask, scale=scale)[0]
        return by_products
    numbers = None
    if mask is not None:
        is_bias = mask.dtype != torch.bool
        numbers = mask if is_bias else torch.where(mask, *torch.empty(2, dtype=query.dtype, device="meta"))
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    attended: Tensor = attend(query, key, value, attn_mask=numbers, scale=scale)[0]
    return attended


def padded_pass(utterances: int, seconds: float) -> Batch:
    """A pass with padding everywhere: where one has none, the model drops its mask and needs less than predicted."""
    samples = int(seconds * SAMPLE_RATE_HZ)
    waveforms = torch.randint(-3000, 3000, (utterances, samples), dtype=torch.int16)
    labels = torch.randint(5, 30, (utterances, int(seconds * 15)))
    return Batch(
        utterances=np.arange(utterances),
        waveforms=waveforms,
        num_samples=torch.linspace(samples * 0.9, samples * 0.7, utterances).long(),
        labels=labels,
        num_labels=torch.full((utterances,), labels.shape[1]),
    )


@dataclass(frozen=True)
class MeasuredPass:
    """A real pass on the CPU."""

    tape: Tape
    forward_rows: ForwardRows
    allocated_bytes: int  # the most that the allocator held above what it held before
    inside: str  # the operation in which it held it

    @property
    def saved_bytes(self) -> float:
        """What was alive at the end of the forward pass, weights included."""
        return self.tape.rows[self.forward_rows.loss].live_bytes

    @property
    def peak_bytes(self) -> float:
        """The most that was alive, weights included."""
        return max(row.live_bytes for row in self.tape.rows)


def measure_pass(real: Recognizer, regulariser: Regulariser, utterances: int, seconds: float) -> MeasuredPass:
    """Runs a pass of a model with weights and the regulariser that is attached to it."""
    batch = padded_pass(utterances, seconds)
    prepare_pass(regulariser, real.model, batch, seed=0, step=0)
    tape = Tape("cpu", {})
    tape.hold([regulariser.dropout.frame_keys, regulariser.dropout.feature_keys])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        forward_rows = run_pass(real, batch, tape)
    events = profiled.profiler.kineto_results.events()
    allocations = [event for event in events if event.name() == "[memory]"]
    live_bytes = peak_bytes = peak_ns = 0
    for allocation in sorted(allocations, key=lambda event: event.start_ns()):
        live_bytes += allocation.nbytes()
        if live_bytes > peak_bytes:
            peak_bytes = live_bytes
            peak_ns = allocation.start_ns()

    operations = [event for event in events if event.name() != "[memory]"]
    running = [event for event in operations if event.start_ns() <= peak_ns <= event.start_ns() + event.duration_ns()]
    shortest = min(running, key=lambda event: event.duration_ns(), default=None)
    return MeasuredPass(
        tape=tape,
        forward_rows=forward_rows,
        allocated_bytes=peak_bytes,
        inside=shortest.name() if shortest else "-",
    )
