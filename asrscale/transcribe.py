"""Transcribes recordings: text with the times of its words.

python -m asrscale.transcribe --model runs/cv/model meeting.mp3 call.wav --jsonl transcripts.jsonl
"""

import os
from dataclasses import dataclass
from typing import IO

import torch

from asrscale.common import cli
from asrscale.common.atomic_files import json_line
from asrscale.common.checkpoint_files import at_revision
from asrscale.common.errors import CliError
from asrscale.common.out_of_memory import memory_errors_explained
from asrscale.common.progress import progress
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import print_notes
from asrscale.results.transcription import transcribe_files


@dataclass(frozen=True)
class TranscribeOptions:
    """Transcribes recordings with a fine-tuned model: a line of text each, from any format that ffmpeg reads."""

    model: str = cli.setting(help="model folder, run folder or Hugging Face id")
    audio: tuple[str, ...] = cli.setting((), help="recordings, named without a flag", words=True)
    revision: str | None = cli.setting(None, help="branch, tag or commit of a Hugging Face id; none: its main branch")
    language: str | None = cli.setting(None, help="which language of a model of many, such as MMS, as tr or tur")
    jsonl: str | None = cli.setting(None, help="file for one JSON object a recording, with the times of its words")
    memory_cap_seconds: float = cli.setting(40.0, help="padded audio that the GPU holds at once")


def run(options: TranscribeOptions) -> None:
    """Transcribes the recordings, and prints and writes each as soon as it is done.

    Raises:
        CliError: Bad settings; or, when the others are done, that recordings could not be transcribed.
    """
    files = list(dict.fromkeys(options.audio))
    if not files:
        raise CliError("no recording is named: give one or several, as in --model M a.mp3 b.wav")
    folder = next((file for file in files if os.path.isdir(file)), None)
    if folder:
        raise CliError(f"{folder} is a folder: name its recordings, as in {os.path.join(folder, '*.wav')}")
    recognizer = load_recognizer(at_revision(options.model, options.revision), options.language or "")
    print_notes(recognizer)
    recognizer.model.to("cuda" if torch.cuda.is_available() else "cpu")
    done = 0
    with (
        _open_jsonl(options.jsonl) as jsonl,
        progress(len(files), "transcribing", "recordings") as bar,
        memory_errors_explained(options.memory_cap_seconds),
    ):
        for row in transcribe_files(files, recognizer, memory_cap_seconds=options.memory_cap_seconds, bar=bar):
            print(row["text"] if len(files) == 1 else f"{row['file']}\t{row['text']}", flush=True)
            jsonl.write(json_line(row))
            done += 1
    if done < len(files):
        raise CliError(f"{len(files) - done:,} of {len(files):,} recordings could not be transcribed")


def _open_jsonl(path: str | None) -> IO[str]:
    """Opens the file of --jsonl, or one whose content is dropped; raises CliError where it cannot be written."""
    try:
        return open(path or os.devnull, "w", encoding="utf-8")
    except OSError as error:
        raise CliError(f"--jsonl {path} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    cli.run(TranscribeOptions, run)
