"""The finished model of a run in formats of other programs."""

import sys
from pathlib import Path

from asrscale.model.onnx_export import describe_files, export_onnx
from asrscale.model.pretrained import load_recognizer
from asrscale.model.reasons import short_reason
from asrscale.training.settings import EvaluationSettings


def write_other_formats(model_folder: Path, settings: EvaluationSettings, language: str = "") -> None:
    """Writes a finished model as ONNX where --export says so, unless it is there. For the main rank.

    The model itself is not lost where that fails: a warning says why, and how to repeat it. `language` is that of a
    model of many.
    """
    folder = model_folder / "onnx"
    if settings.export == "none" or folder.exists():
        return
    recognizer = load_recognizer(str(model_folder), language)
    recognizer.model.float()
    int8 = settings.export == "onnx_int8"
    try:
        written = export_onnx(recognizer, folder, int8=int8)
    except Exception as error:  # of the disk, or of whatever an exporter meets in a model
        flags = f"{f' --language {language}' if language else ''}{' --int8' if int8 else ''}"
        again = f"python -m asrscale.export --model {model_folder}{flags}"
        reason = short_reason(error)
        print(f"warning: {folder} was not written ({reason}): repeat it with {again}", file=sys.stderr, flush=True)
        return
    print(describe_files(written))
