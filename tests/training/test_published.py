"""What trackers and cards get of a run's settings."""

import json

from asrscale.training.config import train_config
from asrscale.training.published import card_settings, tracked_config


def test_trackers_and_cards_get_names_and_no_paths() -> None:
    config = train_config(
        train=("/home/ann-secret/cv/train",),
        valid=("/mnt/secret/cv/valid", "/mnt/secret/own/valid"),
        run="/home/ann/secret/run",
        cache_dir="/scratch/secret",
        model="/mnt/secret/models/base",
        vocab="/mnt/secret/models/base",
        config="/home/secret/ds/zero2.json",
        augment="noise=/mnt/secret/noise:5..20dB@0.5,gain@0.3",
    )
    environment = {"model": {"name_or_path": "/mnt/secret/models/base"}, "device": "x86_64"}
    tracked = tracked_config(config, {"zero": 2}, environment)
    assert "secret" not in json.dumps(tracked)
    assert tracked["data"]["train"] == ["cv/train"] and tracked["model"]["model"] == "models/base"
    assert tracked["data"]["augment"] == card_settings(config)["augment"] == "noise=5..20dB@0.5,gain=-18..6dB@0.3"
    assert tracked["environment"] == {"model": {"name_or_path": "models/base"}, "device": "x86_64"}
