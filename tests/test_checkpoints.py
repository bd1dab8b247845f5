"""Checkpoints as people have them, through training, evaluation, transcription, the plan and the API."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from conftest import speak
from helpers.checkpoints import (
    LETTERS,
    extractor,
    sound,
    speaking_model,
    stock_text,
    write_letters_processor,
    write_mms,
)
from helpers.training import free_port
from safetensors.torch import load_file
from transformers import Trainer, TrainingArguments, Wav2Vec2ForCTC

from asrscale.api import load_model
from asrscale.common.errors import CliError
from asrscale.evaluate import EvaluateOptions
from asrscale.evaluate import run as evaluate
from asrscale.model.building import build_recognizer
from asrscale.model.language_adapters import adapter_weights
from asrscale.model.model_folders import find_model
from asrscale.model.pretrained import load_recognizer
from asrscale.plan import plan
from asrscale.training.config import train_config
from asrscale.training.plan_options import plan_options
from asrscale.training.run import train
from asrscale.training.watch import Watch
from asrscale.transcribe import TranscribeOptions
from asrscale.transcribe import run as transcribe

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def trainer_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What transformers' Trainer leaves where it is given the feature extractor, as its script for CTC does."""
    out = tmp_path_factory.mktemp("trainer")
    model = speaking_model(len(LETTERS), pad_token_id=LETTERS.index("[PAD]"))
    rows = [{"input_values": torch.randn(8_000), "labels": torch.tensor([1, 2, 3])} for _ in range(4)]
    arguments = TrainingArguments(
        str(out),
        max_steps=2,
        save_steps=2,
        per_device_train_batch_size=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    Trainer(model, arguments, train_dataset=rows, processing_class=extractor()).train()
    assert {path.name for path in out.iterdir()} == {"checkpoint-2"}
    assert not (out / "checkpoint-2" / "vocab.json").exists()
    return out / "checkpoint-2"


def test_a_checkpoint_of_a_trainer_keeps_its_head_or_is_refused(trainer_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"has a trained head of 30 tokens with blank 29 and no vocab\.json"):
        build_recognizer(str(trainer_checkpoint), "abc")
    with pytest.raises(CliError, match=r"has no vocabulary \(vocab\.json\), so it cannot transcribe: if it was fine-"):
        load_recognizer(str(trainer_checkpoint))
    with pytest.raises(CliError, match="has no weights itself: give one of its checkpoints, checkpoint-2"):
        load_recognizer(str(trainer_checkpoint.parent))

    write_letters_processor(tmp_path / "processor")
    whole = Path(shutil.copytree(trainer_checkpoint, tmp_path / "whole"))
    write_letters_processor(whole)
    expected = stock_text(whole, sound())
    assert expected

    def said(folder: Path) -> str:
        soundfile.write(tmp_path / "sound.wav", sound(), 16_000)
        return load_model(folder, device="cpu").transcribe(tmp_path / "sound.wav", show_progress=False).text

    given = build_recognizer(str(trainer_checkpoint), "abc", vocab=str(tmp_path / "processor" / "vocab.json"))
    given.save(tmp_path / "given")
    assert said(tmp_path / "given") == said(whole) == expected

    out = tmp_path / "out"  # where the script has written the processor to the folder above
    shutil.copytree(trainer_checkpoint, out / "checkpoint-2")
    write_letters_processor(out)
    with pytest.warns(UserWarning, match=rf"has no vocab\.json: using that of {out}"):
        assert said(out / "checkpoint-2") == expected


def data_of(shards: Path) -> dict[str, Any]:
    return dict(train=(str(shards / "train"),), valid=(str(shards / "valid"),), wandb="off")


def test_a_run_is_a_model_for_every_command(
    undisturbed: Path, tone_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a start of another run, with its best or with any of its checkpoints."""
    checkpoint = undisturbed / "checkpoints" / "step-00000012"
    soundfile.write(tmp_path / "sound.wav", speak("bad dog", 1), 16_000)
    for model in (undisturbed, checkpoint):
        out = tmp_path / model.name
        evaluate(EvaluateOptions(model=str(model), data=(str(tone_shards / "valid"),), out=str(out)))
        transcribe(TranscribeOptions(model=str(model), audio=(str(tmp_path / "sound.wav"),)))
        plan(plan_options(model=str(model), gpu="rtx3060-12", config="ds_configs/zero2.json"))
    printed = capsys.readouterr()
    assert f"{undisturbed} is a run: using its model, {undisturbed / 'model'}" in printed.err
    [of_model, of_step] = [next((tmp_path / one.name).glob("*.json")) for one in (undisturbed, checkpoint)]
    rates = [json.loads(path.read_text()) for path in (of_model, of_step)]
    assert rates[0]["wer"] == rates[1]["wer"]  # the last step was the best, and the only one that was evaluated

    config = train_config(
        **data_of(tone_shards), model=str(undisturbed), max_steps=1, warmup_steps=0, run=str(tmp_path / "next"),
        learning_rate=1e-9, eval_utterances=4, freeze_feature_encoder=False,
    )  # fmt: skip
    assert train(config, Watch(tmp_path / "next")) == 0
    began = load_file(checkpoint / "model.safetensors")
    ended = load_file(tmp_path / "next" / "model" / "model.safetensors")
    assert all((ended[name] - began[name]).abs().max() < 1e-6 for name in ended)
    assert find_model(str(tmp_path / "next")).weights == str(tmp_path / "next" / "model")


@pytest.fixture(scope="module")
def mms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mms") / "base"
    write_mms(folder)
    return folder


def adapter_flags(mms: Path, run: Path, **flags: Any) -> dict[str, Any]:
    lengths: dict[str, Any] = dict(max_steps=6, warmup_steps=1, batch_seconds=6.0, units_per_step=1)
    lengths |= dict(eval_utterances=4, eval_steps=6, schedule="linear", mask_time_prob=0.65, layerdrop=0.1)
    lengths |= dict(metric="cer")  # which six steps make better, where they do not the WER
    return dict(model=str(mms), language="tr", run=str(run), learning_rate=0.05, **lengths) | flags


@pytest.mark.parametrize("export_adapter", [False, True])
def test_an_adapter_is_trained_and_exported_and_the_base_stays_as_it_is(
    export_adapter: bool, mms: Path, tone_shards: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    given = adapter_flags(mms, run, train_adapter=True, export_adapter=export_adapter)
    assert train(train_config(**data_of(tone_shards), **given), Watch(run)) == 0
    base = Wav2Vec2ForCTC.from_pretrained(mms).state_dict()
    begun = load_file(mms / "adapter.tur.safetensors")
    ended = load_file(run / "model" / "adapter.tur.safetensors")
    assert ended.keys() == begun.keys() and not any(ended[name].equal(begun[name]) for name in ended)
    assert (run / "model" / "model.safetensors").exists() == (not export_adapter)
    loaded = load_recognizer(str(run / "model")).model.state_dict()
    assert all(loaded[name].equal(ended.get(name, weight)) for name, weight in base.items())
    assert train(train_config(**data_of(tone_shards), **given), Watch(run)) == 0  # complete


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.slow
def test_ranks_train_an_adapter_alike_and_go_on_from_its_checkpoint(
    stage: int, mms: Path, tone_shards: Path, tmp_path: Path, run_command: Run
) -> None:
    given = adapter_flags(
        mms, tmp_path / "run", train_adapter=True, config=f"ds_configs/zero{stage}.json", save_steps=2
    )
    flags = [word for name, value in given.items() if name != "run" for word in (f"--{name}", value)]
    data = ["--train", tone_shards / "train", "--valid", tone_shards / "valid", "--wandb", "off"]
    start = ["deepspeed", "--num_gpus", 2, "--master_port", free_port()]
    ended = []
    for name, command in (("one", [sys.executable]), ("two", start)):
        done = run_command(*command, "launch/train.py", *data, *flags, "--run", tmp_path / name)
        assert done.returncode == 0, done.stdout + done.stderr
        ended.append(load_file(tmp_path / name / "model" / "model.safetensors"))
    assert all(torch.allclose(weight, ended[1][name], atol=1e-4) for name, weight in ended[0].items())
    # The newest checkpoint is lost: from the one before, the same end.
    shutil.rmtree(tmp_path / "two" / "checkpoints" / "step-00000004")
    shutil.rmtree(tmp_path / "two" / "model")
    done = run_command(*start, "launch/train.py", *data, *flags, "--run", tmp_path / "two")
    assert done.returncode == 0 and "going on from step 2" in done.stderr, done.stdout + done.stderr
    again = load_file(tmp_path / "two" / "model" / "model.safetensors")
    assert all(torch.allclose(weight, again[name], atol=1e-4) for name, weight in ended[1].items())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            dict(language=None),
            "vocabulary for each of 3 languages: give --language with one of eng, kmr-script_latin, tur",
        ),
        (dict(train_adapter=True, lora_rank=4), "--train_adapter and --lora_rank both say what is trained"),
        (dict(export_adapter=True), "--export_adapter needs --train_adapter: all weights of the model would change"),
        (dict(train_adapter=True, export_adapter=True, push_to_hub="me/x"), "others do not have --model"),
        (dict(revision="v1"), "is no Hugging Face id: leave it out"),
    ],
)
def test_flags_that_cannot_work_are_one_line_before_any_work(
    flags: dict[str, Any], message: str, mms: Path, tone_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    with pytest.raises(CliError, match=message):
        train(train_config(**data_of(tone_shards), **adapter_flags(mms, tmp_path, **flags)), Watch(tmp_path))


def test_the_plan_of_an_adapter_needs_moments_for_it_alone(mms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def planned(**flags: Any) -> dict[str, Any]:
        given = dict(model=str(mms), language="tr", gpu="rtx3060-12", json=True, config="ds_configs/zero2.json")
        plan(plan_options(**given, **flags))
        return json.loads(capsys.readouterr().out)[0]["peak_bytes"]

    adapter, whole = planned(train_adapter=True), planned()
    trained = sum(weight.numel() for weight in adapter_weights(Wav2Vec2ForCTC.from_pretrained(mms)).values())
    assert (
        adapter["optimizer"] == pytest.approx(12 * trained, rel=0.05) and whole["optimizer"] > 5 * adapter["optimizer"]
    )
    with pytest.raises(CliError, match="vocabulary for each of 3 languages: give --language"):
        plan(plan_options(model=str(mms), gpu="rtx3060-12"))
