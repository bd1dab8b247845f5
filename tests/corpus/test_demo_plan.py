"""What is spoken in the demo's corpus, by which voice and how."""

import re

import pytest

from asrscale.corpus.demo_plan import plan_corpus, sentences


def test_the_grammar_stays_within_its_alphabet_and_size() -> None:
    texts = sentences()
    assert len(set(texts)) == len(texts)
    assert 9_000 < len(texts) < 12_000
    assert [text for text in texts if not re.fullmatch(r"[a-z']+( [a-z']+)*", text)] == []
    words = {word for text in texts for word in text.split()}
    assert 65 <= len(words) <= 75
    assert {"what's", "don't"} <= words


def test_splits_share_no_sentence_and_the_new_voices_are_new() -> None:
    planned = plan_corpus(seed=42, utterances=4000)
    count = dict.fromkeys(("cv-valid-train", "cv-valid-dev", "cv-valid-test", "cv-valid-voices"), 0)
    owner: dict[str, str] = {}
    voices: dict[str, set[str]] = {name: set() for name in count}
    for utterance in planned:
        count[utterance.split] += 1
        voices[utterance.split].add(utterance.voice)
        assert owner.setdefault(utterance.text, utterance.split) == utterance.split
    assert list(count.values()) == [4000, 200, 300, 150]
    assert len(voices["cv-valid-train"]) == 16
    assert voices["cv-valid-dev"] == voices["cv-valid-test"] == voices["cv-valid-train"]
    assert len(voices["cv-valid-voices"]) == 4
    trained_variants = {voice.split("+")[1] for voice in voices["cv-valid-train"]}
    assert not trained_variants & {voice.split("+")[1] for voice in voices["cv-valid-voices"]}
    assert len({utterance.filename for utterance in planned}) == len(planned)


def test_choices_depend_on_the_seed_and_the_number_alone() -> None:
    small, large = (
        {utterance.filename: utterance for utterance in plan_corpus(42, utterances)} for utterances in (40, 400)
    )
    assert len(small) == 40 + 3 * 4
    assert small.items() <= large.items()
    # Fixed here, so that a change of the choices is seen (and CORPUS_VERSION raised).
    first = large["cv-valid-train/sample-000000.mp3"]
    assert (first.text, first.voice, first.pitch, first.words_per_minute, first.noise_seed) == (
        "call maria after six on sunday", "en+m1", 47, 183, 4_075_723_434,
    )  # fmt: skip
    assert (first.level_dbfs, first.snr_db) == pytest.approx((-17.81323, 32.63015), abs=1e-5)
    assert [utterance.text for utterance in plan_corpus(43, 40)] != [utterance.text for utterance in small.values()]


def test_all_training_words_occur_often_enough_to_learn() -> None:
    texts = [utterance.text.split() for utterance in plan_corpus(42, 4000) if utterance.split == "cv-valid-train"]
    words = {word for text in sentences() for word in text.split()}
    assert min(sum(word in text for text in texts) for word in words) >= 50
