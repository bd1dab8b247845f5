"""The transcripts of the channels of a recording as one row: words in the order of times, with their speakers."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from asrscale.decoding.confidence import confidence_of_text
from asrscale.results.subtitles import Cue, TimedWord, make_cues


def merge_speakers(rows: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the rows of speakers as one.

    Args:
        rows: What `transcription.words_of` returns, by the names of the speakers.

    Returns:
        `text`: a line for each turn, `NAME: …`; `confidence`; `words` of all in the order of their times, each with its
        `speaker`; and `speakers`: for each its name, `speaker`, and what its row has but for words.
    """
    words = [{"speaker": name, **word} for name, row in rows.items() for word in row["words"]]
    words.sort(key=lambda word: float(word["start_seconds"]))
    confidence = confidence_of_text([word["confidence"] for word in words])
    return {
        "text": "\n".join(turns(timed_words(words))),
        "confidence": None if confidence is None else round(confidence, 4),
        "words": words,
        "speakers": [
            {"speaker": name, **{key: value for key, value in row.items() if key != "words"}}
            for name, row in rows.items()
        ],
    }


def timed_words(words: Sequence[Mapping[str, Any]]) -> list[TimedWord]:
    """Returns the words of a row that are spoken."""
    return [
        TimedWord(one["word"], one["start_seconds"], one["end_seconds"], one.get("confidence"), one.get("speaker", ""))
        for one in words
        if one["start_seconds"] is not None
    ]


def words_by_speaker(words: Sequence[TimedWord]) -> dict[str, list[TimedWord]]:
    """Returns the words of each speaker, "" where there is none, in the order of their names."""
    names = sorted({word.speaker for word in words}, key=lambda name: (len(name), name))
    return {name: [word for word in words if word.speaker == name] for name in names}


def cues_of_speakers(words: Sequence[TimedWord]) -> list[Cue]:
    """Returns the cues of all speakers in the order of their times, each of one speaker."""
    cues = [cue for own in words_by_speaker(words).values() for cue in make_cues(own)]
    return sorted(cues, key=lambda cue: cue.start_seconds)


def turns(words: Sequence[TimedWord]) -> list[str]:
    """Returns what speakers say one after the other, a line each: `NAME: …`."""
    of_turns = groupby(cues_of_speakers(words), key=lambda cue: cue.speaker)
    return [f"{speaker}: {' '.join(line for cue in cues for line in cue.lines)}" for speaker, cues in of_turns]
