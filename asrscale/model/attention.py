"""Which implementation of attention a model computes with.

The values of `--attention`:

- `auto`: transformers chooses, which is `sdpa` for all families but WavLM;
- `sdpa`: PyTorch's scaled_dot_product_attention, which picks a kernel for the device;
- `flash_attention_2`: the kernels of the flash-attn package, on a GPU only;
- `eager`: plain matrix products, slow, for comparison; all that WavLM has, whose attention has a bias of its own.
"""

from transformers import PreTrainedConfig
from transformers.utils import is_flash_attn_2_available

from asrscale.common.errors import CliError
from asrscale.model.families import model_class


def attention_implementation(attention: str, config: PreTrainedConfig) -> str | None:
    """Returns what transformers calls the implementation that `--attention` names; None leaves the choice to it.

    Raises:
        CliError: The models of this configuration do not have it, or FlashAttention is not available.
    """
    of_family = implementations(config)
    if attention not in of_family:
        choices = " or ".join(of_family)
        raise CliError(f"--attention {attention}: {config.model_type} models do not have it: choose {choices}")
    if attention == "flash_attention_2" and not is_flash_attn_2_available():
        raise CliError("--attention flash_attention_2 needs a GPU and the flash-attn package: choose auto or sdpa")
    if attention == "auto":
        return None
    return attention


def implementations(config: PreTrainedConfig) -> list[str]:
    """Returns the values of `--attention` that are possible for models of this configuration."""
    model = model_class(config)
    has_flash = getattr(model, "_supports_flash_attn", False)
    possible = {"auto": True, "sdpa": model._supports_sdpa, "flash_attention_2": has_flash, "eager": True}
    return [name for name, is_possible in possible.items() if is_possible]
