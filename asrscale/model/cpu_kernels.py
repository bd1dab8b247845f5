"""Which of torch's kernels compute a model's convolutions on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from asrscale.model.families import CtcModel, stem_of

# With so many channels at most, compiling a convolution takes longer than computing it.
FEW_CHANNELS = 128


@contextmanager
def suitable_kernels(model: CtcModel) -> Iterator[None]:
    """Inside, convolutions are computed by the kernels that are the faster ones for the passes of a model on a CPU.

    oneDNN compiles its kernels for each new shape, and hardly two passes have the same number of samples.
    In a small model that takes a third of a pass; in one of base's width oneDNN makes it up, as its kernels are a fifth
    faster (docs/experiments/training-speed.md).
    """
    onednn: Any = torch.backends.mkldnn
    before = onednn.enabled
    onednn.enabled = before and not _is_small(model)
    try:
        yield
    finally:
        onednn.enabled = before


def _is_small(model: CtcModel) -> bool:
    """Whether it is computed in fp32 on a CPU, by a stem of few channels."""
    is_in_fp32_on_cpu = model.device.type == "cpu" and model.dtype == torch.float32
    return is_in_fp32_on_cpu and stem_of(model) is not None and max(model.config.conv_dim) <= FEW_CHANNELS
