import json

import pytest

from asrscale.config import to_dict, train_config
from asrscale.metrics import ErrorCounts
from asrscale.modelcard import model_card


@pytest.mark.parametrize(
    ("model", "push_to_hub"), [("tiny", None), ("facebook/wav2vec2-base-960h", "you/speech"), ("/tmp", None)]
)
def test_the_card_tells_data_settings_and_error_rates(model: str, push_to_hub: str | None) -> None:
    given = dict(train=("a/train", "b/train"), valid=("a/valid",), model=model, push_to_hub=push_to_hub)
    settings = to_dict(train_config(**given))
    errors = ErrorCounts(
        utterances=1234, word_hits=75, word_substitutions=25, character_hits=90, character_deletions=10
    )
    card = model_card(settings, 12.345, 6789, errors)
    assert "25.00%" in card and "10.00%" in card and "1,234" in card and "6,789 utterances, 12.35 h" in card
    assert "`a/train`, `b/train`" in card
    assert json.loads(card.split("```json\n")[1].split("```")[0]) == settings
    front = card.split("---\n")[1]
    assert ("base_model: " in front) == (model == "facebook/wav2vec2-base-960h")
    assert ('"you/speech")' in card) == (push_to_hub is not None)
