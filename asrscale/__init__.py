"""asrscale: fine-tune CTC models on speech at any scale.

From Python, what needs no command line:

    import asrscale

    model = asrscale.load_model("runs/cv/model")
    print(model.transcribe("meeting.mp3").text)
    print(model.evaluate("data/cv/valid").wer)
    print(asrscale.read_index("data/cv/train").hours)

`asrscale.api` documents these. Nothing heavy is imported here, so that `python -m asrscale.shard` starts at once; and
nothing that Python has not loaded before, until it is sure that the folder one stands in is off the path.
"""

import importlib

from asrscale.common import import_path

TYPE_CHECKING = False  # as typing has it, for type checkers

if import_path.is_command():
    import_path.keep_current_folder_out()

if TYPE_CHECKING:
    from asrscale.api import (
        EvaluationResult,
        Index,
        Model,
        Prediction,
        Transcript,
        Word,
        load_model,
        read_index,
    )
    from asrscale.common.errors import AsrscaleError

__version__ = "0.1.0"

__all__ = [
    "AsrscaleError",
    "EvaluationResult",
    "Index",
    "Model",
    "Prediction",
    "Transcript",
    "Word",
    "__version__",
    "load_model",
    "read_index",
]


def __getattr__(name: str) -> object:
    """Imports a name of the API when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'asrscale' has no attribute '{name}'")
    return getattr(importlib.import_module("asrscale.api"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
