"""When each word of a text is spoken in a recording of it.

python -m asrscale.align --model runs/cv/model talk.mp3 --text talk.txt --format textgrid
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from asrscale.common import cli
from asrscale.common.checkpoint_files import at_revision
from asrscale.common.errors import AudioError, CliError
from asrscale.common.out_of_memory import memory_errors_explained
from asrscale.common.progress import Progress, progress
from asrscale.common.quick_imports import quick_imports
from asrscale.results.transcript_files import Recordings, check_outputs, find_recordings, write_transcript
from asrscale.results.transcript_formats import format_transcript

if TYPE_CHECKING:
    from asrscale.model.recognizer import Recognizer

LISTED_WORDS = 5  # of those that were hardly said


@dataclass(frozen=True)
class AlignOptions:
    """Finds when each word of a text is spoken in a recording of it, of any length, and whether it is spoken at all."""

    model: str = cli.setting(help="model folder, run folder or Hugging Face id")
    audio: tuple[str, ...] = cli.setting((), help="recordings, or folders of them, named without a flag", words=True)
    text: str | None = cli.setting(
        None, help="file with the text of the recording; none: for each the file beside it that ends in .txt instead"
    )
    format: Literal["ctm", "json", "tsv", "srt", "vtt", "textgrid"] = cli.setting(
        "ctm", help="words with scores; the same with characters, in json; a table; subtitles; Praat's TextGrid"
    )
    by_word: bool = cli.setting(False, help="a subtitle, or a row of a table, for each word")
    out: str | None = cli.setting(
        None, help="folder for a file of --format for each recording, with its name; none: one is printed"
    )
    min_score: float = cli.setting(0.05, help="words with less are listed as hardly said; scores are from 0 to 1")
    revision: str | None = cli.setting(None, help="branch, tag or commit of a Hugging Face id; none: its main branch")
    language: str | None = cli.setting(None, help="which language of a model of many, such as MMS, as tr or tur")
    memory_cap_seconds: float = cli.setting(
        0.0, help="padded audio that the GPU holds at once; 0: what fits, and on a CPU 40"
    )


def run(options: AlignOptions) -> None:
    """Aligns the recordings, and prints or writes each as soon as it is done.

    Raises:
        CliError: Bad settings; or, when the others are done, that recordings could not be aligned.
    """
    recordings = find_recordings(options.audio)
    texts = _read_texts(options, recordings.files)
    _check(options, recordings)
    with quick_imports():  # of seconds, which neither --help nor a mistyped flag waits for
        import torch

        from asrscale.memory.inference import move_to_device
        from asrscale.model.pretrained import load_recognizer
        from asrscale.model.recognizer import print_notes

    recognizer = load_recognizer(at_revision(options.model, options.revision), options.language or "")
    print_notes(recognizer)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cap_seconds = move_to_device(recognizer, device, options.memory_cap_seconds)
    failed = 0
    with progress(len(texts), "aligning", "recordings") as bar, memory_errors_explained(cap_seconds):
        for file, output in zip(recordings.files, recordings.outputs, strict=True):
            row = _align(file, texts[file], recognizer, cap_seconds, bar)
            bar.advance()
            if row is None:
                failed += 1
                continue
            if options.out:
                print(write_transcript(options.out, output, row, options.format, by_word=options.by_word), flush=True)
            else:
                print(format_transcript(row, options.format, by_word=options.by_word), end="", flush=True)
            bar.write(_describe(row, options.min_score))
    if failed:
        raise CliError(f"{failed:,} of {len(texts):,} recordings could not be aligned")


def _read_texts(options: AlignOptions, files: Sequence[str]) -> dict[str, str]:
    """Returns the text of each recording.

    Raises:
        CliError: One cannot be read.
    """
    if options.text and len(files) > 1:
        raise CliError("--text is of one recording: for several, put the text of each beside it, as talk.txt")
    return {file: _read_text(Path(options.text) if options.text else Path(file).with_suffix(".txt")) for file in files}


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise CliError(f"{path}, the text of a recording, cannot be read: {error.strerror}: or give --text") from error
    except UnicodeDecodeError as error:
        raise CliError(f"{path} is not in UTF-8: convert it, as by iconv -f latin1 -t utf-8") from error


def _check(options: AlignOptions, recordings: Recordings) -> None:
    """Raises CliError where alignments cannot be made, or not be printed or written as it is wanted."""
    if importlib.util.find_spec("torchaudio") is None:
        raise CliError(
            "align needs torchaudio, which is not installed: pip install torchaudio of the version that torch has"
        )
    if options.memory_cap_seconds < 0:
        raise CliError("--memory_cap_seconds must be 0 or more")
    if not 0 <= options.min_score <= 1:
        raise CliError("--min_score must be from 0 to 1")
    if options.out:
        check_outputs(options.out, recordings, options.format)
    elif len(recordings.files) > 1:
        raise CliError("several recordings make a file each: give --out FOLDER")


def _align(file: str, text: str, recognizer: "Recognizer", cap_seconds: float, bar: Progress) -> dict[str, Any] | None:
    """Returns the alignment of a recording; None where there is none, after a line that says why."""
    from asrscale.alignment.recordings import align_recording

    try:
        return align_recording(file, text, recognizer, memory_cap_seconds=cap_seconds, bar=bar)
    except AudioError as error:
        bar.write(f"{file} is left out: {error}")
        return None


def _describe(row: dict[str, Any], min_score: float) -> str:
    """Returns a line about the words that were hardly said, and those of which nothing is."""
    words = row["words"]
    silent = sum(word["score"] is None for word in words)
    unlikely = [word for word in words if word["score"] is not None and word["score"] < min_score]
    listed = ", ".join(f"{word['word']!r} at {word['start_seconds']:.2f} s" for word in unlikely[:LISTED_WORDS])
    more = f" and {len(unlikely) - LISTED_WORDS:,} more" if len(unlikely) > LISTED_WORDS else ""
    line = f"{row['file']}: {len(words):,} words, {len(unlikely):,} with a score below {min_score:g}"
    line += f": {listed}{more}" if unlikely else ""
    return line + (f"; {silent:,} of which no letter is the model's have no time" if silent else "")


if __name__ == "__main__":
    cli.run(AlignOptions, run)
