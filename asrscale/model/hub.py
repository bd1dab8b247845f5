"""Uploads an exported model to the Hugging Face hub. The only module that knows huggingface_hub.

The token comes from HF_TOKEN or `hf auth login` and stays inside huggingface_hub: it is in no setting and no message.
"""

import sys
from pathlib import Path

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils._validators import validate_repo_id

from asrscale.common.errors import CliError


def check_login(repo_id: str) -> None:
    """What can be known before days of training, without the network, which a compute node may not have.

    Raises:
        CliError: An id that the hub would not take, or no token.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise CliError(f"--push_to_hub {repo_id}: give an id such as you/name ({error})") from error
    if get_token() is None:
        raise CliError("--push_to_hub needs a login: run hf auth login, or set HF_TOKEN")


def push_model(folder: Path, repo_id: str) -> bool:
    """Uploads a model folder, card included; makes the repository, which is public, unless it exists.

    Returns:
        Whether it worked. Where not, a warning says why and how to repeat it: the model itself is not at stake.
    """
    try:
        api = HfApi()
        url = api.create_repo(repo_id, exist_ok=True)
        api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message="Model fine-tuned with asrscale")
    except Exception as error:  # the network's, the hub's, the disk's
        why = " ".join(str(error).split())[:300].replace(get_token() or "\0", "…") or type(error).__name__
        cure = f"repeat it with hf upload {repo_id} {folder}"
        print(f"warning: {folder} was not uploaded ({why}): {cure}", file=sys.stderr, flush=True)
        return False
    print(f"uploaded: {url}")
    return True
