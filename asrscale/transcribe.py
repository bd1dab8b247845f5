"""Transcribes recordings: text with the times of its words.

python -m asrscale.transcribe --model runs/cv/model meeting.mp3 call.wav --jsonl transcripts.jsonl
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from asrscale.common import cli
from asrscale.common.atomic_files import json_line
from asrscale.common.checkpoint_files import at_revision
from asrscale.common.errors import CliError
from asrscale.common.out_of_memory import memory_errors_explained
from asrscale.common.output_folder import disk_errors_as_cli_errors
from asrscale.common.progress import progress
from asrscale.common.quick_imports import quick_imports
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.options import DecodingOptions, open_decoder
from asrscale.results.transcript_files import (
    Recordings,
    check_outputs,
    find_recordings,
    probe_lengths,
    write_transcript,
)
from asrscale.results.transcript_formats import format_transcript

if TYPE_CHECKING:
    from asrscale.model.recognizer import Recognizer

WITH_CONFIDENCES = ("json", "tsv", "ctm")  # formats


@dataclass(frozen=True)
class TranscribeOptions:
    """Transcribes recordings with a fine-tuned model: a line of text or a file each, from any format ffmpeg reads."""

    model: str = cli.setting(help="model folder, run folder or Hugging Face id")
    audio: tuple[str, ...] = cli.setting(
        (), help="recordings, or folders of them, named without a flag; - is stdin", words=True
    )
    revision: str | None = cli.setting(None, help="branch, tag or commit of a Hugging Face id; none: its main branch")
    language: str | None = cli.setting(None, help="which language of a model of many, such as MMS, as tr or tur")
    format: Literal["txt", "srt", "vtt", "json", "tsv", "ctm", "textgrid"] = cli.setting(
        "txt",
        help="text; subtitles of lines that end in pauses; json; a table in milliseconds; NIST's CTM; Praat's TextGrid",
    )
    by_word: bool = cli.setting(False, help="a subtitle, or a row of a table, for each word")
    channels: bool = cli.setting(
        False, help="each channel by itself, as of a call: words and lines get a speaker, and are in the order of times"
    )
    out: str | None = cli.setting(
        None, help="folder for a file of --format for each recording, with its name; none: they are printed"
    )
    jsonl: str | None = cli.setting(None, help="file for one JSON object a recording, with the times of its words")
    memory_cap_seconds: float = cli.setting(
        0.0, help="padded audio that the GPU holds at once; 0: what fits, and on a CPU 40"
    )
    decoding: DecodingOptions = field(default_factory=DecodingOptions)


def run(options: TranscribeOptions) -> None:
    """Transcribes the recordings, and prints and writes each as soon as it is done.

    Raises:
        CliError: Bad settings; or, when the others are done, that recordings could not be transcribed.
    """
    recordings = find_recordings(options.audio)
    _check(options, recordings)
    recognizer = _load(options)
    import torch

    from asrscale.memory.inference import move_to_device
    from asrscale.results.transcription import transcribe_files

    decoder, of_decoder = open_decoder(
        options.decoding, recognizer.vocabulary, recognizer.text_rules, recognizer.search_temperature
    )
    notes = [*recordings.notes, *of_decoder, *_of_confidences(options, recognizer, decoder)]
    print(*notes, sep="\n", end="\n" if notes else "", file=sys.stderr)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    memory_cap_seconds = move_to_device(recognizer, device, options.memory_cap_seconds)
    output_of = dict(zip(recordings.files, recordings.outputs, strict=True))
    files = recordings.files
    lengths_seconds = probe_lengths(files)
    total, unit = (len(files), "recordings") if lengths_seconds is None else (round(sum(lengths_seconds.values())), "s")
    done = 0
    with (
        _open_jsonl(options.jsonl) as jsonl,
        progress(total, "transcribing", unit) as bar,
        memory_errors_explained(memory_cap_seconds),
    ):
        rows = transcribe_files(
            files,
            recognizer,
            memory_cap_seconds=memory_cap_seconds,
            bar=bar,
            decoder=decoder,
            by_channel=options.channels,
            lengths_seconds=lengths_seconds,
        )
        for row in rows:
            _print(row, output_of[row["file"]], options, is_only=len(files) == 1)
            with disk_errors_as_cli_errors("--jsonl", options.jsonl or ""):
                jsonl.write(json_line(row))
                jsonl.flush()
            done += 1
    if done < len(files):
        raise CliError(f"{len(files) - done:,} of {len(files):,} recordings could not be transcribed")


def _of_confidences(options: TranscribeOptions, recognizer: "Recognizer", decoder: Decoder | None) -> list[str]:
    """Returns a line where confidences are written that were never calibrated."""
    is_written = options.format in WITH_CONFIDENCES or options.jsonl is not None
    temperature = recognizer.temperature if decoder is None else decoder.temperature
    if not is_written or temperature != 1:
        return []
    return [
        "confidences are not calibrated: asrscale.evaluate --tune does it, with the same --lm, --hot_words, --nbest"
    ]


def _print(row: dict[str, Any], output: Path, options: TranscribeOptions, *, is_only: bool) -> None:
    """Prints the transcript of a recording, or writes it as --out says and prints where."""
    if options.out:
        path = write_transcript(options.out, output, row, options.format, by_word=options.by_word)
        print(path, flush=True)
    elif is_only:
        print(format_transcript(row, options.format, by_word=options.by_word), end="", flush=True)
    else:
        for line in row["text"].split("\n"):
            print(f"{row['file']}\t{line}", flush=True)


def _load(options: TranscribeOptions) -> "Recognizer":
    """Returns the recognizer, after what there is to say about it."""
    with quick_imports():  # of seconds, which neither --help nor a mistyped flag waits for
        from asrscale.model.pretrained import load_recognizer
        from asrscale.model.recognizer import print_notes

    recognizer = load_recognizer(at_revision(options.model, options.revision), options.language or "")
    print_notes(recognizer)
    return recognizer


def _check(options: TranscribeOptions, recordings: Recordings) -> None:
    """Raises CliError where transcripts cannot be printed or written as it is wanted."""
    if options.memory_cap_seconds < 0:
        raise CliError("--memory_cap_seconds must be 0 or more")
    if options.out:
        check_outputs(options.out, recordings, options.format)
    elif len(recordings.files) > 1 and (options.format != "txt" or options.by_word):
        raise CliError(f"--format {options.format} of several recordings is a file each: give --out FOLDER")


@contextmanager
def _open_jsonl(path: str | None) -> Iterator[IO[str]]:
    """Opens the file of --jsonl, or one whose content is dropped; raises CliError where it cannot be written."""
    try:
        file = open(path or os.devnull, "w", encoding="utf-8")  # noqa: SIM115 — closed below
    except OSError as error:
        raise CliError(f"--jsonl {path} cannot be written: {error.strerror}") from error
    try:
        yield file
    except BaseException:
        with suppress(OSError):  # what is not written yet fails again, and would hide the error
            file.close()
        raise
    with disk_errors_as_cli_errors("--jsonl", path or ""):
        file.close()


if __name__ == "__main__":
    cli.run(TranscribeOptions, run)
