import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers.utils import logging as transformers_logging

from asrscale.model.building import build_recognizer
from asrscale.model.pretrained import load_recognizer
from asrscale.model.quiet import LOGGERS, quiet_huggingface

# Imports every module of the package; what transformers and huggingface_hub are set to must be as before.
IMPORT_ALL = """
import importlib, logging, pkgutil
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from transformers import Wav2Vec2ForCTC
from transformers.utils import logging as transformers_logging

def state():
    levels = [logging.getLogger(name).level for name in ("transformers", "huggingface_hub")]
    return levels, transformers_logging.is_progress_bar_enabled(), are_progress_bars_disabled()

before = state()
import asrscale.model
for module in pkgutil.iter_modules(asrscale.model.__path__, "asrscale.model."):
    importlib.import_module(module.name)
assert state() == before, (before, state())
print("the same")
"""


def settings() -> tuple[list[int], bool, bool]:
    levels = [logging.getLogger(name).level for name in LOGGERS]
    return levels, transformers_logging.is_progress_bar_enabled(), are_progress_bars_disabled()


@pytest.fixture
def noisy() -> Iterator[None]:
    """Everything is shown, but for what the test then hides; all is as before after the test."""
    levels, bars, no_transfer_bars = settings()
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    transformers_logging.enable_progress_bar()
    yield
    for name, level in zip(LOGGERS, levels, strict=True):
        logging.getLogger(name).setLevel(level)
    if not bars:
        transformers_logging.disable_progress_bar()
    if no_transfer_bars:
        disable_progress_bars()
    else:
        enable_progress_bars()


def test_an_import_leaves_the_logging_of_other_libraries_alone() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRANSFORMERS_")}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout == "the same\n", done.stderr


def test_inside_only_errors_are_shown_and_after_it_all_is_as_before(noisy: None) -> None:
    before = settings()
    with quiet_huggingface():
        assert settings() == ([logging.ERROR] * 2, False, True)
        with quiet_huggingface():
            pass
        assert settings() == ([logging.ERROR] * 2, False, True)
    assert settings() == before


@pytest.mark.parametrize("bars", ["all", "transfer"])
def test_bars_that_were_hidden_before_stay_hidden(bars: str, noisy: None) -> None:
    if bars == "all":
        transformers_logging.disable_progress_bar()
    else:
        disable_progress_bars()
    before = settings()
    with pytest.raises(ValueError, match="of the work"), quiet_huggingface():
        raise ValueError("of the work")
    assert settings() == before


def test_building_writing_and_loading_a_model_prints_nothing(
    noisy: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    build_recognizer("tiny", "abc").save(tmp_path / "first")  # imports DeepSpeed, which logs what it runs on
    capfd.readouterr()
    before = settings()
    build_recognizer("tiny", "abc").save(tmp_path / "model")
    load_recognizer(str(tmp_path / "model"))
    build_recognizer(str(tmp_path / "model"), "abc", vocab="shards")
    assert capfd.readouterr() == ("", "")
    assert settings() == before
