"""Low-rank adaptation: small matrices beside the transformer's own are trained, and added to them at the end."""

from transformers import Wav2Vec2ForCTC

from asrscale.model.freezing import freeze_feature_encoder


def add_lora(model: Wav2Vec2ForCTC, rank: int) -> None:
    """Freezes all but the head, and adds trainable matrices of a rank to each linear layer of the transformer.

    To all of them, which QLoRA (Dettmers et al. 2023, section 4) found to matter; scaled by 1, as Hu et al. 2021 do.
    """
    from peft import LoraConfig, inject_adapter_in_model  # few runs need it

    layers = r".*encoder\.layers\.\d+\.(attention|feed_forward)\.(\w+_proj|\w+_dense)"
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers), model)
    freeze_feature_encoder(model)
    model.lm_head.requires_grad_(True)


def merge_lora(model: Wav2Vec2ForCTC) -> None:
    """Makes a stock model of one that `add_lora` has changed; another stays as it is."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "base_layer"):
            module.merge()
            model.set_submodule(name, module.base_layer)
