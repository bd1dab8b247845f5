"""Writes a model folder for onnxruntime, onnx-asr and sherpa-onnx, and checks it before it is called written."""

import importlib.util
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from asrscale.common.atomic_files import remove_folder, sync
from asrscale.common.errors import CliError
from asrscale.model.families import stem_of
from asrscale.model.forward import count_frames, forward_logits
from asrscale.model.onnx_forward import OnnxForward
from asrscale.model.onnx_graph import quantize_graph, trace_graph, write_graph, write_graph_of_one
from asrscale.model.recognizer import Recognizer
from asrscale.speech.characters import UNKNOWN_MARK
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.speech.vocabulary import Vocabulary

FLOAT_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
SHERPA_PREFIX = "sherpa-"  # of the same models for sherpa-onnx

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_BLANK = "<blk>"  # what onnx-asr and sherpa-onnx call CTC's blank
_SPACE = "\u2581"  # what both call the end of a word

# The most that a log-probability may differ from torch's, of the shapes below.
MAX_DIFFERENCE = 1e-4
_CHECKED_SECONDS = ((0.5,), (1.3, 2.0, 0.7), (6.1, 6.0))  # of the utterances of a pass


@dataclass(frozen=True)
class OnnxFiles:
    """What was written.

    Attributes:
        folder: Holds all of it.
        max_difference: The most by which a checked log-probability differs from torch's.
        files: The models for onnxruntime and onnx-asr.
        is_for_sherpa: Whether there are files for sherpa-onnx, too.
    """

    folder: Path
    max_difference: float
    files: tuple[str, ...]
    is_for_sherpa: bool

    @property
    def sherpa_files(self) -> tuple[str, ...]:
        """The models for sherpa-onnx, which share their weights with the others."""
        return tuple(f"{SHERPA_PREFIX}{file}" for file in self.files) if self.is_for_sherpa else ()

    def megabytes(self, file: str) -> float:
        """Returns the size of a model with its weights."""
        return sum(part.stat().st_size for part in self.folder.glob(f"{file}*")) / 1e6


def check_packages() -> None:
    """Raises CliError where a package is missing that writes ONNX."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise CliError(f"writing ONNX needs {', '.join(missing)}: pip install 'asrscale[onnx]'")


def export_onnx(recognizer: Recognizer, folder: Path, *, int8: bool) -> OnnxFiles:
    """Writes a recognizer as ONNX, with its vocabulary; an earlier export is replaced once all is right.

    Args:
        recognizer: In fp32 on the CPU; its model is left in evaluation mode, without gradients.
        folder: Where to.
        int8: Whether to write a model with matrices of 8 bits, too.

    Raises:
        CliError: A package is missing, the folder holds anything else, or what was written computes something else.
        OSError: It could not be written; the folder is as it was.
    """
    check_packages()
    if stem_of(recognizer.model) is None:
        raise CliError(
            f"{recognizer.model.config.model_type} takes log-mel features, and only models that take waveforms are "
            "written as ONNX"
        )
    _check_is_an_export(folder)
    partial = folder.with_name(f"{folder.name}.partial")
    remove_folder(partial)
    try:
        partial.mkdir(parents=True)
        program = trace_graph(recognizer)
        write_graph(program, partial / FLOAT_FILE)
        max_difference = check_against_torch(recognizer, partial / FLOAT_FILE)
        files = [FLOAT_FILE]
        if int8:
            write_graph(quantize_graph(program), partial / INT8_FILE)
            files.append(INT8_FILE)
        is_for_sherpa = _fits_sherpa(recognizer)
        if is_for_sherpa:
            for file in files:
                write_graph_of_one(partial / file, partial / f"{SHERPA_PREFIX}{file}")
        _write_vocabulary(recognizer, partial)
        sync(*partial.iterdir(), partial)
        remove_folder(folder)
        partial.rename(folder)
    finally:
        remove_folder(partial)
    return OnnxFiles(folder, max_difference, tuple(files), is_for_sherpa)


def _check_is_an_export(folder: Path) -> None:
    """Raises CliError where a folder holds anything but an earlier export: it will be replaced."""
    if not folder.is_dir():
        return
    known = re.compile(rf"({SHERPA_PREFIX})?model(\.int8)?\.onnx(\.data)?|vocab\.txt|tokens\.txt|config\.json")
    others = sorted(path.name for path in folder.iterdir() if not known.fullmatch(path.name))
    if others:
        raise CliError(f"{folder} holds other files, such as {others[0]}: choose a new folder for ONNX by --out")


def describe_files(written: OnnxFiles) -> str:
    """Returns what was written as text, a line for each file and its reader."""
    lines = [
        f"{written.folder / file}: {written.megabytes(file):,.1f} MB, for onnxruntime and onnx-asr"
        for file in written.files
    ]
    if written.is_for_sherpa:
        lines += [f"{written.folder / file}: the same for sherpa-onnx" for file in written.sherpa_files]
    else:
        lines.append("sherpa-onnx normalises every waveform, and this model wants them as they are: no file for it")
    lines.append(f"log-probabilities differ from torch's by at most {written.max_difference:.1e}")
    return "\n".join(lines)


def check_against_torch(recognizer: Recognizer, file: Path) -> float:
    """Returns the most by which a log-probability in a file's output differs from torch's, over several shapes.

    Raises:
        CliError: That is more than MAX_DIFFERENCE.
    """
    written = OnnxForward(file)
    with torch.no_grad():
        differences = [_difference(recognizer, written, seconds) for seconds in _CHECKED_SECONDS]
    worst = max(differences)
    if not worst <= MAX_DIFFERENCE:  # NaN is none
        raise CliError(
            f"{file.name}: its log-probabilities differ from torch's by up to {worst:.1e}, more than "
            f"{MAX_DIFFERENCE:.0e}: not written. Versions of onnx, onnxscript and onnxruntime other than those of "
            "requirements/libraries.txt may be the cause"
        )
    return worst


def _difference(recognizer: Recognizer, written: OnnxForward, seconds: tuple[float, ...]) -> float:
    """Returns the most by which log-probabilities differ, of noise of these lengths, padded to the longest."""
    num_samples = torch.tensor([round(length * SAMPLE_RATE_HZ) for length in seconds])
    noise = torch.randint(-8_000, 8_000, (len(seconds), int(num_samples.max())), generator=torch.Generator())
    waveforms = noise.to(torch.int16) * (torch.arange(noise.shape[1]) < num_samples[:, None])
    expected = _log_probabilities(recognizer, recognizer.model, waveforms, num_samples)
    found = _log_probabilities(recognizer, written, waveforms, num_samples)
    frames = count_frames(recognizer.model, num_samples).tolist()
    pairs = zip(expected, found, frames, strict=True)
    return max(float((one[:count] - other[:count]).abs().max()) for one, other, count in pairs)


def _log_probabilities(
    recognizer: Recognizer, forward: Callable[..., Tensor], waveforms: Tensor, num_samples: Tensor
) -> Tensor:
    logits = forward_logits(forward, recognizer, waveforms, num_samples)  # type: ignore[arg-type]
    return torch.log_softmax(logits.float(), dim=-1)


def _fits_sherpa(recognizer: Recognizer) -> bool:
    """Whether a model gets normalised waveforms: sherpa-onnx normalises all."""
    return bool(recognizer.processor.feature_extractor.do_normalize)


def _write_vocabulary(recognizer: Recognizer, folder: Path) -> None:
    """Writes what onnx-asr (vocab.txt, config.json) and sherpa-onnx (tokens.txt) read beside a model."""
    lines = [f"{name} {id}\n" for id, name in enumerate(token_names(recognizer.vocabulary))]
    for file in ("vocab.txt", "tokens.txt"):
        (folder / file).write_text("".join(lines), encoding="utf-8")
    config = {"model_type": "wav2vec2-ctc", "subsampling_factor": recognizer.geometry.stride_samples}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + os.linesep, encoding="utf-8")


def token_names(vocabulary: Vocabulary) -> list[str]:
    """Returns the names of a vocabulary's tokens as onnx-asr and sherpa-onnx read them: text as it is to be joined.

    A token that is no text is shown by its mark, as everywhere. A name that those programs could not read, with white
    space inside, or that another token has already, is the token's id in angle brackets.
    """
    names = [token.strip().lower() if vocabulary.lower_cased else token.strip() for token in vocabulary.tokens]
    reserved = {vocabulary.blank_id: _BLANK}
    if vocabulary.delimiter_id is not None:
        reserved[vocabulary.delimiter_id] = _SPACE
    for first in sorted(vocabulary.special_ids)[:1]:
        reserved[first] = UNKNOWN_MARK
    taken = set(reserved.values())
    for id, name in enumerate(names):
        if id in reserved:
            names[id] = reserved[id]
        elif name in taken or len(name.split()) != 1:
            names[id] = f"<{id}>"
        taken.add(names[id])
    return names
