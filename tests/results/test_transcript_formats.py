"""Files of transcripts, as programs that we did not write read them."""

import csv
import json
from pathlib import Path

import av
import pytest
from praatio import textgrid

from asrscale.results.transcript_formats import FORMATS, SUFFIXES, Format, format_transcript

SENTENCE = "wer hat's gesehen, fragte sie & ging über die straße nach hause weil es schon spät war und regnete"


def row(text: str = SENTENCE) -> dict[str, object]:
    words = [
        {"word": word, "start_seconds": 3_590.0 + 0.9 * place, "end_seconds": 3_590.5 + 0.9 * place}
        for place, word in enumerate(text.split())
    ]
    return {"file": "a.mp3", "seconds": 3_700.0, "text": text, "words": words}


def read_by_ffmpeg(path: Path) -> list[tuple[float, float, str]]:
    """Start, end and text of each cue."""
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux() if packet.size]
        return [
            (float(one.pts * one.time_base), float((one.pts + one.duration) * one.time_base), bytes(one).decode())
            for one in packets
        ]


@pytest.mark.parametrize("format", ["srt", "vtt"])
@pytest.mark.parametrize("by_word", [False, True])
def test_ffmpeg_reads_subtitles(format: Format, by_word: bool, tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIXES[format]}"
    path.write_text(format_transcript(row(), format, by_word=by_word), encoding="utf-8")
    found = read_by_ffmpeg(path)
    text = " ".join(text for _, _, text in found).replace("&amp;", "&")
    assert text.split() == SENTENCE.split()
    assert found[0][0] == pytest.approx(3_590.0, abs=1e-3)
    assert found[-1][1] == pytest.approx(row()["words"][-1]["end_seconds"], abs=MIN_EXTENSION if by_word else 1.0)
    assert len(found) == len(SENTENCE.split()) if by_word else 1 < len(found) < 5


MIN_EXTENSION = 1e-3  # a word alone is shown as long as it is spoken


def test_praat_reads_lines_and_words(tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIXES['textgrid']}"
    path.write_text(format_transcript(row('say "hello" again'), "textgrid", by_word=False), encoding="utf-8")
    grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=True)
    words = grid.getTier("words")
    assert [one.label for one in words.entries] == ["", "say", "", '"hello"', "", "again", ""]
    assert (words.minTimestamp, words.maxTimestamp) == (0, 3_700)
    assert words.entries[1].start == pytest.approx(3_590.0)
    assert [one.label for one in grid.getTier("lines").entries] == ["", 'say "hello" again', ""]


def test_a_table_has_milliseconds(tmp_path: Path) -> None:
    lines = format_transcript(row(), "tsv", by_word=True).splitlines()
    rows = list(csv.DictReader(lines, delimiter="\t"))
    assert [one["text"] for one in rows] == SENTENCE.split()
    assert (rows[1]["start"], rows[1]["end"]) == ("3590900", "3591400")


def test_json_is_the_row_and_text_is_the_text() -> None:
    assert json.loads(format_transcript(row(), "json", by_word=False)) == row()
    assert format_transcript(row(), "txt", by_word=False) == SENTENCE + "\n"


@pytest.mark.parametrize("format", FORMATS)
def test_silence_is_a_file_too(format: Format) -> None:
    silent = {"file": "a.wav", "seconds": 2.0, "text": "", "words": []}
    assert "None" not in format_transcript(silent, format, by_word=False)
