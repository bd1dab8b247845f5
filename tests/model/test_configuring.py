"""What a model's configuration gets for training."""

import pytest
from helpers.models import KINDS, ONE_OF_EACH, SMALL, stock_config

from asrscale.model.configuring import TrainingSettings, choose_masks, configure, set_vocabulary
from asrscale.model.families import model_class
from asrscale.speech.vocabulary import build_vocabulary


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_no_draw_of_transformers_is_left_in_any_family(kind: str) -> None:
    config = stock_config(SMALL | KINDS[kind] | dict(layerdrop=0.1, apply_spec_augment=True))
    configure(config, TrainingSettings("auto", mask_time_prob=0.05, mask_feature_prob=0.01, dropout=0.25))
    assert config.layerdrop == 0 and not config.apply_spec_augment
    assert (config.mask_time_prob, config.mask_feature_prob) == (0.05, 0.01)
    assert config.ctc_loss_reduction == "mean"
    dropouts = {
        name: value
        for name, value in config.to_dict().items()
        if name.endswith("dropout") and name != "feat_quantizer_dropout" and isinstance(value, float)
    }
    assert len(dropouts) >= 4 and set(dropouts.values()) == {0.25}


def test_without_a_dropout_of_the_run_a_checkpoint_keeps_its_own() -> None:
    config = stock_config(SMALL | dict(hidden_dropout=0.3))
    configure(config, TrainingSettings("eager", mask_time_prob=0.0, mask_feature_prob=0.0, dropout=None))
    assert config.hidden_dropout == 0.3 and config._attn_implementation == "eager"


@pytest.mark.parametrize("kind", ["wav2vec2", "unispeech-sat"])
def test_the_vocabulary_decides_size_and_blank(kind: str) -> None:
    config = stock_config(SMALL | KINDS[kind])
    vocabulary = build_vocabulary("äöü")
    set_vocabulary(config, vocabulary)
    assert (config.vocab_size, config.pad_token_id) == (len(vocabulary.tokens), vocabulary.blank_id)
    assert (config.bos_token_id is None) == (kind == "wav2vec2")  # UniSpeech-SAT's configuration insists on a number


@pytest.mark.parametrize("kind", ONE_OF_EACH)
def test_a_model_whose_masks_turn_out_to_be_none_is_as_one_made_without(kind: str) -> None:
    wanted = stock_config(SMALL | KINDS[kind] | dict(mask_time_prob=0.05))
    model = model_class(wanted)(wanted)
    choose_masks(model, 0.3, 0.1)
    assert (model.config.mask_time_prob, model.config.mask_feature_prob) == (0.3, 0.1)
    choose_masks(model, 0.0, 0.0)
    none = stock_config(SMALL | KINDS[kind] | dict(mask_time_prob=0.0, mask_feature_prob=0.0))
    assert model.state_dict().keys() == model_class(none)(none).state_dict().keys()
