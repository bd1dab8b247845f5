import json

import pytest

from asrscale.model.model_card import model_card
from asrscale.speech.normalisation import TextRules
from asrscale.training.config import to_dict, train_config


@pytest.mark.parametrize(
    ("model", "push_to_hub"), [("tiny", None), ("facebook/wav2vec2-base-960h", "you/speech"), ("/tmp", None)]
)
def test_the_card_has_data_settings_and_error_rates(model: str, push_to_hub: str | None) -> None:
    given = dict(train=("a/train", "b/train"), valid=("a/valid",), model=model, push_to_hub=push_to_hub)
    settings = to_dict(train_config(**given))
    rules = (TextRules(language="pt-br", keep_case=True), TextRules(language="pt-br", keep_case=True), TextRules("de"))
    numbers = dict(
        train_hours=12.345,
        train_utterances=6789,
        valid_utterances=1234,
        rates={"word error rate": 0.25, "character error rate": 0.1},
        weights="average of 2, of steps 5, 10",
    )
    card = model_card(settings, text_rules=rules, **numbers)
    assert "25.00%" in card and "10.00%" in card and "1,234" in card and "6,789 utterances, 12.35 h" in card
    assert "| best model chosen by | word error rate |" in card
    assert "| weights | average of 2, of steps 5, 10 |" in card
    assert "`a/train`, `b/train`" in card
    assert json.loads(card.split("```json\n")[1].split("```")[0]) == settings
    front = card.split("---\n")[1]
    assert "language:\n- pt\n- de\n" in front and "- transcripts: pt-br, keep_case: drop markup" in card
    assert "\nlanguage:\n" not in model_card(settings, text_rules=[TextRules()], **numbers)
    assert ("base_model: " in front) == (model == "facebook/wav2vec2-base-960h")
    assert ('"you/speech")' in card) == (push_to_hub is not None)
