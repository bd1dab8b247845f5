"""Checkpoints: whole or not there, independent of the number of ranks and of the ZeRO stage.

RUN/checkpoints/
    step-00000500/model.safetensors      every weight in fp32, frozen ones included
                  optimizer.safetensors  both Adam moments in fp32, the count of Adam's steps, the loss scale of fp16;
                                         with --ema the moving average of the weights
                  state.json             the position in the run and what early stopping needs
                  manifest.json          size and SHA-256 of each of these
    step-00000500.replaced/              only while step 500 is saved again: counts where the other is missing
    step-00000400.weights/               what --average needs of an older one: its weights, and its manifest
    latest, best                         a name of one of these folders each, for people: what counts are the manifests
"""

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from asrscale.common import distributed
from asrscale.common.atomic_files import remove_folder, sync, use_default_mode, write_json, write_text
from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.common.json_values import parse_object
from asrscale.model.model_folders import CHECKPOINTS_FOLDER, WEIGHTS_FILE
from asrscale.model.recognizer import Recognizer
from asrscale.training import engine as ds
from asrscale.training.engine import Engine

MOMENTS_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
FILES = (WEIGHTS_FILE, MOMENTS_FILE, STATE_FILE)
MANIFEST_FILE = "manifest.json"  # of these

WEIGHTS_ONLY = ".weights"  # ends the name of one of which only the weights are left
REPLACED = ".replaced"  # ends the name of a checkpoint while the same step is saved again
DROPPED = ".dropped"  # ends the name of one that is being deleted


@dataclass(frozen=True)
class Unlogged:
    """What the steps since the last line of metrics.jsonl add up to, over all ranks."""

    counted_steps: int = 0  # with a finite gradient
    skipped_steps: int = 0  # without one
    damaged: int = 0  # utterances
    audio_samples: int = 0
    padded_samples: int = 0
    loss: float = 0.0  # of the counted steps


@dataclass(frozen=True)
class RunState:
    """Everything about a run that does not follow from its settings.

    `best` is of the best evaluation so far: the error rate that decides, the other one, and the loss. While a young
    model still outputs nothing, and its WER stays at 100 %, the others show that it learns.
    """

    step: int = 0  # optimizer steps done; the position in the data follows from it
    visited: int = 0  # utterances of these steps, damaged ones included, once for each epoch
    best: tuple[float, ...] | None = None
    best_step: int | None = None  # where that was
    stale_evaluations: int = 0  # evaluations since then, for early stopping
    evaluated_step: int = 0  # where the last evaluation was; a stop may have cut one short
    restarts: int = 0  # how often the run has gone on from a checkpoint
    skipped_steps: int = 0  # how many in a row, up to this one, had no finite gradient
    unlogged: Unlogged = Unlogged()  # the beginning of the next line of metrics.jsonl
    before: tuple[float, ...] | None = None  # as `best`, of the model before its first step, where that transcribes
    last: tuple[float, ...] | None = None  # as `best`, of the last evaluation
    is_out_of_time: bool = False  # whether the run ended by --max_minutes
    seconds: float = 0.0  # that it has taken so far in all attempts, where --max_minutes limits it
    worse_evaluations: int = 0  # how many in a row, up to this one, were worse than `before`; stays at the most


def save_checkpoint(
    engine: Engine,
    frozen: dict[str, Tensor],
    state: RunState,
    run_folder: Path,
    *,
    keep: int,
    keep_weights: Collection[int] = (),
    world: World,
) -> str | None:
    """Writes a checkpoint, then points `latest` at it (and `best`, if it is), then drops all but `keep` and the best.

    A collective: every rank calls it; rank 0 writes.

    Args:
        engine: What holds the weights and moments.
        frozen: The weights that are not trained, by name, in fp32.
        state: The position in the run.
        run_folder: Gets a folder in its `checkpoints`.
        keep: How many of the newest checkpoints stay.
        keep_weights: The steps of which the weights stay.
        world: This process among the ranks.

    Returns:
        None, or why it could not be written: the checkpoints before are as they were.

    Raises:
        FloatingPointError: A weight is not finite.
    """
    weights = ds.gather_weights(engine, frozen, world)
    moments = ds.gather_moments(engine, world)
    problem = None
    if world.is_main:
        if not all(bool(torch.isfinite(weight).all()) for weight in weights.values()):
            raise FloatingPointError(f"the weights of step {state.step} are not finite; they were not saved")
        folder = run_folder / CHECKPOINTS_FOLDER
        try:
            target = _write(weights, moments, state, folder)
            _tidy_up(folder, target, state, keep, keep_weights)
        except (OSError, SafetensorError) as error:  # a full disk, a file system that is gone or read-only
            problem = str(error)
            remove_folder(folder / f"{_name(state.step)}.partial")
    problem_of_main: str | None = distributed.gather_objects(problem, world)[0]
    return problem_of_main


def _write(weights: dict[str, Tensor], moments: dict[str, Tensor], state: RunState, folder: Path) -> Path:
    """Writes a checkpoint to `folder`: under a temporary name and to the disk, before it gets its own.

    Returns:
        Its path.

    Raises:
        OSError: It could not be written.
        SafetensorError: It could not be written.
    """
    target = folder / _name(state.step)
    partial = target.with_suffix(".partial")
    replaced = target.with_suffix(REPLACED)
    _put_back(folder)
    remove_folder(partial)

    partial.mkdir(parents=True)
    save_file(weights, partial / WEIGHTS_FILE, metadata={"format": "pt"})
    save_file(moments, partial / MOMENTS_FILE)
    use_default_mode(partial / WEIGHTS_FILE, partial / MOMENTS_FILE)
    write_json(partial / STATE_FILE, asdict(state))
    write_json(partial / MANIFEST_FILE, {name: _fingerprint(partial / name) for name in FILES})
    sync(*partial.iterdir(), partial)

    if target.exists():  # its evaluation was cut short, or it was damaged
        remove_folder(replaced)
        target.rename(replaced)
    partial.rename(target)
    sync(folder)  # from here on it is whole, and found: what else may fail is no failed save
    remove_folder(replaced)
    return target


def _put_back(folder: Path) -> None:
    """Gives checkpoints their names back that a kill between the two renames of `_write` has left without."""
    for replaced in folder.glob(f"step-????????{REPLACED}"):
        target = replaced.with_suffix("")
        if not target.exists():
            replaced.rename(target)


def _tidy_up(folder: Path, target: Path, state: RunState, keep: int, keep_weights: Collection[int]) -> None:
    """Points `latest` and `best` at checkpoints, and drops all but `keep` and the best; `target` was just written.

    Of those at the steps `keep_weights`, the weights stay.
    """
    _point(folder, "latest", target.name)
    # Later ones are damaged, or the run would have gone on from them.
    not_later = [path for path in _newest_first(folder) if path <= target]
    kept = not_later[:keep]
    if state.best_step is not None:
        _point(folder, "best", _name(state.best_step))
        kept.append(folder / _name(state.best_step))
    for path in sorted(set(folder.glob("step-*")) - set(kept)):
        whole = path.with_suffix("")
        has_needed_weights = path == whole or (path.suffix == WEIGHTS_ONLY and not whole.exists())
        if has_needed_weights and path.is_dir() and step_of(path) in keep_weights:
            _keep_weights(path)
        else:
            _drop(path)


def _keep_weights(checkpoint: Path) -> None:
    """Gives a checkpoint a name that no run goes on from, and deletes all but its weights and its manifest."""
    reduced = checkpoint.with_suffix(WEIGHTS_ONLY)
    with contextlib.suppress(OSError):
        if checkpoint != reduced:
            remove_folder(reduced)  # of the same step, before a run went back behind it
            checkpoint.rename(reduced)
        (reduced / MOMENTS_FILE).unlink(missing_ok=True)


def _drop(checkpoint: Path) -> None:
    """Takes a checkpoint's name away, so that one that is half deleted is never looked at, and deletes it.

    Where that fails, it stays until the next save.
    """
    dropped = checkpoint.with_suffix(DROPPED)
    with contextlib.suppress(OSError):
        checkpoint.rename(dropped)
    remove_folder(dropped)


def _point(folder: Path, name: str, target: str) -> None:
    """Makes `name` (latest or best) name a checkpoint, at once and durably; where that fails, people go without."""
    with contextlib.suppress(OSError):
        write_text(folder / name, target + "\n")
        sync(folder)


def whole_checkpoint(run_folder: Path, step: int | None = None) -> tuple[Path | None, list[str]]:
    """Finds the checkpoint of `step`, by default the newest, or else the newest that is whole by its checksums.

    Returns:
        Its folder, or None where there is none; and why others were passed over, a line each.
    """
    folder = run_folder / CHECKPOINTS_FOLDER
    candidates = _newest_first(folder)
    if step is not None:
        candidates = [checkpoint_at(run_folder, step), *candidates]
    refused: list[str] = []
    for candidate in dict.fromkeys(candidates):  # each once
        replaced = candidate.with_suffix(REPLACED)
        checkpoint = replaced if replaced.exists() and not candidate.exists() else candidate
        damaged = _damaged_files(checkpoint, FILES)
        if not damaged:
            return checkpoint, refused
        refused.append(f"{checkpoint} is not whole: {', '.join(damaged)}")
    return None, refused


def whole_weights(run_folder: Path, steps: Iterable[int]) -> tuple[list[Path], list[str]]:
    """Finds the checkpoints of some steps, or what is left of them, whose weights are whole by their checksums.

    Returns:
        Their folders, in the order of `steps`, and why others were passed over, a line each; steps of which there is
        nothing are left out.
    """
    found: list[Path] = []
    refused: list[str] = []
    for step in steps:
        names = [checkpoint_at(run_folder, step).with_suffix(suffix) for suffix in ("", REPLACED, WEIGHTS_ONLY)]
        for checkpoint in filter(Path.exists, names):
            damaged = _damaged_files(checkpoint, (WEIGHTS_FILE,))
            if not damaged:
                found.append(checkpoint)
                break
            refused.append(f"the weights in {checkpoint} are not whole: {', '.join(damaged)}")
    return found, refused


def _damaged_files(checkpoint: Path, names: Iterable[str]) -> list[str]:
    """Returns which of these files are not as the manifest has them, or why it cannot be compared."""
    try:
        manifest = parse_object((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))
        return [name for name in names if _fingerprint(checkpoint / name) != manifest[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [f"{MANIFEST_FILE}, or what it names, cannot be read ({error})"]


def _newest_first(folder: Path) -> list[Path]:
    """Returns the checkpoints under the names that they have, or had before a kill between the renames of `_write`."""
    found = {path.with_suffix("") for end in ("", REPLACED) for path in folder.glob(f"step-????????{end}")}
    return sorted(found, reverse=True)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _fingerprint(path: Path) -> dict[str, int | str]:
    """Returns what the manifest holds of a file."""
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def read_state(checkpoint: Path) -> RunState:
    """Reads the position at which a checkpoint was written."""
    values = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
    for name in ("best", "before", "last"):
        if values.get(name) is not None:
            values[name] = tuple(values[name])  # JSON has lists only
    values["unlogged"] = Unlogged(**values.get("unlogged", {}))
    return RunState(**values)


def step_of(checkpoint: Path) -> int:
    """Returns the step at which a checkpoint was saved, by its name."""
    return int(checkpoint.with_suffix("").name.removeprefix("step-"))


def checkpoint_at(run_folder: Path, step: int) -> Path:
    """Returns the place of the checkpoint of a step, whether there is one or not."""
    return run_folder / CHECKPOINTS_FOLDER / _name(step)


def weights_sha256(checkpoint: Path) -> str | None:
    """Returns the SHA-256 of a checkpoint's weights, by its manifest; None where there is no such checkpoint."""
    return _sha256_of(checkpoint, WEIGHTS_FILE)


def average_sha256(checkpoint: Path) -> str | None:
    """Returns the SHA-256 of the file with a checkpoint's moving average, as `weights_sha256`."""
    return _sha256_of(checkpoint, MOMENTS_FILE)


def _sha256_of(checkpoint: Path, name: str) -> str | None:
    """Returns the SHA-256 of a file of a checkpoint, by its manifest; None where there is no such checkpoint."""
    try:
        manifest = parse_object((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))
        return str(manifest[name]["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load_weights(recognizer: Recognizer, checkpoint: Path) -> None:
    """Puts a checkpoint's weights into a model that no engine wraps yet.

    Raises:
        CliError: They are of another model.
    """
    try:
        recognizer.model.load_state_dict(load_file(checkpoint / WEIGHTS_FILE), strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CliError(f"{checkpoint} holds another model than --model: {reason}") from error


def restore_engine(engine: Engine, checkpoint: Path, world: World) -> None:
    """Gives an engine the weights and moments of a checkpoint; see `engine.restore_state` for what must come before."""
    weights = load_file(checkpoint / WEIGHTS_FILE)
    moments = load_file(checkpoint / MOMENTS_FILE)
    ds.restore_state(engine, weights, moments, world)


def average_weights(checkpoints: Iterable[Path], names: Iterable[str]) -> dict[str, Tensor]:
    """Returns the mean of some weights over checkpoints, by name, in fp32; sums are taken in fp64."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(safe_open(folder / WEIGHTS_FILE, framework="pt")) for folder in checkpoints]
        return {name: _mean([file.get_tensor(name) for file in files]) for name in names}


def _mean(values: Sequence[Tensor]) -> Tensor:
    """Returns the mean of tensors of one shape."""
    total = torch.zeros_like(values[0], dtype=torch.float64)
    for value in values:
        total += value
    return (total / len(values)).to(values[0].dtype)


def moving_average(checkpoint: Path) -> dict[str, Tensor]:
    """Returns the moving average in a checkpoint, by the names of the weights that are trained."""
    prefix = f"{ds.AVERAGE}/"
    with safe_open(checkpoint / MOMENTS_FILE, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118  # no dict
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
