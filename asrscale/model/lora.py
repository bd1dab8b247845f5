"""Low-rank adaptation (LoRA): trains small matrices beside the transformer's own, which are added to them at the end.

The source is Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

from asrscale.model.families import CtcModel, family_of, head_of
from asrscale.model.freezing import freeze_feature_encoder


def add_lora(model: CtcModel, rank: int) -> None:
    """Freezes all but the head, and adds trainable matrices of a rank to each linear layer of the transformer."""
    from peft import LoraConfig, inject_adapter_in_model  # slow to import, and few runs need it

    # All linear layers, of attention and feed-forward: Dettmers et al. 2023 ("QLoRA", section 4) found that it matters.
    adapted = rf".*encoder\.layers\.\d+\.{family_of(model.config).linear_layers}"
    # The matrices' product is scaled by lora_alpha / r, which is 1, as Hu et al. do.
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=adapted), model)
    freeze_feature_encoder(model)
    head_of(model).requires_grad_(True)


def merge_lora(model: CtcModel) -> None:
    """Adds the matrices of `add_lora` to the layers they belong to, so that the model is stock again.

    A model without such matrices is left unchanged.
    """
    for name, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            module.merge()
            model.set_submodule(name, module.base_layer)
