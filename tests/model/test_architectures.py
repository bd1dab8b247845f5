from transformers import Wav2Vec2Config

from asrscale.model.architectures import ARCHITECTURES, DROPOUT_SETTINGS


def test_the_dropouts_are_all_that_a_fine_tuned_model_has() -> None:
    named = {name for name in Wav2Vec2Config().to_dict() if name.endswith("dropout")}
    assert named - {"feat_quantizer_dropout"} == set(DROPOUT_SETTINGS)  # the quantizer is for pretraining alone


def test_an_architecture_is_made_of_settings_that_transformers_has() -> None:
    known = Wav2Vec2Config().to_dict().keys()
    for settings in ARCHITECTURES.values():
        assert settings.keys() <= known
