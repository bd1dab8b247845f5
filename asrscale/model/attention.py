"""Which implementation of attention a model computes with.

The values of `--attention`:

- `auto`: transformers chooses, which is `sdpa` for wav2vec2;
- `sdpa`: PyTorch's scaled_dot_product_attention, which picks a kernel for the device;
- `flash_attention_2`: the kernels of the flash-attn package, on a GPU only;
- `eager`: plain matrix products, slow, for comparison.
"""

from transformers.utils import is_flash_attn_2_available

from asrscale.common.errors import CliError


def attention_implementation(attention: str) -> str | None:
    """Returns what transformers calls the implementation that `--attention` names; None leaves the choice to it.

    Raises:
        CliError: FlashAttention is requested where it is not available.
    """
    if attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise CliError("--attention flash_attention_2 needs a GPU and the flash-attn package: choose auto or sdpa")
    if attention == "auto":
        return None
    return attention
