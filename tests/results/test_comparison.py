"""References and hypotheses of every language, through the whole path: CSV, shards, evaluation."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers.sentences import LANGUAGES
from helpers.sharding import write_clip
from torch import Tensor, nn

from asrscale.common.distributed import World
from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.data.catalog import read_catalog
from asrscale.data.index import Index, read_index
from asrscale.model.building import build_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.results.breakdown import break_down
from asrscale.results.comparison import comparable
from asrscale.results.evaluation import evaluate
from asrscale.results.metrics import count_errors
from asrscale.speech.ctc_text import text_of_path
from asrscale.speech.normalisation import TextRules, normalise, normalise_hypothesis
from asrscale.speech.vocabulary import Vocabulary, build_vocabulary

SENTENCES_OF_EACH = 6
WORLD = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


class PerfectModel(nn.Module):
    """Says the labels of the one utterance that is as long, each for a frame, with a blank behind it."""

    def __init__(self, recognizer: Recognizer, index: Index) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.labels = {
            int(samples): recognizer.vocabulary.encode(text)
            for samples, text in zip(index.num_samples, index.texts.to_pylist(), strict=True)
        }
        assert len(self.labels) == len(index), "every length once"

    def forward(self, samples: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        lengths = attention_mask.sum(1)
        frames = int(self.recognizer.geometry.num_frames(samples.shape[1]))
        vocabulary = self.recognizer.vocabulary
        logits = torch.zeros(len(lengths), frames, len(vocabulary.tokens))
        logits[:, :, vocabulary.blank_id] = 1
        for row, length in enumerate(lengths.tolist()):
            labels = self.labels[length]
            logits[row, torch.arange(len(labels)) * 2, torch.tensor(labels)] = 2
        return SimpleNamespace(logits=logits)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """A data set folder of each language, of a corpus whose column locale names it: all by one build."""
    root = tmp_path_factory.mktemp("languages")
    for number in range(SENTENCES_OF_EACH):
        write_clip(root / f"{number}.wav", seconds=3 + number / 50, rate_hz=16_000)
    tables = []
    for language, sentences in LANGUAGES.items():
        lines = [f"{number}.wav\t{raw}\t{language}" for number, (raw, _, _) in enumerate(sentences)]
        table = root / f"{language}.tsv"
        table.write_text("\n".join(["path\tsentence\tlocale", *lines]) + "\n", encoding="utf-8")
        tables.append(f"{language.lower()}={table}")
    options = ShardOptions(csv=tuple(tables), out=str(root / "out"), audio_root=(str(root),), workers=1)
    assert build(options) is None
    yield {language: root / "out" / language.lower() for language in LANGUAGES}


def test_the_model_that_says_what_is_right_has_no_errors_in_any_language(folders: dict[str, Path]) -> None:
    for language, folder in folders.items():
        index = read_index([str(folder)])
        catalog = read_catalog([str(folder)])
        assert set(catalog.text_rules) == {TextRules(language=language.lower())} and not catalog.notes
        assert sorted(index.texts.to_pylist()) == sorted(right for _, right, _ in LANGUAGES[language])
        recognizer = build_recognizer("tiny", catalog.characters)
        model = PerfectModel(recognizer, index)
        result = evaluate(model, recognizer, index, WORLD, memory_cap_seconds=40, threads=1, title=None)
        assert (result.errors.wer, result.errors.cer, result.errors.utterances) == (0, 0, SENTENCES_OF_EACH), language
        found = break_down(index, result.hypotheses(), "wer")
        assert (found["wer"], found["cer"], found["language"]) == (0, 0, language.lower())


def forms_of(texts: list[str]) -> Iterator[Vocabulary]:
    """Vocabularies in the forms that checkpoints have: as it is, decomposed, in capitals, with a curly apostrophe."""
    characters = sorted(set("".join(texts)) - {" "})
    yield build_vocabulary(characters)
    yield build_vocabulary(unicodedata.normalize("NFD", "".join(characters)))
    special = ("|", "[UNK]", "[PAD]")
    # Letters such as ß and the Armenian և have no capital of one character. Turkic capitals tell I and İ apart.
    capitals = {one: one.upper() if len(one.upper()) == 1 else one for one in characters}
    if "ı" in characters:
        capitals |= {"i": "İ", "ı": "I"}
    yield Vocabulary((*dict.fromkeys(capitals.values()), *special))
    curly = [one.replace("'", "’") for one in characters]
    yield Vocabulary((*curly, *special))


def test_nor_does_one_whose_checkpoint_has_another_form_of_the_letters(folders: dict[str, Path]) -> None:
    for language, folder in folders.items():
        index = read_index([str(folder)])
        texts = index.texts.to_pylist()
        for form, vocabulary in enumerate(forms_of(texts)):
            paths = [[id for label in vocabulary.encode(text) for id in (label, vocabulary.blank_id)] for text in texts]
            assert not any(vocabulary.unknown_characters(text) for text in texts), (language, form)
            hypotheses = enumerate(text_of_path(path, vocabulary) for path in paths)
            errors = count_errors(*comparable(index, hypotheses))
            assert (errors.wer, errors.cer) == (0, 0), (language, form)


def test_an_unknown_token_is_one_wrong_character_of_its_word(folders: dict[str, Path]) -> None:
    index = read_index([str(folders["eo"])])
    vocabulary = Vocabulary((*"abcdefghijklmnopqrstuvz", "|", "[UNK]", "[PAD]"))  # without the letters with hats
    [number] = [number for number, text in enumerate(index.texts.to_pylist()) if text == "ĵaŭdo"]
    path = [id for label in vocabulary.encode("ĵaŭdo") for id in (label, vocabulary.blank_id)]
    text = text_of_path(path, vocabulary)
    assert text == "⁇a⁇do"
    errors = count_errors(*comparable(index, [(number, text)]))
    assert (errors.character_substitutions, errors.character_insertions, errors.character_deletions) == (2, 0, 0)
    assert (errors.word_substitutions, errors.word_insertions, errors.word_deletions) == (1, 0, 0)


# What people write with punctuation inside of a word; what is right of each in a language is in helpers/sentences.txt.
PUNCTUATED = (
    "don't", "U.S.", "a.m.", "3.5", "1,000", "12:30", "well-known", "e-mail", "km/h", "AT&T", "5%", "O'Neill", "and/or",
    "EU:n", "$5", "rock'n'roll", "dogs' bowl", "l·l", "צה\"ל", "你好\u3002世界", "오늘은, 내일은", "wait...what",
)  # fmt: skip


@pytest.mark.parametrize("language", ["", *LANGUAGES])
def test_punctuation_inside_of_words_is_the_same_on_both_sides(language: str) -> None:
    rules = TextRules(language=language.lower())
    for text in (*PUNCTUATED, *(raw for raw, _, _ in LANGUAGES.get(language, []))):
        reference = normalise(text, rules)
        # A model that was trained on such transcripts, and one that writes punctuation.
        assert normalise_hypothesis(reference, rules) == reference, text
        assert normalise_hypothesis(text, rules) == reference, text
