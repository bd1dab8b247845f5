"""How much audio a GPU computes at once where nothing is learned: the memory of a pass without a gradient."""

from contextlib import AbstractContextManager

import torch

from asrscale.common.out_of_memory import memory_errors_explained
from asrscale.data.batches import Batch
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.gpu_memory import CUBLAS_BYTES, FRAGMENTATION
from asrscale.memory.meta_operations import tensor_bytes
from asrscale.memory.pass_cost import meta_batch, undisturbed
from asrscale.memory.tape import Tape
from asrscale.model.forward import forward_logits
from asrscale.model.padding import make_padding_invariant
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ

CPU_CAP_SECONDS = 40.0  # padded audio of a pass: more is no faster there

# Utterances that are planned for: windows of long recordings have 20 s and what overlaps. A longer one is a pass by
# itself, which needs more for each second.
PLANNED_SECONDS = 30.0

# More is no faster on a GPU either, and a batch of it has to be read first.
MOST_SECONDS = 640.0

_FEW, _MANY = 4, 8  # utterances of the two passes that are traced: what a pass needs is linear in them


def move_to_device(recognizer: Recognizer, device: torch.device, given_seconds: float) -> float:
    """Moves a model to where it computes; returns `cap_of_device` there.

    Raises:
        OneRankError: Its weights do not fit.
    """
    with memory_errors_explained(given_seconds or CPU_CAP_SECONDS):
        recognizer.model.to(device)
    return cap_of_device(recognizer, given_seconds)


def cap_of_device(recognizer: Recognizer, given_seconds: float) -> float:
    """Returns how much padded audio a pass of a model has on the device that it is on.

    Args:
        recognizer: With its weights on the device.
        given_seconds: What the user has chosen; 0 for what the device's free memory holds.
    """
    device = recognizer.model.device
    if given_seconds or device.type != "cuda":
        return given_seconds or CPU_CAP_SECONDS
    return fitting_seconds(recognizer, free_bytes_of(device), CudaSemantics())


def free_bytes_of(device: torch.device) -> int:
    """Returns the memory of a GPU that a pass can have: what is free, and what torch keeps of what it has freed."""
    free_bytes, _ = torch.cuda.mem_get_info(device)
    kept_bytes = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free_bytes + kept_bytes


def fitting_seconds(recognizer: Recognizer, free_bytes: float, semantics: CudaSemantics) -> float:
    """Returns how much padded audio fits into memory in which the weights already are; at least that of one utterance.

    Args:
        recognizer: A model, on any device.
        free_bytes: The memory that is free.
        semantics: What the device's kernels need.
    """
    few = peak_bytes(recognizer, _FEW, PLANNED_SECONDS, semantics)
    many = peak_bytes(recognizer, _MANY, PLANNED_SECONDS, semantics)
    bytes_an_utterance = (many - few) / (_MANY - _FEW)
    base_bytes = few - _FEW * bytes_an_utterance
    room_bytes = (free_bytes - CUBLAS_BYTES) / (1 + FRAGMENTATION) - base_bytes
    utterances = max(1, int(room_bytes / bytes_an_utterance))
    return min(MOST_SECONDS, utterances * PLANNED_SECONDS)


def peak_bytes(recognizer: Recognizer, utterances: int, seconds: float, semantics: CudaSemantics) -> float:
    """Returns the most that is alive in a pass beside the weights, by one on meta tensors."""
    sketch = _sketch(recognizer)
    batch = meta_batch(utterances, int(seconds * SAMPLE_RATE_HZ))
    return run_inference(sketch, batch, Tape("meta", semantics.scratch), semantics)


def run_inference(recognizer: Recognizer, batch: Batch, tape: Tape, semantics: AbstractContextManager[object]) -> float:
    """Runs what a transcription computes of a pass, its log-probabilities; returns the most bytes beside the weights.

    Args:
        recognizer: A model in evaluation mode.
        batch: The pass, on the model's device.
        tape: Records what is alive.
        semantics: What stands for the device's kernels on meta tensors.
    """
    model = recognizer.model
    weights = [*model.parameters(), *model.buffers()]
    tape.hold([weights, batch.waveforms, batch.num_samples])
    with undisturbed(), torch.no_grad(), semantics, tape:
        forward_logits(model, recognizer, batch.waveforms, batch.num_samples).float().log_softmax(-1)
    return max(row.live_bytes for row in tape.rows) - tensor_bytes(weights)


def _sketch(recognizer: Recognizer) -> Recognizer:
    """Returns a model like another one, without weights."""
    model = recognizer.model
    with torch.device("meta"):
        sketch = make_padding_invariant(type(model)(model.config))
    sketch = sketch.to(device="meta", dtype=model.dtype).eval()
    return Recognizer(sketch, recognizer.processor, recognizer.vocabulary)
