"""A transcript as the files that other programs read: plain text, subtitles, tables, Praat."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from asrscale.results.speakers import cues_of_speakers, timed_words, words_by_speaker
from asrscale.results.subtitles import Cue, TimedWord, make_cues

Format: TypeAlias = Literal["txt", "srt", "vtt", "json", "tsv", "ctm", "textgrid"]
FORMATS: tuple[Format, ...] = get_args(Format)

SUFFIXES: dict[Format, str] = {name: ".TextGrid" if name == "textgrid" else f".{name}" for name in FORMATS}

# Transcripts have no such characters; what a person has put into a vocabulary must not end a cue or open a tag.
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def format_transcript(row: dict[str, Any], format: Format, *, by_word: bool) -> str:
    """Returns the file of a recording's transcript.

    Args:
        row: `file`, `seconds`, `text`, and `words`, each with `word`, `start_seconds` and `end_seconds`, which are None
            where nothing of it is spoken, and perhaps `confidence`, or the `score` of an alignment, and `speaker`.
        format: Which file.
        by_word: Each word is a cue, or a row of a table, of its own, instead of a line of readable length.
    """
    spoken = [one for one in row["words"] if one["start_seconds"] is not None]
    words = timed_words(spoken)
    cues = _cue_of_each(words) if by_word else cues_of_speakers(words)
    if format == "txt":
        return "".join(f"{' '.join(_named(cue))}\n" for cue in cues) if by_word else f"{row['text']}\n"
    if format == "json":
        return json.dumps(row, ensure_ascii=False, indent=2) + "\n"
    if format == "ctm":
        return _ctm(row["file"], spoken)
    if format == "textgrid":
        return _text_grid(words, row["seconds"])
    return _OF_CUES[format](cues)


def _cue_of_each(words: Sequence[TimedWord]) -> list[Cue]:
    return [Cue((word.text,), word.start_seconds, word.end_seconds, word.confidence, word.speaker) for word in words]


def _named(cue: Cue) -> tuple[str, ...]:
    """Returns the lines of a cue, the first behind the speaker's name, if there is one."""
    first, *others = cue.lines
    return (f"{cue.speaker}: {first}", *others) if cue.speaker else cue.lines


def _srt(cues: Sequence[Cue]) -> str:
    """Returns SubRip, as ffmpeg writes it: numbered cues, milliseconds after a comma."""
    blocks = []
    for number, cue in enumerate(cues, start=1):
        times = f"{_clock(cue.start_seconds, ',')} --> {_clock(cue.end_seconds, ',')}"
        blocks.append("\n".join([str(number), times, *_named(cue), ""]))
    return "\n".join(blocks)


def _vtt(cues: Sequence[Cue]) -> str:
    """Returns WebVTT (https://www.w3.org/TR/webvtt1/), which browsers show."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        times = f"{_clock(cue.start_seconds, '.')} --> {_clock(cue.end_seconds, '.')}"
        voice = f"<v {cue.speaker.translate(_ESCAPED)}>" * bool(cue.speaker)
        text = voice + "\n".join(line.translate(_ESCAPED) for line in cue.lines)
        blocks.append("\n".join([times, text, ""]))
    return "\n".join(blocks)


def _tsv(cues: Sequence[Cue]) -> str:
    """Returns a table of times in milliseconds and texts, as Whisper's command; of confidences and speakers if any."""
    has_confidence = any(cue.confidence is not None for cue in cues)
    has_speakers = any(cue.speaker for cue in cues)
    rows = [["start", "end", "text", *["confidence"] * has_confidence, *["speaker"] * has_speakers]]
    for cue in cues:
        start, end = (f"{round(1000 * seconds)}" for seconds in (cue.start_seconds, cue.end_seconds))
        confidence = "" if cue.confidence is None else f"{cue.confidence:.4f}"
        optional = [*[confidence] * has_confidence, *[cue.speaker] * has_speakers]
        rows.append([start, end, " ".join(cue.lines), *optional])
    return "".join("\t".join(row) + "\n" for row in rows)


def _ctm(file: str, spoken: Sequence[dict[str, Any]]) -> str:
    """Returns NIST's time-marked conversation: recording, channel, start, duration, word, and its score or confidence.

    https://github.com/usnistgov/SCTK, doc/infmts.htm. White space divides the fields, so names have none.
    """
    name = "_".join(Path(file).stem.split())
    lines = []
    for one in spoken:
        duration = one["end_seconds"] - one["start_seconds"]
        known = one.get("score", one.get("confidence"))
        score = "" if known is None else f" {known:.4f}"
        channel = one.get("speaker", "1").split()[-1]
        lines.append(f"{name} {channel} {one['start_seconds']:.3f} {duration:.3f} {one['word']}{score}\n")
    return "".join(lines)


def _text_grid(words: Sequence[TimedWord], seconds: float) -> str:
    """Returns Praat's TextGrid, with a tier of lines and one of words, for each speaker.

    Intervals of a tier follow each other without a gap: what is not spoken has an empty text.
    """
    tiers = {}
    for speaker, own in (words_by_speaker(words) or {"": []}).items():
        lines = [TimedWord(" ".join(cue.lines), cue.start_seconds, cue.end_seconds) for cue in make_cues(own)]
        tiers[f"{speaker} lines".strip()] = _intervals(lines, seconds)
        tiers[f"{speaker} words".strip()] = _intervals(own, seconds)
    text = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {seconds:.6f}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, (name, intervals) in enumerate(tiers.items(), start=1):
        text += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{name}"',
            "        xmin = 0",
            f"        xmax = {seconds:.6f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for place, interval in enumerate(intervals, start=1):
            quoted = interval.text.replace('"', '""')
            text += [
                f"        intervals [{place}]:",
                f"            xmin = {interval.start_seconds:.6f}",
                f"            xmax = {interval.end_seconds:.6f}",
                f'            text = "{quoted}"',
            ]
    return "\n".join(text) + "\n"


def _intervals(spoken: Iterable[TimedWord], seconds: float) -> list[TimedWord]:
    """Returns what is spoken and the silences between, from 0 to `seconds`.

    Times are of whole frames, so that the last may end behind the recording: then it ends with it.
    """
    intervals: list[TimedWord] = []
    position = 0.0
    for one in spoken:
        if one.start_seconds > position:
            intervals.append(TimedWord("", position, one.start_seconds))
        position = min(one.end_seconds, seconds)
        intervals.append(TimedWord(one.text, one.start_seconds, position))
    if position < seconds:
        intervals.append(TimedWord("", position, seconds))
    return intervals


def _clock(seconds: float, separator: str) -> str:
    """Returns hh:mm:ss and milliseconds."""
    whole, milliseconds = divmod(round(1000 * seconds), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{separator}{milliseconds:03}"


_OF_CUES: dict[Format, Callable[[Sequence[Cue]], str]] = {"srt": _srt, "vtt": _vtt, "tsv": _tsv}
