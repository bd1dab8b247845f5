"""Small files of a checkpoint: in its folder, or on the Hugging Face hub."""

import json
import os
from pathlib import Path
from typing import Any


def may_be_hub_id(name: str) -> bool:
    """Whether a name has the form of an id such as facebook/wav2vec2-base, and not that of a path."""
    return name.count("/") == 1 and name[0] not in "./~" and not name.endswith(".json")


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

    try:
        return Path(hf_hub_download(checkpoint, name))
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
