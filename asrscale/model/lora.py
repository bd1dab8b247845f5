"""Low-rank adaptation (LoRA): trains small matrices beside the transformer's own, which are added to them at the end.

The source is Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".
"""

from transformers import Wav2Vec2ForCTC

from asrscale.model.freezing import freeze_feature_encoder

# The names of all linear layers in the transformer's blocks, attention and feed-forward. Dettmers et al. 2023 ("QLoRA",
# section 4) found that adapting all of them matters.
LINEAR_LAYERS = r".*encoder\.layers\.\d+\.(attention|feed_forward)\.(\w+_proj|\w+_dense)"


def add_lora(model: Wav2Vec2ForCTC, rank: int) -> None:
    """Freezes all but the head, and adds trainable matrices of a rank to each linear layer of the transformer."""
    from peft import LoraConfig, inject_adapter_in_model  # slow to import, and few runs need it

    # The matrices' product is scaled by lora_alpha / r, which is 1, as Hu et al. do.
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=LINEAR_LAYERS), model)
    freeze_feature_encoder(model)
    model.lm_head.requires_grad_(True)


def merge_lora(model: Wav2Vec2ForCTC) -> None:
    """Adds the matrices of `add_lora` to the layers they belong to, so that the model is stock again.

    A model without such matrices is left unchanged.
    """
    for name, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            module.merge()
            model.set_submodule(name, module.base_layer)
