"""The commands with models of every family, each as small as `tiny`."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from helpers.models import ONE_OF_EACH, save_tiny_twin, stock_model
from helpers.processes import background_commands, ranks_of, wait_for
from helpers.training import HELD, assert_same_run, free_port, hold, is_held, launch, short
from safetensors.torch import load_file
from transformers import AutoModelForCTC, AutoProcessor

from asrscale import evaluate, plan, transcribe
from asrscale.common.errors import CliError
from asrscale.data.index import read_index
from asrscale.data.loader import read_utterances
from asrscale.model.building import build_recognizer
from asrscale.speech.pcm import PCM_SCALE, SAMPLE_RATE_HZ
from asrscale.training.config import train_config
from asrscale.training.run import train
from asrscale.training.watch import Watch

Run = Callable[..., subprocess.CompletedProcess[str]]

OTHERS = [kind for kind in ONE_OF_EACH if kind != "wav2vec2"]
OTHERS += ["conformer rotary", "hubert batch", "adapter", "bert adapter"]
QUICK = ("wavlm", "conformer relative")
STEPS = 4


def quick(kinds: Sequence[str], *more: str) -> list[Any]:
    """Cases of which all but QUICK and `more` are slow, for what is the same in all families."""
    return [kind if kind in (*QUICK, *more) else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "stages"), [(QUICK, (2, 3)), pytest.param(OTHERS, (0, 1, 2, 3), marks=pytest.mark.slow)]
)
def test_two_ranks_train_as_one_at_every_zero_stage(
    kinds: Sequence[str], stages: Sequence[int], tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    for kind in kinds:
        save_tiny_twin(kind, tmp_path / kind)

    def curves(start: Sequence[object], stages: Sequence[int]) -> Any:
        out = tmp_path / f"{len(start)}.json"
        words = [tone_shards, tmp_path, out, ",".join(kinds), ",".join(map(str, stages))]
        done = run_command(*start, "tests/ranks/family_curves.py", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(out.read_text())

    alone = curves([sys.executable], [0])
    found = curves(["torchrun", "--nproc-per-node", 2, "--master-port", free_port()], stages)
    assert len(found) == len(kinds) * len(stages)
    for name, curve in found.items():
        kind, _, _ = name.rpartition(" ")
        expected = alone[f"{kind} 0"]
        assert curve["losses"] == pytest.approx(expected["losses"], rel=1e-4), name
        assert curve["weights"].keys() == expected["weights"].keys()
        for weight, numbers in expected["weights"].items():
            assert curve["weights"][weight] == pytest.approx(numbers, rel=1e-4, abs=1e-3), (name, weight)


@pytest.mark.parametrize("kind", quick(OTHERS))
def test_a_run_goes_on_from_a_checkpoint_bit_for_bit_and_exports_a_stock_model(
    kind: str, tone_shards: Path, tmp_path: Path
) -> None:
    model, folder = save_tiny_twin(kind, tmp_path / "model"), tmp_path / "run"
    flags = short("ds_configs/zero1.json", saves=2, steps=STEPS)
    settings = {str(flag).removeprefix("--"): value for flag, value in zip(flags[::2], flags[1::2], strict=True)}
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),))
    given = data | settings | dict(ledger=True, wandb="off", model=str(model), run=str(folder))
    assert train(train_config(**given), Watch(folder)) == 0
    exported = load_file(folder / "model" / "model.safetensors")
    assert exported.keys() >= AutoModelForCTC.from_pretrained(model).state_dict().keys()
    stock = AutoModelForCTC.from_pretrained(folder / "model")
    assert type(stock) is type(AutoModelForCTC.from_pretrained(model))
    assert all(weight.equal(exported[name]) for name, weight in stock.state_dict().items())
    assert AutoProcessor.from_pretrained(folder / "model").tokenizer.vocab_size == stock.config.vocab_size

    for path in (folder / "model", folder / "checkpoints" / f"step-{STEPS:08d}"):
        shutil.rmtree(path)
    assert train(train_config(**given), Watch(folder)) == 0
    again = load_file(folder / "model" / "model.safetensors")
    assert all(weight.equal(again[name]) for name, weight in exported.items())


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_a_killed_run_goes_on_bit_for_bit(kind: str, tone_shards: Path, tmp_path: Path, run_command: Run) -> None:
    """Two ranks, ZeRO-2."""
    model = save_tiny_twin(kind, tmp_path / "model")
    flags = short("ds_configs/zero2.json", saves=2, steps=STEPS)
    expected, found = tmp_path / "expected", tmp_path / "found"
    done = run_command(*launch(2, tone_shards, expected, *flags, model=model))
    assert done.returncode == 0, done.stdout + done.stderr
    with background_commands() as start:
        attempt = tmp_path / "attempt"
        process = start(launch(2, tone_shards, found, *flags, model=model, script=HELD), **hold(attempt, 3))
        wait_for(is_held(attempt), process)
    wait_for(lambda: not ranks_of(found))
    done = run_command(*launch(2, tone_shards, found, *flags, model=model))
    assert done.returncode == 0 and "going on from step 2" in done.stderr, done.stdout + done.stderr
    assert_same_run(found, expected)


@pytest.mark.parametrize("kind", quick(OTHERS, "hubert", "sew", "bert"))
def test_evaluate_and_transcribe_read_as_stock_transformers_does(
    kind: str, tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each utterance alone there, in padded passes here; the model has learned nothing, so that any change shows."""
    pretrained, folder = save_tiny_twin(kind, tmp_path / "pretrained"), tmp_path / "model"
    build_recognizer(str(pretrained), "abdegiou", seed=1).save(folder)
    stock, processor = AutoModelForCTC.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)

    def read(waveform: np.ndarray) -> str:
        inputs = processor(waveform.astype(np.float32), sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
        with torch.no_grad():
            [text] = processor.batch_decode(stock(**inputs).logits.argmax(-1))
        return " ".join(text.replace("[UNK]", "⁇").split())

    valid = tone_shards / "valid"
    evaluate.run(evaluate.EvaluateOptions(model=str(folder), data=(str(valid),), out=str(tmp_path / "eval")))
    rows = [json.loads(line) for line in next((tmp_path / "eval").glob("*.jsonl")).read_text().splitlines()]
    index = read_index([str(valid)])
    with ThreadPoolExecutor(1) as pool:
        clips, _damaged = read_utterances(index, np.arange(len(index)), pool)
    texts = {key: read(clips[number] / PCM_SCALE) for number, key in enumerate(index.keys.to_pylist())}
    assert len(set(texts.values())) > 1
    assert {row["key"]: row["hypothesis"] for row in rows} == texts

    capsys.readouterr()
    soundfile.write(tmp_path / "a.wav", clips[0], SAMPLE_RATE_HZ)
    soundfile.write(tmp_path / "long.wav", np.tile(clips[0], 30), SAMPLE_RATE_HZ)
    transcribe.run(transcribe.TranscribeOptions(model=str(folder), audio=tuple(map(str, tmp_path.glob("*.wav")))))
    lines = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert lines[str(tmp_path / "a.wav")] == texts[index.keys[0].as_py()]
    assert len(lines[str(tmp_path / "long.wav")]) > 5 * len(lines[str(tmp_path / "a.wav")])


@pytest.mark.parametrize("kind", quick(ONE_OF_EACH, "sew"))
def test_every_family_is_planned_for(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stock_model(kind).config.save_pretrained(tmp_path)
    plan.plan(plan.plan_options(model=str(tmp_path), gpu="rtx3060-12", activation_checkpointing=1, json=True))
    ways = json.loads(capsys.readouterr().out)
    assert ways and all(way["cap_seconds"] > 20 for way in ways)


@pytest.mark.parametrize("model_type", ["whisper", "parakeet_ctc", "sew-d", "speecht5", "no_such_model"])
def test_a_model_of_another_kind_is_refused_in_one_line_that_names_those_that_are_taken(
    model_type: str, tone_shards: Path, tmp_path: Path
) -> None:
    """Before any work: no weight is looked for."""
    model = tmp_path / "model"
    model.mkdir()
    settings = {"model_type": model_type, "auto_map": {"AutoConfig": "evil.Config"}}
    (model / "config.json").write_text(json.dumps(settings))
    message = rf"^--model \S+ is a {model_type} model: choose one of wav2vec2, wav2vec2-conformer, hubert, wavlm, "
    data = dict(train=(str(tone_shards / "train"),), valid=(str(tone_shards / "valid"),))
    for command in (
        lambda: train(train_config(**data, model=str(model), run=str(tmp_path / "run")), Watch(tmp_path)),
        lambda: plan.plan(plan.plan_options(model=str(model))),
        lambda: evaluate.run(evaluate.EvaluateOptions(model=str(model), data=data["valid"])),
        lambda: transcribe.run(transcribe.TranscribeOptions(model=str(model), audio=("a.wav",))),
    ):
        with pytest.raises(CliError, match=message):
            command()
