"""What trackers and model cards, which others may read, get of a run's settings: names, and no paths of the machine."""

from collections.abc import Mapping
from typing import Any

from asrscale.augmentation.effects import describe_effects, parse_effects
from asrscale.model.model_card import public_name, public_settings
from asrscale.training.config import TrainConfig, by_section, to_dict


def tracked_config(
    config: TrainConfig, ds_config: Mapping[str, Any], environment: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Returns the settings by sections, those of DeepSpeed, and what runs where.

    Args:
        config: The settings.
        ds_config: What DeepSpeed gets.
        environment: As `describe_environment` returns it.
    """
    sections = {name: public_settings(_without_folders(section)) for name, section in by_section(config).items()}
    model = dict(environment["model"])
    if model["name_or_path"]:
        model["name_or_path"] = public_name(model["name_or_path"])
    return sections | {"deepspeed": dict(ds_config), "environment": {**environment, "model": model}}


def card_settings(config: TrainConfig) -> dict[str, Any]:
    """Returns the settings as `model_card` takes them."""
    return _without_folders(to_dict(config))


def _without_folders(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings whose --augment says what is done to the sound, and not with whose recordings."""
    augment = settings.get("augment")
    return dict(settings) | ({"augment": describe_effects(parse_effects(augment))} if augment else {})
