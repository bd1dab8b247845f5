"""A model as a run trains it: what is frozen, recomputed, masked, dropped and compiled."""

from typing import Any

from asrscale.common.distributed import World, print_on_main
from asrscale.common.errors import CliError
from asrscale.model.compiling import compile_layers
from asrscale.model.configuring import choose_masks
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser, attach_regulariser
from asrscale.training.config import TrainConfig

UNPLANNED = "--compile_layers: memory is planned, and time estimated, as of layers that are not compiled"


def check_compiling(config: TrainConfig, ds_config: dict[str, Any], world: World) -> None:
    """Prints what is not known of compiled layers, if a run asks for them.

    Args:
        config: Its settings.
        ds_config: What DeepSpeed gets.
        world: This process among the ranks.

    Raises:
        CliError: ZeRO stage 3, whose hooks fetch weights inside of layers.
    """
    if not config.model.compile_layers:
        return
    if ds_config["zero_optimization"]["stage"] == 3:
        raise CliError(
            "--compile_layers: at ZeRO stage 3 weights are fetched inside of layers, which cannot be compiled then: "
            "give --config ds_configs/zero2.json"
        )
    print_on_main(world, f"{UNPLANNED}; the first passes take a minute or more")


def prepare_model(config: TrainConfig, recognizer: Recognizer) -> Regulariser:
    """Freezes, checkpoints, compiles and regularises the model as the settings say; returns its regulariser."""
    model = recognizer.model
    choose_masks(model, config.model.mask_time_prob, config.model.mask_feature_prob)
    if config.model.freeze_feature_encoder:
        freeze_feature_encoder(model)
    checkpoint_activations(model, config.memory.activation_checkpointing)
    if config.model.compile_layers:
        compile_layers(model)
    return attach_regulariser(
        model,
        mask_time_prob=config.model.mask_time_prob,
        mask_feature_prob=config.model.mask_feature_prob,
        layerdrop=config.model.layerdrop,
    )
