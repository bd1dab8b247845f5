from typing import Any

from asrscale.results.speakers import merge_speakers
from asrscale.results.transcript_formats import FORMATS, format_transcript


def row_of(*words: tuple[str, float, float, float]) -> dict[str, Any]:
    of_words = [dict(zip(("word", "start_seconds", "end_seconds", "confidence"), word, strict=True)) for word in words]
    return {"text": " ".join(word[0] for word in words), "confidence": 0.5 if words else None, "words": of_words}


CALL = merge_speakers(
    {
        "speaker 1": row_of(("hello", 0.1, 0.4, 0.5), ("good", 3.0, 3.2, 1.0), ("bye", 3.3, 3.5, 1.0)),
        "speaker 2": row_of(("hi", 1.0, 1.2, 0.9), ("yes", 3.1, 3.4, 0.6)),
    }
)


def test_words_and_turns_of_speakers_are_in_the_order_of_their_times() -> None:
    assert [word["word"] for word in CALL["words"]] == ["hello", "hi", "good", "yes", "bye"]
    assert CALL["text"].splitlines() == ["speaker 1: hello", "speaker 2: hi", "speaker 1: good bye", "speaker 2: yes"]
    assert CALL["confidence"] == 0.8
    assert [one["text"] for one in CALL["speakers"]] == ["hello good bye", "hi yes"]


def test_every_format_names_the_speakers() -> None:
    row = {"file": "a call.wav", "seconds": 5.0, **CALL}
    formats = {format: format_transcript(row, format, by_word=False) for format in FORMATS}
    assert formats["txt"] == CALL["text"] + "\n"
    assert "2\n00:00:01,000 --> 00:00:01,833\nspeaker 2: hi\n" in formats["srt"]
    assert "00:00:03.000 --> 00:00:03.833\n<v speaker 1>good bye\n" in formats["vtt"]
    assert formats["tsv"].splitlines()[2] == "1000\t1833\thi\t0.9000\tspeaker 2"
    assert formats["ctm"].splitlines()[1] == "a_call 2 1.000 0.200 hi 0.9000"
    names = ("speaker 1 lines", "speaker 1 words", "speaker 2 lines", "speaker 2 words")
    assert all(f'name = "{name}"' in formats["textgrid"] for name in names) and "size = 4" in formats["textgrid"]
    assert format_transcript(row, "txt", by_word=True).splitlines()[2] == "speaker 1: good"


def test_speakers_who_say_nothing_are_no_error() -> None:
    silent = {"file": "a.wav", "seconds": 1.0, **merge_speakers({"speaker 1": row_of(), "speaker 2": row_of()})}
    assert (silent["text"], silent["confidence"], silent["words"]) == ("", None, [])
    for format in FORMATS:
        format_transcript(silent, format, by_word=False)
