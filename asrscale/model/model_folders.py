"""What --model names: a model folder, a run, a checkpoint of a run, or one of transformers' Trainer.

A folder is taken as it comes, and what is taken in its place or from beside it is said.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from asrscale.common.errors import CliError
from asrscale.common.system_files import is_plain_name
from asrscale.speech.vocabulary_files import VOCAB_FILE

CONFIG_FILE = "config.json"
BASE_MODEL = "base_model_name_or_path"  # in the config.json of an adapter without the weights that it belongs to
WEIGHTS_FILE = "model.safetensors"
# As transformers names them: in one file or in several, which an index lists.
WEIGHTS_FILES = (
    WEIGHTS_FILE,
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

PROVENANCE_FILE = "provenance.json"  # of a folder that asrscale has exported
# In a run: see `asrscale.training.checkpoint`, which writes them.
CHECKPOINTS_FOLDER = "checkpoints"
MODEL_FOLDER = "model"
_POINTERS = ("best", "latest")
_RUN_CHECKPOINT = re.compile(r"step-\d{8}")
_TRAINER_CHECKPOINT = re.compile(r"checkpoint-\d+")


@dataclass(frozen=True)
class ModelSource:
    """Where the parts of a model are: each a folder, or an id of the hub.

    Attributes:
        weights: Has the weights.
        settings: Has config.json, and the settings of the feature extractor.
        vocabulary: Has vocab.json, if there is one, and the adapters for languages.
        is_run_checkpoint: Whether the weights are named as a training run of asrscale has them, LoRA's apart.
        notes: What was taken in place of what is named.
    """

    weights: str
    settings: str
    vocabulary: str
    is_run_checkpoint: bool = False
    notes: tuple[str, ...] = ()


def find_model(name: str) -> ModelSource:
    """Returns where the parts of a model are that `--model` names.

    Args:
        name: A folder of any of the kinds above; or an id of the hub, which is taken as it is.

    Raises:
        CliError: It is a folder without a model; says what it holds.
    """
    try:
        return _find_model(name)
    except PermissionError as error:
        raise CliError(f"--model {name} cannot be read, permission denied: {error.filename}") from error


def _find_model(name: str) -> ModelSource:
    path = Path(name)
    is_pointer = path.name in _POINTERS and path.is_file()
    if is_pointer:
        path = _checkpoint_at(path)
    if not path.is_dir():
        return ModelSource(name, name, name)
    if _is_run(path):
        return _model_of_run(path)
    if path.name == CHECKPOINTS_FOLDER and _checkpoints_of(path):
        return _model_of_run(path.parent)
    if _RUN_CHECKPOINT.fullmatch(path.name) and (path / WEIGHTS_FILE).is_file():
        return _run_checkpoint(path)
    if not (path / CONFIG_FILE).is_file():
        check_has_weights(path)
        raise CliError(f"--model {path} is no model folder: it has no {CONFIG_FILE}")
    return _stock_folder(path)


def _checkpoint_at(pointer: Path) -> Path:
    """Returns the checkpoint beside a file that names it; raises CliError where that names anything else."""
    name = pointer.read_text(encoding="utf-8", errors="replace").strip()
    if not _RUN_CHECKPOINT.fullmatch(name):
        raise CliError(f"--model {pointer} is damaged, it names no checkpoint: name one of them")
    return pointer.parent / name


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of a training run: its config.json holds settings, and is none of a model."""
    has_parts = (folder / CHECKPOINTS_FOLDER).is_dir() or (folder / MODEL_FOLDER / CONFIG_FILE).is_file()
    has_weights = any((folder / file).is_file() for file in WEIGHTS_FILES)
    return has_parts and not has_weights


def _model_of_run(run: Path) -> ModelSource:
    """Returns the finished model of a run, or where it has none its best checkpoint, or its newest."""
    model = run / MODEL_FOLDER
    if (model / "README.md").is_file():  # written last
        return ModelSource(str(model), str(model), str(model), notes=(f"{run} is a run: using its model, {model}",))
    for pointer in _POINTERS:
        path = run / CHECKPOINTS_FOLDER / pointer
        if path.is_file():
            checkpoint = _checkpoint_at(path)
            note = f"{run} is a run without a finished model: using its {pointer} checkpoint, {checkpoint}"
            return _run_checkpoint(checkpoint, note)
    raise CliError(f"--model {run} is a run without a model or a checkpoint yet: let it go on, or name another model")


def _checkpoints_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("step-????????") if _RUN_CHECKPOINT.fullmatch(path.name))


def _run_checkpoint(checkpoint: Path, *notes: str) -> ModelSource:
    """Returns the parts of a checkpoint of a run: what does not change in a run lies beside its checkpoints."""
    beside = checkpoint.parent
    if not (checkpoint / WEIGHTS_FILE).is_file():
        raise CliError(f"--model {checkpoint}: there is no such checkpoint: name another, or the run's model")
    if not (beside / CONFIG_FILE).is_file():
        raise CliError(
            f"--model {checkpoint}: {beside} has no {CONFIG_FILE}, which says what model it is, since an older "
            f"asrscale began the run: go on with the run once, which writes it, or give {beside.parent / MODEL_FOLDER}"
        )
    return ModelSource(str(checkpoint), str(beside), str(beside), is_run_checkpoint=True, notes=notes)


def check_has_weights(folder: Path) -> None:
    """Raises CliError where a folder has no weights that can be read; names its checkpoints where these have."""
    found = [folder / file for file in WEIGHTS_FILES if (folder / file).is_file()]
    for path in found or sorted(folder.glob("adapter.*")):
        if not os.access(
            path, os.R_OK, effective_ids=True
        ):  # of which safetensors would say that there is no such file
            raise CliError(f"--model {folder} cannot be read, permission denied: {path}: ask its owner for chmod a+r")
        if path.name.endswith(".index.json"):
            _check_index(path)
    if found:
        return
    checkpoints = sorted(path.name for path in folder.glob("checkpoint-*") if _TRAINER_CHECKPOINT.fullmatch(path.name))
    if checkpoints:
        raise CliError(f"--model {folder} has no weights itself: give one of its checkpoints, {', '.join(checkpoints)}")
    raise CliError(f"--model {folder} has no weights: none of {', '.join(WEIGHTS_FILES)}")


def _check_index(path: Path) -> None:
    """Raises CliError where an index of weights is damaged, or leads to files that are not beside it."""
    try:
        files = set(json.loads(path.read_bytes())["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CliError(f"{path} is damaged ({error}): copy it again") from error
    for file in files:
        if not is_plain_name(file):
            raise CliError(f"{path} is damaged, {file!r} is not the name of a file beside it: copy it again")


def _stock_folder(folder: Path) -> ModelSource:
    """Returns the parts of a folder as transformers writes them, or of one that has only the adapter of a language.

    A Trainer that was given the feature extractor alone leaves the vocabulary out of its checkpoints: the script that
    runs it has written that to the folder above.
    """
    name = str(folder)
    base = _base_of(folder)
    if base:
        return ModelSource(find_model(base).weights, name, name)
    is_trainer_checkpoint = _TRAINER_CHECKPOINT.fullmatch(folder.resolve().name) is not None
    above = folder.resolve().parent
    if not is_trainer_checkpoint or (folder / VOCAB_FILE).is_file() or not (above / VOCAB_FILE).is_file():
        return ModelSource(name, name, name)
    return ModelSource(name, name, str(above), notes=(f"{name} has no {VOCAB_FILE}: using that of {above}",))


def _base_of(folder: Path) -> str:
    """Returns the model that an exported adapter for a language belongs to; "" for a folder that has weights itself."""
    if any((folder / file).is_file() for file in WEIGHTS_FILES):
        return ""
    try:
        return str(json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get(BASE_MODEL, ""))
    except (OSError, ValueError, AttributeError):
        return ""  # whatever loads the configuration says what is wrong with it
