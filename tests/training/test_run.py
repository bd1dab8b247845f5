"""Settings and data that are refused before any work; tests/test_train.py runs trainings."""

import json
from pathlib import Path

import pytest
from helpers.sharding import write_clip

from asrscale import __version__
from asrscale.common.errors import CliError
from asrscale.corpus.build import build
from asrscale.corpus.build_options import ShardOptions
from asrscale.data.index import read_index
from asrscale.evaluate import EvaluateOptions
from asrscale.evaluate import run as run_evaluation
from asrscale.training.config import train_config
from asrscale.training.run import train
from asrscale.training.watch import Watch


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (dict(memory_cap_seconds=0.3), "--memory_cap_seconds 0.3 is below the longest utterance, LONGEST: raise it"),
        (dict(config="nowhere.json"), "--config nowhere.json: No such file"),
        (dict(config="Makefile"), "--config Makefile is not valid JSON"),
        (dict(precision="fp16"), "--precision fp16 needs a GPU"),
        (dict(train=("nowhere",)), "nowhere: no such folder"),
        (dict(model="nowhere"), "--model nowhere: no such folder"),
        (dict(precision="bf16", config="ds_configs/zero0.json"), "use ds_configs/zero1.json"),
    ],
)
def test_bad_settings_end_before_any_work(
    given: dict[str, object], message: str, tone_shards: Path, tmp_path: Path
) -> None:
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),), model="tiny")
    with pytest.raises(CliError) as caught:
        train(train_config(**data | dict(run=str(tmp_path / "run")) | given), Watch(tmp_path))
    index = read_index([str(tone_shards / "train")])
    longest = int(index.num_samples.argmax())
    named = f"{index.num_samples[longest] / 16_000:.1f} s in {index.name(longest)}"
    assert message.replace("LONGEST", named) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_characters_decide_from_a_chinese_table_to_the_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentences = ["你好。世界", "今天天气很好!", "我喜欢学习。也喜欢读书。", "谢谢你"]
    rows = [f"{number}.wav,{sentence}" for number, sentence in enumerate(sentences)]
    for number in range(len(rows)):
        write_clip(tmp_path / f"{number}.wav", seconds=1.5, rate_hz=16_000)
    table = tmp_path / "zh.csv"
    table.write_text("\n".join(["filename,text", *rows]), encoding="utf-8")
    shards = tmp_path / "shards"
    csv = (f"train={table}", f"valid={table}")
    assert build(ShardOptions(csv=csv, out=str(shards), audio_root=(str(tmp_path),), workers=1)) is None
    run = tmp_path / "run"
    given = dict(train=(str(shards / "train"),), valid=(str(shards / "valid"),), model="tiny", wandb="off")
    given |= dict(run=str(run), max_steps=2, eval_steps=1, warmup_steps=0)
    assert train(train_config(**given), Watch(run)) == 0
    printed = capsys.readouterr()
    assert "CER decides: 100% of the letters of the references are of scripts without spaces" in printed.err
    names = [line.split(":")[0] for line in printed.err.splitlines()]
    opening = names.index(f"asrscale {__version__}, run folder {run}")
    assert names[opening + 1 : opening + 3] == ["model", "data"] and {"run", "memory"} <= set(names[opening:])
    [header] = [line.split() for line in printed.out.splitlines() if line.startswith("data ")]
    assert "step 1: CER " in printed.err and header[3:5] == ["CER", "WER"]
    assert json.loads((run / "config.json").read_text())["metric"] == "cer"
    card = (run / "model" / "README.md").read_text()
    assert card.index("| character error rate |") < card.index("| word error rate |")
    with pytest.raises(CliError, match="was started with --metric cer, not wer: go on with the old value"):
        train(train_config(**given, metric="wer"), Watch(run))
    capsys.readouterr()
    run_evaluation(EvaluateOptions(model=str(run / "model"), data=(str(shards / "valid"),)))
    assert capsys.readouterr().out.split()[3:5] == ["CER", "WER"]
    found = json.loads((run / "eval" / "shards-valid.json").read_text())
    assert found["metric"] == "cer" and found["utterances"] == 4
