"""Writes a fine-tuned model as ONNX, for onnxruntime, onnx-asr and sherpa-onnx.

python -m asrscale.export --model runs/cv/model --int8 --data data/cv/dev
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from asrscale.common import cli
from asrscale.common.checkpoint_files import at_revision
from asrscale.common.errors import CliError
from asrscale.common.quick_imports import quick_imports
from asrscale.data.index import Index, read_index
from asrscale.model.model_folders import find_model
from asrscale.results.deciding_metric import choose_metric

if TYPE_CHECKING:
    from torch import nn

    from asrscale.common.distributed import World
    from asrscale.model.onnx_export import OnnxFiles
    from asrscale.model.recognizer import Recognizer


@dataclass(frozen=True)
class ExportOptions:
    """Writes a fine-tuned model as ONNX, with its vocabulary as onnx-asr and sherpa-onnx read it.

    What was written is compared with the model's own output before it is kept.
    """

    model: str = cli.setting(help="model folder, run folder or Hugging Face id")
    revision: str | None = cli.setting(None, help="branch, tag or commit of a Hugging Face id; none: its main branch")
    language: str | None = cli.setting(None, help="which language of a model of many, such as MMS, as tr or tur")
    out: str | None = cli.setting(None, help="folder to write; default: onnx in the model folder")
    int8: bool = cli.setting(False, help="write a model with matrices of 8 bits, too")
    data: str | None = cli.setting(None, help="data set folder: the error rates of all that was written on it")
    memory_cap_seconds: float = cli.setting(40.0, help="with --data: padded audio that is computed at once")


def run(options: ExportOptions) -> None:
    """Writes the files, and prints the error rates.

    Raises:
        CliError: The model or the data set cannot be used, the files cannot be written, or compute something else.
    """
    with quick_imports():  # of seconds, which neither --help nor a mistyped flag waits for
        from asrscale.common.distributed import joined_ranks
        from asrscale.model.onnx_export import check_packages, describe_files, export_onnx
        from asrscale.model.pretrained import load_recognizer
        from asrscale.model.recognizer import print_notes

    check_packages()
    if options.memory_cap_seconds <= 0:
        raise CliError("--memory_cap_seconds must be above 0")
    index = read_index([options.data]) if options.data else None
    folder = _folder_for(options)
    recognizer = load_recognizer(at_revision(options.model, options.revision), options.language or "")
    print_notes(recognizer)
    recognizer.model.float()
    try:
        written = export_onnx(recognizer, folder, int8=options.int8)
    except OSError as error:
        raise CliError(f"--out {folder} cannot be written: {error.strerror or error}") from error
    print(describe_files(written))
    if index is not None:
        with joined_ranks() as world:
            print(_rates(recognizer, written, index, world, options.memory_cap_seconds))


def _folder_for(options: ExportOptions) -> Path:
    """Returns where to write; raises CliError where that is not said and cannot be known."""
    if options.out:
        return Path(options.out)
    model_folder = Path(options.model)
    if not model_folder.is_dir():
        raise CliError(f"--model {options.model} is on the hub: say by --out where to write")
    return Path(find_model(options.model).settings) / "onnx"


def _rates(
    recognizer: "Recognizer", written: "OnnxFiles", index: Index, world: "World", memory_cap_seconds: float
) -> str:
    """Returns the error rates of the model, and of each file, as a table."""
    from asrscale.results.evaluation import evaluate
    from asrscale.results.predictions import Row, print_damaged, row_of, table

    results: dict[str, Row] = {}
    for name, forward in _contenders(recognizer, written):
        result = evaluate(
            forward,
            recognizer,
            index,
            world,
            memory_cap_seconds=memory_cap_seconds,
            threads=2,
            title=f"transcribing by {name}",
        )
        results[name] = row_of(index, result)
    print_damaged(index, result)
    return table(results, choose_metric("auto", index))


def _contenders(recognizer: "Recognizer", written: "OnnxFiles") -> "Iterator[tuple[str, nn.Module]]":
    from asrscale.model.onnx_forward import OnnxForward

    yield "torch", recognizer.model
    for file in written.files:
        yield file, OnnxForward(written.folder / file)


if __name__ == "__main__":
    cli.run(ExportOptions, run)
