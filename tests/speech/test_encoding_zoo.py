"""The encodings of tests/encoding_zoo.py, whole and as a segment, beside ffmpeg's decode."""

import shutil
from pathlib import Path

import pytest
from encoding_zoo import FFMPEG, SOX, SPEECH, TOOLS, judge, write_encoding

# libsndfile decodes Opus at the rate that was encoded, where ffmpeg decodes at 48 kHz, which is resampled for the
# comparison: the two differ by a part of a sample. The ADPCM of the other decodes with one bit more.
LOSSY = {"8k_voip.opus": 5.0, "opus.ogg": 13.0, "16k.opus": 35.0, "48k_stereo.opus": 60.0, "adpcm_ima_wav.wav": 35.0}
EXACT_DB = 70.0


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FFMPEG, *SOX])
def test_an_encoding_is_decoded_as_ffmpeg_does(name: str, tmp_path: Path) -> None:
    if not SPEECH or not all(map(shutil.which, TOOLS)):
        pytest.skip("needs ffmpeg, sox and ../shared/data")
    try:
        path = write_encoding(name, tmp_path)
    except OSError as error:
        pytest.skip(f"the programs here cannot write it: {error}")
    _, whole, segment, told_seconds = judge(path)
    for found in (whole, segment):
        assert found.extra_samples == 0
        assert abs(found.lag_samples) <= (1 if name in LOSSY else 0)
        assert found.snr_db >= LOSSY.get(name, EXACT_DB)
    assert abs(told_seconds) < 0.05
