"""The card, as huggingface_hub reads it; and its programs, run as they stand there."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from conftest import speak
from helpers.checkpoints import LANGUAGES, sound, stock_text, write_mms
from huggingface_hub import ModelCard, metadata_load
from transformers import AutoProcessor, pipeline

from asrscale.model.building import build_recognizer
from asrscale.model.export import export_model
from asrscale.model.model_card import THIS_FOLDER, CardFacts, model_card, public_name
from asrscale.model.recognizer import Recognizer
from asrscale.speech.normalisation import TextRules
from asrscale.training.config import to_dict, train_config

RESULTS = {
    "metric": "wer", "utterances": 1234, "wer": 0.25, "wer_low": 0.2412, "wer_high": 0.2587, "cer": 0.1,
    "cer_low": 0.09, "cer_high": 0.11, "by": {},
}  # fmt: skip
RULES = (TextRules(language="pt-br", keep_case=True), TextRules(language="pt-br", keep_case=True), TextRules("de"))
FACTS = dict(
    model_type="wav2vec2",
    text_rules=RULES,
    train=["/secret/place/cv/train", "s3://bucket/orders/train"],
    train_weights=[1.0, 0.3],
    train_hours=12.345,
    train_utterances=6789,
    results=RESULTS,
    weights="of step 7",
)


def card_of(folder: Path | None = None, reads_batches: bool = True, **given: Any) -> str:
    data = dict(train=("/secret/place/cv/train", "s3://bucket/orders/train=0.3"), valid=("/secret/place/cv/valid",))
    settings = to_dict(train_config(**data | dict(run="/secret/run", cache_dir="/secret/cache") | given))
    return model_card(settings, CardFacts(**FACTS, reads_batches=reads_batches, license="cc-by-4.0"))


def test_its_metadata_are_what_the_hub_reads(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card_of(model="facebook/wav2vec2-base-960h", push_to_hub="you/speech"))
    card = ModelCard.load(tmp_path / "README.md")
    data = card.data.to_dict()
    assert data == metadata_load(tmp_path / "README.md")
    assert data["language"] == ["pt", "de"] and data["license"] == "cc-by-4.0"
    assert data["base_model"] == "facebook/wav2vec2-base-960h" and data["datasets"] == ["cv", "orders"]
    assert data["metrics"] == ["wer", "cer"] and data["tags"] == ["wav2vec2", "ctc", "asrscale"]
    assert data["library_name"] == "transformers" and data["pipeline_tag"] == "automatic-speech-recognition"
    wer, cer = card.data.eval_results
    assert (wer.metric_type, wer.metric_value, cer.metric_type, cer.metric_value) == ("wer", 25.0, "cer", 10.0)
    assert (wer.task_type, wer.dataset_name, wer.dataset_split) == ("automatic-speech-recognition", "cv/valid", "valid")
    assert wer.metric_args["interval_95_percent"] == [24.12, 25.87] and wer.metric_args["utterances"] == 1234
    assert "transcripts: pt-br, keep_case: drop markup" in wer.metric_args["normalizer"]


def test_it_says_what_was_trained_and_nothing_of_this_machine(tmp_path: Path) -> None:
    own = tmp_path / "secret" / "base"
    own.mkdir(parents=True)
    card = card_of(model=str(own), vocab=str(own / "vocab.json"))
    assert "25.00% (95 % interval 24.12% to 25.87%)" in card and "| best model chosen by | word error rate |" in card
    assert "| weights | of step 7 |" in card
    assert "`cv/train`, `orders/train` × 0.3: 6,789 utterances, 12.35 h" in card and "`secret/base`" in card
    assert str(tmp_path) not in card and "/secret/" not in card and "bucket" not in card and "base_model" not in card
    settings = json.loads(card.split("```json\n")[1].split("```")[0])
    assert settings["train"] == ["cv/train", "orders/train=0.3"] and settings["learning_rate"] == 1e-4
    assert "run" not in settings and "cache_dir" not in settings and settings["vocab"] == "base/vocab.json"
    assert public_name("me/speech") == "me/speech" and public_name("../../x/y/z") == "y/z"
    for own in ("/home/ann/train", "/Users/ann/train", "~/train", f"{Path.home()}/train"):
        assert public_name(own) == "train"
    assert public_name("https://ann:s3cret@host.org/cv/train?s3cret") == "cv/train"
    undecided = CardFacts(**FACTS | dict(text_rules=[TextRules()]), reads_batches=True)
    assert (
        "\nlanguage:" not in model_card(to_dict(train_config(train=("a",), valid=("b",))), undecided).split("---\n")[1]
    )


def test_what_a_run_came_to_stands_beside_where_it_began() -> None:
    settings = to_dict(train_config(train=("a",), valid=("b",)))
    began = {"before": {"wer": 0.3, "cer": 0.2}, "best": {"wer": 0.25, "cer": 0.1}, "last": {"wer": 0.26, "cer": 0.11}}
    facts = CardFacts(**FACTS, reads_batches=True, while_training=began, utterances_while_training=1000)
    card = model_card(settings, facts)
    where = "error rate while training, on 1,000 of the utterances"
    assert f"| word {where} | 30.00% before the first step, 25.00% at the best evaluation, 26.00% at the last |" in card
    assert f"| character {where} | 20.00% before the first step, 10.00% at the best" in card
    assert "while training" not in card_of()


def programs(card: str, folder: Path, others: dict[str, Path] = {}) -> list[str]:  # noqa: B006  # read only
    blocks = [block.split("```")[0] for block in card.split("```python\n")[1:]]
    for name, place in {THIS_FOLDER: folder, **others}.items():
        blocks = [block.replace(name, str(place)) for block in blocks]
    return blocks


def printed_by(program: str) -> str:
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(program, "card", "exec"), {})
    return out.getvalue().strip()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    soundfile.write("speech.wav", speak("bad dog big age", 1), 16_000)
    soundfile.write("more.wav", speak("bee", 2), 16_000)
    return tmp_path


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_its_programs_run_and_read_in_a_batch_what_they_read_alone(
    dtype: torch.dtype, tone_recognizer: Recognizer, here: Path
) -> None:
    build_recognizer("tiny", "abc").save(here / "model")
    recognizer = build_recognizer(str(here / "model"), "")
    recognizer.model.load_state_dict(tone_recognizer.model.state_dict())
    export_model(recognizer, here / "model", dtype)
    alone, batch = programs(card_of(model="tiny"), here / "model")
    assert printed_by(alone) == "bad dog big age"
    assert printed_by(batch) == "['bad dog big age', 'bee']"


def test_stock_batches_read_the_padding_of_a_model_and_the_three_lines_do_not(
    tone_recognizer: Recognizer, here: Path
) -> None:
    """The fault that the card is about: letters in the padding, which was silence in no training."""
    recognizer = build_recognizer("tiny", "abc")
    recognizer.model.load_state_dict(tone_recognizer.model.state_dict())
    with torch.no_grad():  # says a letter wherever nothing is heard
        recognizer.model.lm_head.bias[recognizer.vocabulary.tokens.index("q")] += 14.0
    recognizer.save(here / "model")
    recognise = pipeline("automatic-speech-recognition", str(here / "model"), batch_size=2)
    clips = [soundfile.read(file, dtype="float32")[0] for file in ("speech.wav", "more.wav")]
    alone = [recognise({"raw": clip, "sampling_rate": 16_000})["text"] for clip in clips]
    together = [one["text"] for one in recognise([{"raw": clip, "sampling_rate": 16_000} for clip in clips])]
    assert together[0] == alone[0] and together[1] != alone[1]  # the shorter one
    assert printed_by(programs(card_of(model="tiny"), here / "model")[1]) == str(alone)


def test_a_model_with_a_group_norm_reads_one_at_a_time() -> None:
    [_] = programs(card_of(model="tiny", reads_batches=False), Path())
    assert "`batch_size` 1 as it is by default" in card_of(model="tiny", reads_batches=False)


def test_an_adapter_alone_says_how_it_meets_its_base(here: Path) -> None:
    write_mms(here / "base")
    recognizer = build_recognizer(str(here / "base"), "", language="tr", train_adapter=True)
    recognizer.save_adapter(here / "adapter")
    soundfile.write("speech.wav", sound(), 16_000)
    settings = to_dict(train_config(train=("a",), valid=("b",), model=str(here / "base")))
    card = model_card(settings, CardFacts(**FACTS, reads_batches=True, adapter="adapter.tur.safetensors"))
    [program] = programs(card, here / "adapter", {"PATH_OF_THE_BASE": here / "base"})
    program = program.replace('"adapter.tur', f'"{here}/adapter/adapter.tur')
    expected = stock_text(here / "base", sound(), "tur")
    assert printed_by(program).replace("<s>", "⁇").replace("</s>", "⁇").replace("<unk>", "⁇") == expected
    assert len(AutoProcessor.from_pretrained(here / "adapter").tokenizer) == len(LANGUAGES["tur"])


def test_each_of_several_data_sets_has_its_rates() -> None:
    of_orders = {name: value / 2 for name, value in RESULTS.items() if name.startswith(("wer", "cer"))}
    results = RESULTS | {"by": {"data_set": {"secret/orders/dev": of_orders}, "speaker": {"ann": of_orders}}}
    settings = to_dict(train_config(train=("a",), valid=("b",)))
    card = model_card(settings, CardFacts(**FACTS | {"results": results}, reads_batches=True))
    assert "| word error rate of `orders/dev` | 12.50% (95 % interval 12.06% to 12.93%) |" in card
    assert "| character error rate of `orders/dev` | 5.00% (95 % interval 4.50% to 5.50%) |" in card
    assert "secret" not in card.replace("secret/base", "") and "ann" not in card
