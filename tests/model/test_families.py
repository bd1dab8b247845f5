"""Where the parts of each family's models are."""

import pytest
from transformers import CONFIG_MAPPING

from asrscale.model.families import FAMILIES, attentions_of, encoder_of, head_of, model_class, stem_of


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_description_finds_the_parts_of_a_stock_model(model_type: str) -> None:
    config = CONFIG_MAPPING[model_type](
        num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=40
    )
    model = model_class(config)(config)
    assert config.model_type == model_type
    assert len(encoder_of(model).layers) == len(attentions_of(model)) == 2
    assert len(stem_of(model).conv_layers) == config.num_feat_extract_layers
    assert head_of(model).out_features == config.vocab_size
    for attention in attentions_of(model):
        assert attention.num_heads == 2
        assert attention.get_submodule(FAMILIES[model_type].value_projection).out_features == 32
