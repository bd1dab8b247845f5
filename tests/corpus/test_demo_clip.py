"""Clips of the demo's corpus."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers.demo import needs_espeak

from asrscale.corpus.demo_clip import record_clip
from asrscale.corpus.demo_plan import plan_corpus


@needs_espeak
def test_an_unknown_voice_is_an_error_not_another_voice(tmp_path: Path) -> None:
    utterance = dataclasses.replace(plan_corpus(42, 20)[0], voice="en-gb")
    with pytest.raises(RuntimeError, match=r"cannot speak .* as en-gb"):
        record_clip(tmp_path, utterance)


@needs_espeak
@pytest.mark.parametrize(("level_dbfs", "reached_dbfs"), [(-26.0, -26.0), (0.0, None)])
def test_a_clip_has_the_planned_level_unless_its_peak_would_be_too_high(
    tmp_path: Path, level_dbfs: float, reached_dbfs: float | None
) -> None:
    utterance = dataclasses.replace(plan_corpus(42, 20)[0], level_dbfs=level_dbfs)
    (tmp_path / utterance.split).mkdir()
    duration_seconds = record_clip(tmp_path, utterance)
    samples, rate_hz = soundfile.read(tmp_path / utterance.filename)
    assert rate_hz == 48_000
    assert duration_seconds == len(samples) / rate_hz
    if reached_dbfs is None:
        assert np.abs(samples).max() == pytest.approx(0.9, abs=0.05)
    else:
        assert 20 * np.log10(np.sqrt(np.mean(samples**2))) == pytest.approx(reached_dbfs, abs=0.5)
