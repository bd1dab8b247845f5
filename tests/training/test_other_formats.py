"""The model at the end of a run, in formats of other programs."""

from pathlib import Path

import pytest

from asrscale.model.recognizer import Recognizer
from asrscale.training.other_formats import write_other_formats
from asrscale.training.settings import EvaluationSettings


def test_a_model_is_not_lost_where_its_onnx_cannot_be_written(
    tone_recognizer: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    tone_recognizer.save(model)
    write_other_formats(model, EvaluationSettings())
    assert not (model / "onnx").exists() and capsys.readouterr() == ("", "")

    (model / "onnx.partial").touch()  # where it would be written first
    write_other_formats(model, EvaluationSettings(export="onnx_int8"))
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert line.startswith(f"warning: {model / 'onnx'} was not written (")
    assert line.endswith(f"repeat it with python -m asrscale.export --model {model} --int8")

    (model / "onnx.partial").unlink()
    write_other_formats(model, EvaluationSettings(export="onnx"))
    assert (model / "onnx" / "model.onnx").exists() and not (model / "onnx" / "model.int8.onnx").exists()
    assert str(model / "onnx" / "sherpa-model.onnx") in capsys.readouterr().out
    write_other_formats(model, EvaluationSettings(export="onnx"))  # it is there
    assert capsys.readouterr().out == ""
