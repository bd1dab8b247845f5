"""asrscale from Python: load a model, transcribe, read a data set's index, evaluate.

Also for notebooks: no function prints, changes the settings of other libraries or ends the process; long work shows a
progress bar on a terminal and in a notebook, and nothing elsewhere. Bad input raises an `AsrscaleError` with one line
that says what to change.
"""

import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from asrscale.common.checkpoint_files import at_revision
from asrscale.common.distributed import World
from asrscale.common.errors import AsrscaleError, AudioError, CliError
from asrscale.common.progress import can_show_bar, progress
from asrscale.data import index as data_index
from asrscale.data.index import Index
from asrscale.decoding.decoder import Decoder, Reading
from asrscale.decoding.options import DEFAULT_BEAM, DecodingOptions, open_decoder
from asrscale.memory.inference import CPU_CAP_SECONDS, cap_of_device
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.results import evaluation
from asrscale.results.deciding_metric import metric_of_texts
from asrscale.results.frame_texts import text_reader
from asrscale.results.metrics import ErrorCounts, Metric
from asrscale.results.predictions import predictions_with_confidences
from asrscale.results.transcription import read_recordings, words_of
from asrscale.speech.blocks import MAX_RATE_HZ, MIN_RATE_HZ
from asrscale.speech.decoding import decode_long
from asrscale.speech.pcm import SAMPLE_RATE_HZ, Pcm, resample, to_pcm16

__all__ = [
    "AsrscaleError",
    "EvaluationResult",
    "Index",
    "Model",
    "Prediction",
    "Transcript",
    "Word",
    "load_model",
    "read_index",
]

PathLike: TypeAlias = str | os.PathLike[str]
Samples: TypeAlias = npt.NDArray[np.floating] | npt.NDArray[np.int16]

MEMORY_CAP_SECONDS = 0.0  # padded audio of a pass, as for the commands: what the device holds
DECODE_THREADS = 2


@dataclass(frozen=True)
class Word:
    """A transcribed word, when it is spoken, in seconds from the start of the recording, and how sure it is.

    Of the words with a confidence of 0.8, four of five should be right, where confidences are calibrated.
    """

    text: str
    start_seconds: float
    end_seconds: float
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """What is spoken in a recording.

    Attributes:
        text: The best text.
        words: Its words.
        duration_seconds: Of the recording.
        confidence: The mean of the words' confidences; None without words.
        alternatives: The best texts with their scores, of a model with `nbest`.
    """

    text: str
    words: tuple[Word, ...]
    duration_seconds: float
    confidence: float | None
    alternatives: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Prediction:
    """One utterance of a data set, what the model transcribes of it, and how sure it is of each word of that."""

    key: str
    duration_seconds: float
    reference: str
    hypothesis: str
    word_confidences: tuple[float, ...]


@dataclass(frozen=True)
class EvaluationResult:
    """Error rates of a model on a data set.

    Attributes:
        metric: Which of the next two says more: `cer` where most letters are of scripts without spaces, else `wer`.
        wer: Word error rate: the edits of all utterances over their reference words.
        cer: Character error rate, likewise.
        errors: The counts behind the rates.
        loss: Mean CTC loss per label; None where every utterance is too short for its transcript.
        predictions: One for each utterance that could be read, in the order of the index.
        damaged: One line for each utterance that could not be read, and is in none of the above.
    """

    metric: Metric
    wer: float
    cer: float
    errors: ErrorCounts
    loss: float | None
    predictions: tuple[Prediction, ...]
    damaged: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Model:
    """A fine-tuned model, ready to transcribe; made by `load_model`."""

    recognizer: Recognizer
    decoder: Decoder | None = None

    def with_language_model(
        self,
        lm: PathLike | None = None,
        *,
        lm_weight: float | None = None,
        word_bonus: float | None = None,
        beam: int = DEFAULT_BEAM,
        lexicon: bool = False,
        hot_words: PathLike | None = None,
        nbest: int = 0,
    ) -> "Model":
        """Returns the same model with a language model, hot words or both, as the flags of `asrscale.transcribe`.

        Args:
            lm: A folder of `asrscale.lm`, or an ARPA file.
            lm_weight: What its log-probability counts; by default as tuned, else 1.
            word_bonus: Added to the score for each word; by default as tuned, else 1, without `lm` 0.
            beam: Texts that are followed at once.
            lexicon: Whether only words of the language model and hot words are found.
            hot_words: File of likely phrases: one on a line, perhaps a tab and its weight.
            nbest: How many of the best texts a transcript has as `alternatives`.

        Raises:
            AsrscaleError: A file cannot be used, or options contradict each other.
        """
        options = DecodingOptions(
            lm=os.fspath(lm) if lm is not None else None,
            lm_weight=lm_weight,
            word_bonus=word_bonus,
            beam=beam,
            lexicon=lexicon,
            hot_words=os.fspath(hot_words) if hot_words is not None else None,
            nbest=nbest,
        )
        of_model = self.recognizer
        decoder, notes = open_decoder(options, of_model.vocabulary, of_model.text_rules, of_model.search_temperature)
        for note in notes:
            warnings.warn(note, stacklevel=2)
        return Model(of_model, decoder)

    def transcribe(
        self,
        audio: PathLike | Samples,
        sample_rate_hz: int | None = None,
        *,
        memory_cap_seconds: float = MEMORY_CAP_SECONDS,
        show_progress: bool = True,
    ) -> Transcript:
        """Transcribes one recording of any length.

        Args:
            audio: A file of any format that libsndfile or ffmpeg reads; or samples, (T,) or (T, channels), as
                soundfile.read returns them: float in [-1, 1], or int16.
            sample_rate_hz: Of samples; a file has its own.
            memory_cap_seconds: Padded audio that is computed at once; 0 for what the GPU's free memory holds, and
                40 s on a CPU.
            show_progress: Whether a long recording shows a progress bar.

        Raises:
            AsrscaleError: The recording cannot be read, samples come without their rate, or `memory_cap_seconds` is no
                length.
        """
        _check_cap(memory_cap_seconds)
        pcm = _pcm_of(audio, sample_rate_hz)
        [transcript] = _transcribe(self, [pcm], memory_cap_seconds, show_progress)
        return transcript

    def transcribe_files(
        self,
        files: Iterable[PathLike],
        *,
        memory_cap_seconds: float = MEMORY_CAP_SECONDS,
        show_progress: bool = True,
    ) -> list[Transcript]:
        """Transcribes files together, which is faster than one by one; all of them are in memory at once.

        Returns:
            A transcript for each file, in their order; the arguments are those of `transcribe`.

        Raises:
            AsrscaleError: A file cannot be read, which is named; or `memory_cap_seconds` is no length.
        """
        _check_cap(memory_cap_seconds)
        recordings = [_pcm_of(file, None) for file in files]
        if not recordings:
            return []
        return _transcribe(self, recordings, memory_cap_seconds, show_progress)

    def evaluate(
        self,
        data: PathLike | Sequence[PathLike] | Index,
        *,
        memory_cap_seconds: float = MEMORY_CAP_SECONDS,
        threads: int = DECODE_THREADS,
        show_progress: bool = True,
    ) -> EvaluationResult:
        """Transcribes a data set in this process and compares it with its transcripts.

        Args:
            data: Data set folders, or an index from `read_index`.
            memory_cap_seconds: Padded audio that is computed at once; 0 for what the GPU's free memory holds, and
                40 s on a CPU.
            threads: Threads that read and decode.
            show_progress: Whether a progress bar is shown.

        Raises:
            AsrscaleError: A folder is not a whole data set, no utterance can be read, or `memory_cap_seconds` is no
                length.
        """
        _check_cap(memory_cap_seconds)
        index = data if isinstance(data, Index) else read_index(data)
        model = self.recognizer.model
        result = evaluation.evaluate(
            model,
            self.recognizer,
            index,
            World(rank=0, local_rank=0, world_size=1, device=model.device),
            memory_cap_seconds=cap_of_device(self.recognizer, memory_cap_seconds),
            threads=threads,
            title="transcribing" if show_progress and can_show_bar() else None,
            read_texts=text_reader(self.recognizer, self.decoder),
        )
        rows = predictions_with_confidences(index, result.details())
        return EvaluationResult(
            metric=metric_of_texts(index.characters, index.text_rules),
            wer=result.errors.wer,
            cer=result.errors.cer,
            errors=result.errors,
            loss=result.loss,
            predictions=tuple(
                Prediction(
                    row["key"], row["seconds"], row["reference"], row["hypothesis"], tuple(row["word_confidences"])
                )
                for row in rows
            ),
            damaged=tuple(f"{index.name(one.utterance)}: {one.reason}" for one in result.damaged),
        )


def load_model(
    folder_or_id: PathLike,
    *,
    language: str | None = None,
    revision: str | None = None,
    device: str | torch.device | None = None,
) -> Model:
    """Loads a fine-tuned model with its vocabulary, ready to transcribe.

    Args:
        folder_or_id: A model folder, a run or one of its checkpoints, or a Hugging Face id.
        language: Which language of a model of many, such as MMS: `tr`, `tur`.
        revision: Branch, tag or commit of a Hugging Face id; by default its main branch.
        device: Where it computes; by default the GPU, or else the CPU.

    Raises:
        AsrscaleError: It cannot be found, or has no vocabulary or no such language.
    """
    recognizer = load_recognizer(at_revision(os.fspath(folder_or_id), revision), language or "")
    for note in recognizer.notes:
        warnings.warn(note, stacklevel=2)
    recognizer.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Model(recognizer)


def read_index(folders: PathLike | Sequence[PathLike]) -> Index:
    """Reads the index of one or several data set folders: keys, lengths, transcripts, speakers, places in the shards.

    Raises:
        AsrscaleError: A folder is not a whole data set.
    """
    if isinstance(folders, str | os.PathLike):
        folders = [folders]
    return data_index.read_index([os.fspath(folder) for folder in folders])


def _check_cap(memory_cap_seconds: float) -> None:
    """Raises CliError where what a caller gives for the audio of a pass is no length."""
    if not 0 <= memory_cap_seconds < math.inf:  # nor is NaN
        raise CliError(f"memory_cap_seconds {memory_cap_seconds}: give seconds, or 0 for what memory holds")


def _transcribe(
    model: Model, recordings: Sequence[Pcm], memory_cap_seconds: float, show_progress: bool
) -> list[Transcript]:
    """Transcripts of recordings at 16 kHz, at least one."""
    is_shown = show_progress and can_show_bar()
    total_seconds = sum(map(len, recordings)) / SAMPLE_RATE_HZ
    fits_anyway = total_seconds <= CPU_CAP_SECONDS  # to ask the device would take longer than to transcribe
    cap_seconds = memory_cap_seconds or CPU_CAP_SECONDS
    if not fits_anyway:
        cap_seconds = cap_of_device(model.recognizer, memory_cap_seconds)
    with progress(round(total_seconds), "transcribing", "s", enabled=is_shown) as bar:
        readings = read_recordings(recordings, model.recognizer, cap_seconds, bar, model.decoder)
    return [_transcript(model.recognizer, pcm, one) for pcm, one in zip(recordings, readings, strict=True)]


def _transcript(recognizer: Recognizer, pcm: Pcm, reading: Reading) -> Transcript:
    """The transcript of a recording, of what is recognised in it."""
    row = words_of(reading, recognizer)
    words = [Word(one["word"], one["start_seconds"], one["end_seconds"], one["confidence"]) for one in row["words"]]
    return Transcript(row["text"], tuple(words), len(pcm) / SAMPLE_RATE_HZ, row["confidence"], reading.alternatives)


def _pcm_of(audio: PathLike | Samples, sample_rate_hz: int | None) -> Pcm:
    """A file or samples as 16 kHz PCM."""
    if isinstance(audio, str | os.PathLike):
        path = os.fspath(audio)
        if sample_rate_hz is not None:
            raise CliError(f"{path} has its own sample rate: leave out sample_rate_hz")
        if not os.path.isfile(path):
            raise AudioError(f"{path}: no such file")
        try:
            return decode_long(path)
        except AudioError as error:
            raise AudioError(f"{path}: {error}") from error
    if sample_rate_hz is None:
        raise CliError("samples need their sample_rate_hz, as in model.transcribe(samples, 16_000)")
    return _pcm_of_samples(np.asarray(audio), sample_rate_hz)


def _pcm_of_samples(samples: npt.NDArray[np.generic], sample_rate_hz: int) -> Pcm:
    """Samples of any rate, mono or (T, channels), as 16 kHz PCM."""
    _check_samples(samples, sample_rate_hz)
    if samples.dtype == np.int16:
        waveform = samples.astype(np.float32) / np.float32(2**15)
    elif np.issubdtype(samples.dtype, np.floating):
        waveform = samples.astype(np.float32)
    else:
        raise CliError(f"samples of type {samples.dtype}: give float in [-1, 1], or int16")
    if waveform.ndim == 2:
        waveform = waveform.mean(axis=1)
    if not np.isfinite(waveform).all():
        raise AudioError("non-finite: holds NaN or infinite samples")
    return to_pcm16(resample(waveform, sample_rate_hz))


def _check_samples(samples: npt.NDArray[np.generic], sample_rate_hz: int) -> None:
    """Refuses shapes and rates that no recording has.

    Raises:
        CliError: Among others for (channels, T), as torchaudio returns samples: their mean over T would lose the sound.
    """
    if samples.ndim not in (1, 2) or samples.size == 0:
        raise CliError(f"samples of shape {samples.shape}: give (T,) or (T, channels), with T above 0")
    if samples.ndim == 2 and samples.shape[1] > samples.shape[0]:
        raise CliError(f"samples of shape {samples.shape} have more channels than samples: give them transposed")
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:  # also refuses NaN
        raise CliError(f"sample_rate_hz {sample_rate_hz}: give a rate from {MIN_RATE_HZ:,} to {MAX_RATE_HZ:,} Hz")
