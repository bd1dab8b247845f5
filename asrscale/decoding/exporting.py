"""A tuned language model as a folder inside of a model's, which transformers passes over."""

from pathlib import Path
from typing import Any

from asrscale.common.atomic_files import remove_folder, write_json
from asrscale.decoding.options import TUNED_FILE, Tuning, write_tuned
from asrscale.ngrams.model import NgramModel
from asrscale.ngrams.storage import DESCRIPTION_FILE, MODEL_FILE, read_description, write_model

# No name that transformers knows: a folder `language_model` would have it look for pyctcdecode.
EXPORTED_FOLDER = "asrscale_lm"


def export_language_model(model: NgramModel, lm: str, tuned: Tuning, known: dict[str, Any], folder: Path) -> Path:
    """Writes a language model with what is tuned for it into a model's folder, in place of one that is there.

    Args:
        model: What is written.
        lm: Where it comes from.
        tuned: For the model.
        known: How they were found.
        folder: The model's.

    Returns:
        The folder that was written.

    Raises:
        OSError: It cannot be written.
    """
    exported = folder / EXPORTED_FOLDER
    partial = exported.with_name(f"{EXPORTED_FOLDER}.partial")
    remove_folder(partial)
    partial.mkdir()
    write_model(model, partial / MODEL_FILE)
    description = read_description(Path(lm))
    if description:
        write_json(partial / DESCRIPTION_FILE, description)
    write_tuned(partial / TUNED_FILE, tuned, known)
    remove_folder(exported)
    partial.rename(exported)
    return exported
