"""Uploads an exported model to the Hugging Face hub.

The token comes from HF_TOKEN or `hf auth login` and stays inside huggingface_hub: no setting and no message holds it.
"""

import sys
from pathlib import Path

from huggingface_hub import HfApi, get_token, metadata_load
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from asrscale.common.checkpoint_files import checkpoint_file
from asrscale.common.errors import CliError
from asrscale.model.quiet import quiet_huggingface
from asrscale.model.reasons import short_reason

MAX_REASON_CHARACTERS = 300  # the hub's errors name an address and a request id before the cause


def license_of(checkpoint: str) -> str | None:
    """Returns the license that the card of a checkpoint names; None where it has no card, or that names none."""
    try:
        card = checkpoint_file(checkpoint, "README.md", optional=True)
        metadata = metadata_load(card) if card else None
    except Exception:  # of the network, the hub, or a card that is no YAML: nobody waits for a license
        return None
    named = metadata.get("license") if metadata else None
    return named if isinstance(named, str) else None


def check_login(repo_id: str) -> None:
    """Checks before days of training what can be checked without the network, which a compute node may not have.

    Raises:
        CliError: The hub would not accept the id, or there is no token.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise CliError(f"--push_to_hub {repo_id}: give an id such as you/name ({error})") from error
    if get_token() is None:
        raise CliError("--push_to_hub needs a login: run hf auth login, or set HF_TOKEN")


@quiet_huggingface()
def push_model(folder: Path, repo_id: str, *, public: bool = False) -> bool:
    """Uploads a model folder, card included; makes the repository unless it exists.

    Args:
        folder: The model folder.
        repo_id: Of the repository; one that exists stays as public or private as it is.
        public: Whether everybody may see the one that is made.

    Returns:
        Whether it worked. Where not, a warning says why and how to repeat it: the model itself is not lost.
    """
    try:
        api = HfApi()
        url = api.create_repo(repo_id, private=not public, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Model fine-tuned with asrscale")
    except Exception as error:  # of the network, the hub or the disk
        private = "" if public else " --private"
        cure = f"repeat it with hf upload {repo_id} {folder}{private}"
        print(f"warning: {folder} was not uploaded ({_reason(error)}): {cure}", file=sys.stderr, flush=True)
        return False
    print(f"uploaded: {url}")
    return True


def _reason(error: Exception) -> str:
    """Returns an error's message as one short line without the token, which a careless proxy may repeat."""
    message = short_reason(error, MAX_REASON_CHARACTERS)
    token = get_token()
    if token:
        message = message.replace(token, "…")
    return message or type(error).__name__
