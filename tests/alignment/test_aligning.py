"""Alignments: the likeliest of all paths on short inputs, scores, and what does not fit."""

from itertools import product

import pytest
import torch

from asrscale.alignment import aligning
from asrscale.alignment.aligning import align_words
from asrscale.alignment.script import read_script
from asrscale.common.errors import AudioError
from asrscale.speech.normalisation import NEUTRAL
from asrscale.speech.vocabulary import Vocabulary

VOCABULARY = Vocabulary(("a", "b", "|", "[UNK]", "[PAD]"))


def random_frames(count: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.log_softmax(2 * torch.randn(count, len(VOCABULARY.tokens), generator=generator), -1)


def best_path(frames: torch.Tensor, labels: list[int]) -> tuple[int, ...]:
    """The likeliest of all paths that are these labels."""

    def collapsed(path: tuple[int, ...]) -> list[int]:
        kept = [id for place, id in enumerate(path) if place == 0 or id != path[place - 1]]
        return [id for id in kept if id != VOCABULARY.blank_id]

    ways = [path for path in product(range(5), repeat=len(frames)) if collapsed(path) == labels]
    return max(ways, key=lambda path: sum(float(frames[frame, id]) for frame, id in enumerate(path)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("text", ["ab", "aa", "a b"])
def test_it_is_the_likeliest_of_all_paths(text: str, seed: int) -> None:
    frames = random_frames(6, seed)
    labels = VOCABULARY.encode(text)
    path = best_path(frames, labels)
    found = align_words(read_script(text, NEUTRAL, VOCABULARY), frames, VOCABULARY, piece_frames=100)
    starts = [span.start for word in found for span in word.characters]
    own = [frame for frame, id in enumerate(path) if id in (0, 1) and (frame == 0 or path[frame - 1] != id)]
    assert starts == own
    for word in found:
        assert word.span is not None and 0 < word.span.score <= 1
        assert (word.span.start, word.span.end) == (word.characters[0].start, word.characters[-1].end)


def test_what_is_said_scores_1_and_what_is_not_hardly_anything() -> None:
    path = [0, 4, 1, 2, 4, 0, 0, 4]  # "ab a"
    frames = torch.full((len(path), 5), -8.0)
    frames[range(len(path)), path] = -0.01
    said = align_words(read_script("ab a", NEUTRAL, VOCABULARY), frames, VOCABULARY, piece_frames=100)
    assert [(word.span.start, word.span.end, word.span.score) for word in said if word.span] == [
        (0, 3, 1.0),
        (5, 7, 1.0),
    ]
    more = align_words(read_script("ab b a", NEUTRAL, VOCABULARY), frames, VOCABULARY, piece_frames=100)
    scores = [word.span.score for word in more if word.span]
    assert scores[0] == scores[2] == 1.0 and scores[1] < 0.01


def test_a_word_without_letters_has_no_time() -> None:
    found = align_words(read_script("a - b", NEUTRAL, VOCABULARY), random_frames(8, 0), VOCABULARY, piece_frames=100)
    assert [word.span is None for word in found] == [False, True, False]


def test_what_does_not_fit_is_refused_with_the_place(monkeypatch: pytest.MonkeyPatch) -> None:
    script = read_script("aa bb ab", NEUTRAL, VOCABULARY)
    with pytest.raises(AudioError, match="too much text: 8 letters in 9 frames, from 'aa' to 'ab'"):
        align_words(script, random_frames(9, 0), VOCABULARY, piece_frames=100)
    assert align_words(script, random_frames(10, 0), VOCABULARY, piece_frames=100)
    monkeypatch.setattr(aligning, "MOST_BYTES", 100)
    with pytest.raises(AudioError, match="other text: 3 words, from 'aa' to 'ab', of which no two"):
        align_words(script, random_frames(40, 0), VOCABULARY, piece_frames=100)
