"""Small files of a checkpoint: in its folder, or on the Hugging Face hub; and what is wrong where the hub refuses."""

import json
import os
from pathlib import Path
from typing import Any

from asrscale.common.errors import CliError


def may_be_hub_id(name: str) -> bool:
    """Whether a name has the form of an id such as facebook/wav2vec2-base, and not that of a path.

    An id may name its revision, a branch, tag or commit, as facebook/wav2vec2-base@main.
    """
    id, _ = split_revision(name)
    return id.count("/") == 1 and id[0] not in "./~" and not id.endswith(".json")


def split_revision(name: str) -> tuple[str, str | None]:
    """Returns the id and the revision of a name such as facebook/wav2vec2-base@main; a path has no revision."""
    if os.path.exists(name):
        return name, None
    id, _, revision = name.partition("@")
    return id, revision or None


def at_revision(name: str, revision: str | None) -> str:
    """Returns the name of a checkpoint at a revision of its repository on the hub; the name itself for None.

    Raises:
        CliError: It is a folder, or says its revision already.
    """
    if not revision:
        return name
    if os.path.exists(name) or not may_be_hub_id(name):
        raise CliError(f"--revision {revision}: {name} is no Hugging Face id: leave it out")
    id, named = split_revision(name)
    if named:
        raise CliError(f"--revision {revision}: {name} names a revision already: give one")
    return f"{id}@{revision}"


def checkpoint_file(checkpoint: str, name: str, *, optional: bool = False) -> Path | None:
    """Returns where a file of a checkpoint lies on this machine, downloaded where it has to be.

    Args:
        checkpoint: A folder, or an id of the hub.
        name: Of the file.
        optional: Whether a file that is not on this machine counts as missing where the hub cannot be asked.

    Returns:
        None where the checkpoint has no such file.

    Raises:
        OSError: Whether it has one cannot be found out, as without a network.
        ValueError: The checkpoint is neither a folder nor an id.
    """
    if os.path.isdir(checkpoint) or not may_be_hub_id(checkpoint):
        path = Path(checkpoint, name)
        return path if path.is_file() else None
    # Not above: workers that build shards import this module, and have no use for the library.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    id, revision = split_revision(checkpoint)
    try:
        return Path(hf_hub_download(id, name, revision=revision))
    except LocalEntryNotFoundError:  # which is an EntryNotFoundError, too
        if optional:
            return None
        raise
    except EntryNotFoundError:
        return None


def checkpoint_json(checkpoint: str, name: str, *, optional: bool = True) -> dict[str, Any]:
    """Returns the object in a JSON file of a checkpoint, or {} where it has no such file.

    Raises:
        OSError: As `checkpoint_file`, or the file cannot be read.
        ValueError: As `checkpoint_file`, or it holds no JSON object.
    """
    path = checkpoint_file(checkpoint, name, optional=optional)
    if path is None:
        return {}
    values = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{name} holds no JSON object")
    return values


def hub_commit(checkpoint: str) -> str | None:
    """Returns the commit at which an id of the hub was downloaded; None for a path.

    Raises:
        OSError: As `checkpoint_file`.
    """
    if os.path.exists(checkpoint):
        return None
    path = checkpoint_file(checkpoint, "config.json", optional=True)
    return path.parent.name if path and path.parent.parent.name == "snapshots" else None  # huggingface_hub's cache


def hub_refusal(checkpoint: str, error: BaseException) -> str | None:
    """Returns why the hub gave no file of a checkpoint, and the cure; None where the error is none of the hub's.

    Args:
        checkpoint: An id of the hub.
        error: What was raised for it, perhaps by a library that wrapped the hub's own error.
    """
    from huggingface_hub import errors

    if os.path.exists(checkpoint):
        return None
    id, revision = split_revision(checkpoint)
    login = "run hf auth login, or set HF_TOKEN"
    for cause in _causes(error):
        if isinstance(cause, errors.GatedRepoError):
            return f"its owners ask for a login: accept their terms at https://huggingface.co/{id}, then {login}"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return f"the hub has no such model, or it is private: correct the id; where it is private, {login}"
        if isinstance(cause, errors.RevisionNotFoundError):
            return f"{id} has no revision {revision}: give one of its branches, tags or commits"
        if isinstance(cause, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
            download = f"hf download {id}" + (f" --revision {revision}" if revision else "")
            return (
                f"it is not on this machine, and the hub cannot be reached: run {download} --local-dir FOLDER "
                "on a machine that reaches it, copy FOLDER here and give its path"
            )
    return None


def _causes(error: BaseException) -> list[BaseException]:
    """Returns an error and those that led to it, the first ones last."""
    causes: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in causes:
        causes.append(following)
        following = following.__cause__ or following.__context__
    return causes
