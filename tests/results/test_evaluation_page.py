import base64
import re
from io import BytesIO
from pathlib import Path

import pytest
import soundfile
from helpers.hypotheses import spoilt

from asrscale.common.errors import CliError
from asrscale.data.index import Index, read_index
from asrscale.results.beside import Beside
from asrscale.results.breakdown import break_down
from asrscale.results.evaluation_page import write_evaluation_page
from asrscale.results.other_evaluation import OtherEvaluation


@pytest.fixture(scope="module")
def valid(tone_shards: Path) -> Index:
    return read_index([str(tone_shards / "valid")])


def test_the_page_has_rates_words_and_sound(valid: Index, tmp_path: Path) -> None:
    hypotheses = sorted((dict(spoilt(valid)) | {7: "<script>alert(1)</script>"}).items())
    found = break_down(valid, hypotheses, "wer")
    write_evaluation_page(str(tmp_path / "page.html"), "a <b> model", valid, found)
    page = (tmp_path / "page.html").read_text()
    assert "a &lt;b&gt; model" in page and "<script" not in page and "WER % by duration" in page
    assert f"{found['wer']:.2%}" in page and "http" not in re.sub(r"base64,[\w+/=]+", "", page)
    players = re.findall(r"data:audio/\w+;base64,([\w+/=]+)", page)
    assert len(players) == 9
    sound, rate = soundfile.read(BytesIO(base64.b64decode(players[0])))
    assert len(sound) / rate == pytest.approx(valid.num_samples[5] / 16_000, abs=0.1)
    with pytest.raises(CliError, match=r"--html .*nowhere/page\.html: No such file"):
        write_evaluation_page(str(tmp_path / "nowhere" / "page.html"), "", valid, found)


def test_the_page_shows_the_rate_that_decides(valid: Index, tmp_path: Path) -> None:
    found = break_down(valid, spoilt(valid), "cer")
    write_evaluation_page(str(tmp_path / "page.html"), "a model", valid, found)
    page = (tmp_path / "page.html").read_text()
    assert "CER % by duration" in page and "The most character errors" in page and f"{found['cer']:.2%}" in page
    assert "WER" not in re.sub(r"base64,[\w+/=]+", "", page) and " characters)" in page


def test_the_page_has_what_was_counted_beside(valid: Index, tmp_path: Path) -> None:
    hypotheses = dict.fromkeys(valid.keys.to_pylist(), "a<b")
    others = [OtherEvaluation("a<i>.jsonl", hypotheses)]
    beside = Beside(english=lambda text: text.replace("a", ""), compared=others, seeds=others)
    found = break_down(valid, spoilt(valid), "wer", beside)
    write_evaluation_page(str(tmp_path / "page.html"), "a model", valid, found)
    page = (tmp_path / "page.html").read_text()
    [compared] = found["compared"]
    assert f"{found['english']['wer']:.2%}" in page and "compared with a&lt;i&gt;.jsonl" in page
    assert f"{100 * compared['wer_difference']:+.2f} points" in page
    assert "2 seeds: WER" in page and "a<i>" not in page and compared["changed"][0]["key"] in page
