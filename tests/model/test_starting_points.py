"""No trained head is lost in silence, and a language of many begins where stock transformers has it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.checkpoints import (
    LANGUAGES,
    LETTERS,
    SPECIAL,
    sound,
    stock_text,
    write_letters,
    write_mms,
)
from transformers import Wav2Vec2ForCTC

from asrscale.common.errors import CliError
from asrscale.model.building import build_meta_recognizer, build_recognizer
from asrscale.model.forward import count_frames, forward_logits, greedy_texts
from asrscale.model.language_adapters import adapter_weights
from asrscale.model.model_folders import PROVENANCE_FILE
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer


def text_of(recognizer: Recognizer) -> str:
    pcm = sound()
    recognizer.model.eval()
    with torch.no_grad():
        logits = forward_logits(recognizer.model, recognizer, torch.from_numpy(pcm)[None], torch.tensor([len(pcm)]))
    [text] = greedy_texts(recognizer, logits, count_frames(recognizer.model, torch.tensor([len(pcm)])))
    return text


@pytest.fixture
def nameless(tmp_path: Path) -> Path:
    """A checkpoint of a Trainer that was given the feature extractor alone: nothing says what its head means."""
    write_letters(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "checkpoint-500")
    for name in ("vocab.json", "tokenizer_config.json"):
        (tmp_path / "checkpoint-500" / name).unlink()
    return tmp_path / "checkpoint-500"


def test_a_trained_head_without_a_vocabulary_is_never_drawn_anew_in_silence(nameless: Path, tmp_path: Path) -> None:
    refusal = r"checkpoint-500 has a trained head of 30 tokens with blank 29 and no vocab\.json that says which: give"
    for vocab in (None, "shards"):  # a vocabulary of the shards has 30 tokens as well
        with pytest.raises(CliError, match=refusal):
            build_recognizer(str(nameless), "abc", vocab=vocab)
    with pytest.raises(CliError, match=r"so it cannot transcribe: if it was fine-tuned, copy the vocab\.json and"):
        load_recognizer(str(nameless))

    kept = build_recognizer(str(nameless), "abc", vocab=str(tmp_path / "whole" / "vocab.json"))
    assert not kept.notes and text_of(kept) == stock_text(tmp_path / "whole", sound()) != ""
    kept.save(tmp_path / "kept")
    assert text_of(load_recognizer(str(tmp_path / "kept"))) == text_of(kept)

    drawn = build_recognizer(str(nameless), "abcé", new_head=True)
    own = Wav2Vec2ForCTC.from_pretrained(nameless)
    assert drawn.model.lm_head.out_features == 31 and "é" in drawn.vocabulary.tokens
    assert drawn.model.wav2vec2.state_dict().keys() == own.wav2vec2.state_dict().keys()
    assert all(
        weight.equal(drawn.model.wav2vec2.state_dict()[name]) for name, weight in own.wav2vec2.state_dict().items()
    )
    shards = build_recognizer(str(nameless), "abc", vocab="shards", new_head=True)
    assert not torch.equal(shards.model.lm_head.weight, own.lm_head.weight)


@pytest.mark.parametrize("tokens", [[*LETTERS[:27], "é", *LETTERS[27:]], ["[PAD]", *LETTERS[:29]]])
def test_a_vocabulary_of_another_size_or_blank_is_not_that_of_the_head(
    tokens: list[str], nameless: Path, tmp_path: Path
) -> None:
    vocab = tmp_path / "other" / "vocab.json"  # not above the checkpoint, where it would count as its own
    vocab.parent.mkdir()
    vocab.write_text(json.dumps({token: id for id, token in enumerate(tokens)}))
    with pytest.raises(CliError, match=r"30 tokens with blank 29, and --vocab 3\d tokens with blank \d+: give the"):
        build_recognizer(str(nameless), "abc", vocab=str(vocab))
    assert build_recognizer(str(nameless), "abc", vocab=str(vocab), new_head=True).vocabulary.tokens == tuple(tokens)


def test_a_new_head_is_drawn_where_it_is_asked_for_though_the_letters_are_known(tmp_path: Path) -> None:
    model = write_letters(tmp_path)
    same = build_recognizer(str(tmp_path), "abc", new_head=True)
    assert same.vocabulary.tokens == tuple(LETTERS) and not torch.equal(same.model.lm_head.weight, model.lm_head.weight)
    other = build_recognizer(str(tmp_path), "é", vocab="shards", new_head=True)
    assert not any(torch.equal(row, old) for row in other.model.lm_head.weight for old in model.lm_head.weight)


def test_a_model_transcribes_where_every_row_of_its_head_was_trained(nameless: Path, mms: Path, tmp_path: Path) -> None:
    whole = str(tmp_path / "whole")
    vocab = tmp_path / "whole" / "vocab.json"
    assert build_recognizer(whole, "abc").transcribes and load_recognizer(whole).transcribes
    assert build_recognizer(whole, "abc", vocab="shards").transcribes  # fewer letters, all of them known
    assert build_recognizer(str(nameless), "abc", vocab=str(vocab)).transcribes
    assert build_recognizer(str(mms), "abc", language="tr").transcribes
    for head_at_random in (
        build_recognizer(whole, "abc", new_head=True),
        build_recognizer(whole, "abcé", vocab="shards"),
        build_recognizer(str(nameless), "abc", new_head=True),
        build_recognizer(str(mms), "abc", language="de"),
        build_recognizer("tiny", "abc"),
    ):
        assert not head_at_random.transcribes
    Wav2Vec2ForCTC.from_pretrained(whole).wav2vec2.save_pretrained(tmp_path / "pretrained")
    assert not build_recognizer(str(tmp_path / "pretrained"), "abc").transcribes


@pytest.fixture(scope="module")
def mms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mms") / "base"
    write_mms(folder)
    return folder


@pytest.mark.parametrize(
    ("language", "code"), [("tr", "tur"), ("tur", "tur"), ("ku", "kmr-script_latin"), ("en", "eng")]
)
def test_a_language_begins_with_its_adapter_head_and_vocabulary(
    language: str, code: str, mms: Path, tmp_path: Path
) -> None:
    recognizer = build_recognizer(str(mms), "äöü", language=language)
    expected = stock_text(mms, sound(), code)
    assert text_of(recognizer) == expected != stock_text(mms, sound(), "eng" if code == "tur" else "tur")
    assert recognizer.vocabulary.tokens == tuple(LANGUAGES[code])
    assert all(weight.requires_grad for weight in recognizer.model.parameters())
    assert text_of(load_recognizer(str(mms), language)) == expected

    recognizer.save(tmp_path)  # whole, as stock transformers has it
    assert stock_text(tmp_path, sound()) == stock_text(tmp_path, sound(), code) == expected
    assert text_of(load_recognizer(str(tmp_path))) == text_of(load_recognizer(str(tmp_path), language)) == expected
    with pytest.raises(CliError, match=f"none of its 1 languages is de: give --language with one of {code}$"):
        load_recognizer(str(tmp_path), "de")


def test_without_the_flag_many_languages_are_refused_by_all_that_load_them(mms: Path) -> None:
    refusal = "vocabulary for each of 3 languages: give --language with one of eng, kmr-script_latin, tur$"
    with pytest.raises(CliError, match=refusal):
        build_recognizer(str(mms), "abc")
    with pytest.raises(CliError, match=refusal):
        load_recognizer(str(mms))
    with pytest.raises(CliError, match=refusal):
        build_meta_recognizer(str(mms), dtype=torch.float32)
    with pytest.raises(CliError, match="none of its 3 languages is de: give --language with one of eng, kmr-script"):
        load_recognizer(str(mms), "de")


def test_only_the_adapter_and_the_head_are_trained_where_that_is_asked_for(mms: Path) -> None:
    recognizer = build_recognizer(str(mms), "abc", language="tr", train_adapter=True)
    trained = {name for name, weight in recognizer.model.named_parameters() if weight.requires_grad}
    assert trained == set(Wav2Vec2ForCTC.from_pretrained(mms)._get_adapters())
    sketch = build_meta_recognizer(str(mms), dtype=torch.float32, language="tr", train_adapter=True).model
    assert trained == {name for name, weight in sketch.named_parameters() if weight.requires_grad}


def test_a_language_that_the_checkpoint_lacks_gets_an_adapter_a_head_and_letters_of_its_own(
    mms: Path, tmp_path: Path
) -> None:
    recognizer = build_recognizer(str(mms), "ßäz", language="de", train_adapter=True)
    assert recognizer.notes == (f"{mms} has no language deu: its adapter and head start at random",)
    assert recognizer.vocabulary.tokens == (*SPECIAL, *"'abcdefghijklmnopqrstuvwxyzßä"[:27], "ß", "ä")
    base = Wav2Vec2ForCTC.from_pretrained(mms)
    own = adapter_weights(recognizer.model)
    weights = dict(recognizer.model.named_parameters())
    assert all(weight.equal(weights[name]) for name, weight in base.named_parameters() if name not in own)
    second = "wav2vec2.encoder.layers.0.adapter_layer.linear_2.weight"
    assert 0.005 < own[second].std().item() < 0.05  # close to adding nothing

    # The letters are those of the run; a vocabulary that is given is taken as it is.
    (tmp_path / "vocab.json").write_text(json.dumps({"[PAD]": 0, "|": 1, "ß": 2}))
    given = build_recognizer(str(mms), "abc", language="de", vocab=str(tmp_path / "vocab.json"))
    assert given.vocabulary.tokens == ("[PAD]", "|", "ß")


def test_languages_that_are_trained_one_after_another_stay_together(mms: Path, tmp_path: Path) -> None:
    first = build_recognizer(str(mms), "ß", language="de", train_adapter=True)
    first.save(tmp_path / "first")
    (tmp_path / "first" / PROVENANCE_FILE).write_text("{}")
    second = build_recognizer(str(tmp_path / "first"), "ñ", language="es", train_adapter=True, seed=7)
    second.save(tmp_path / "second")
    for language, code, model in (("de", "deu", first), ("es", "spa", second)):
        expected = text_of(model)
        assert text_of(load_recognizer(str(tmp_path / "second"), language)) == expected
        assert stock_text(tmp_path / "second", sound(), code) == expected
    with pytest.raises(CliError, match="each of 2 languages: give --language with one of deu, spa"):
        load_recognizer(str(tmp_path / "second"))
    (tmp_path / "vocab.json").write_text(json.dumps({"[PAD]": 0, "|": 1, "ñ": 2}))
    with pytest.raises(CliError, match=r"for its blank, deu, which is exported with it, <pad>: name them alike"):
        build_recognizer(
            str(tmp_path / "first"), "ñ", language="es", train_adapter=True, vocab=str(tmp_path / "vocab.json")
        )
    # Where all weights are trained, the other language no longer fits them.
    whole = build_recognizer(str(tmp_path / "first"), "ñ", language="es")
    whole.save(tmp_path / "whole")
    assert text_of(load_recognizer(str(tmp_path / "whole"))) == text_of(whole)
    assert [path.name for path in (tmp_path / "whole").glob("adapter*")] == ["adapter.spa.safetensors"]


def test_an_adapter_alone_refers_to_its_base(mms: Path, tmp_path: Path) -> None:
    recognizer = build_recognizer(str(mms), "abc", language="tr", train_adapter=True)
    torch.nn.init.normal_(recognizer.model.lm_head.weight)
    recognizer.save_adapter(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    expected = text_of(recognizer)
    loaded = load_recognizer(str(tmp_path / "adapter"))
    assert text_of(loaded) == expected

    # As stock transformers has it: the file beside those of the base.
    together = Path(shutil.copytree(mms, tmp_path / "together"))
    shutil.copy(tmp_path / "adapter" / "adapter.tur.safetensors", together)
    assert stock_text(together, sound(), "tur") == expected


def test_phones_and_models_of_one_language_have_no_languages(mms: Path, tmp_path: Path) -> None:
    with pytest.raises(CliError, match="cannot learn labels such as phones"):
        build_recognizer(str(mms), ["iː", "t"], spaced=True, language="de")
    write_letters(tmp_path)
    with pytest.raises(CliError, match=r"names no languages in its vocab\.json: leave out --language"):
        build_recognizer(str(tmp_path), "abc", language="tr")
    with pytest.raises(CliError, match="names no languages"):
        load_recognizer(str(tmp_path), "tr")
    with pytest.raises(CliError, match="has no adapters for languages, as facebook/mms-1b-all has"):
        build_recognizer(str(tmp_path), "abc", train_adapter=True)
    with pytest.raises(CliError, match="--model tiny has no languages: leave out --language and --train_adapter"):
        build_recognizer("tiny", "abc", language="tr")


def test_a_language_with_a_vocabulary_and_no_adapter_is_refused_or_drawn_and_said(tmp_path: Path) -> None:
    write_mms(tmp_path, set_to="tur")
    for code in LANGUAGES:
        (tmp_path / f"adapter.{code}.safetensors").unlink()
    # The file of weights is of the language that the tokenizer is set to.
    model = Wav2Vec2ForCTC.from_pretrained(tmp_path)
    assert torch.equal(build_recognizer(str(tmp_path), "", language="tr").model.lm_head.weight, model.lm_head.weight)
    assert text_of(load_recognizer(str(tmp_path), "tr")) == stock_text(tmp_path, sound())
    with pytest.raises(CliError, match="has a vocabulary for eng, and no adapter"):
        load_recognizer(str(tmp_path), "en")
    drawn = build_recognizer(str(tmp_path), "", language="en")
    assert drawn.notes == (f"{tmp_path} has no adapter for eng: its adapter and head start at random",)
    assert drawn.vocabulary.tokens == tuple(LANGUAGES["eng"])
