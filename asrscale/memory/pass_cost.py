"""The memory and time of a training pass as linear functions of its utterances.

Shapes: B utterances of a pass, T samples, F frames, L labels.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asrscale.data.batches import LABELS_PER_SECOND
from asrscale.memory.cuda_kernels import CudaSemantics
from asrscale.memory.tape import Tape, tensor_bytes
from asrscale.model.forward import count_frames, ctc_losses, forward_logits
from asrscale.model.padding import SLICE_SAMPLES
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser
from asrscale.speech.pcm import SAMPLE_RATE_HZ


@dataclass(frozen=True, eq=False)
class PassCost:
    """What passes of one length cost on one device: everything is linear in their utterances B."""

    seconds: float  # length of each utterance
    weights_bytes: int  # of the model, in the precision it computes in
    base: NDArray[np.float64]  # (N, 3) live bytes, FLOPs and bytes moved of each operation, for B = 0
    slope: NDArray[np.float64]  # (N, 3) the same for each utterance
    forward_rows: tuple[int, int]  # operations before the loss, and with it

    def timeline_bytes(self, utterances: float) -> NDArray[np.float64]:
        """(N,) what is alive above the weights; a gradient is there only in the moment it is computed in."""
        timeline: NDArray[np.float64] = self.base[:, 0] + self.slope[:, 0] * utterances - self.weights_bytes
        return timeline

    def max_utterances(self, budget_bytes: float) -> float:
        """How many fit a budget that the weights are not part of; a fraction, 0 where none does."""
        room, slope = budget_bytes - self.timeline_bytes(0), self.slope[:, 0]
        grows = slope > 0
        return max(0.0, float((room[grows] / slope[grows]).min())) if (room[~grows] >= 0).all() else 0.0


def trace_pass(recognizer: Recognizer, seconds: float, regulariser: Regulariser, semantics: CudaSemantics) -> PassCost:
    """Runs passes of two sizes on meta tensors, of utterances of so many seconds.

    `recognizer` is of `model.sketch_recognizer`, in training mode, frozen and checkpointed as it will be; `regulariser`
    is attached to it; `semantics` knows what the device's kernels keep for the backward pass and need meanwhile.
    """
    model, samples = recognizer.model, int(seconds * SAMPLE_RATE_HZ)
    frames, size = int(count_frames(model, torch.tensor(samples))), max(1, SLICE_SAMPLES // samples)
    tapes = []
    for B in (2 * size, 3 * size):  # whole slices of a frozen stem
        waveforms = torch.empty(B, samples, dtype=torch.int16, device="meta")
        labels = torch.empty(B, max(1, int(seconds * LABELS_PER_SECOND)), dtype=torch.int64, device="meta")
        regulariser.time_mask = torch.empty(B, frames, dtype=torch.bool, device="meta")
        tapes.append(Tape("meta", semantics.scratch))
        with semantics:
            run_pass(recognizer, waveforms, labels[:, 0], labels, labels[:, 0], tapes[-1])
    few, many = (np.array(tape.rows) for tape in tapes)
    slope = (many - few) / size
    weights_bytes = tensor_bytes([*model.parameters(), *model.buffers()])
    before, after = tapes[0].forward_rows
    return PassCost(seconds, weights_bytes, few - 2 * size * slope, slope, (before, after))


def run_pass(
    recognizer: Recognizer, waveforms: Tensor, num_samples: Tensor, labels: Tensor, num_labels: Tensor, tape: Tape
) -> None:
    """Forward, loss and backward under a tape, as `fit` runs a pass; each gradient is dropped when it is whole."""
    model = recognizer.model
    encoder, learned = model.wav2vec2.feature_extractor, [p for p in model.parameters() if p.requires_grad]
    hooks = [p.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None)) for p in learned]
    if len(learned) < len(list(model.parameters())):  # a frozen stem runs in slices
        hooks += [encoder.register_forward_pre_hook(lambda *_: tape.fold(True))]
        hooks += [encoder.register_forward_hook(lambda *_: tape.fold(False))]
    tape.hold([*model.parameters(), *model.buffers(), waveforms, num_samples, labels, num_labels])
    with tape:
        logits = forward_logits(model, recognizer, waveforms, num_samples)
        tape.forward_rows = [len(tape.rows)]
        loss = ctc_losses(logits, count_frames(model, num_samples), labels, num_labels, 0).sum()
        del logits
        # loss.backward() would leave the mode that stands for CUDA.
        start = (loss,), (torch.ones_like(loss),), False, False, ()
        tape.forward_rows += [len(tape.rows)]
        torch.autograd.graph._engine_run_backward(*start, allow_unreachable=True, accumulate_grad=True)
    for hook in hooks:
        hook.remove()
