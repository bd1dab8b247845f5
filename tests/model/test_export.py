import json
import os
import stat
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import soundfile
import torch
from conftest import speak
from helpers.checkpoints import sound, stock_text, write_mms
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCTC, AutoProcessor

from asrscale.model.building import build_recognizer
from asrscale.model.export import export_model, has_card, read_provenance, withdraw_card, write_provenance
from asrscale.model.forward import forward_logits
from asrscale.model.freezing import freeze_feature_encoder
from asrscale.model.recognizer import Recognizer


@pytest.fixture(scope="module")
def trained() -> Recognizer:
    """A model whose every trained weight has left its random start."""
    recognizer = build_recognizer("tiny", "abc", seed=1)
    freeze_feature_encoder(recognizer.model)
    optimizer = torch.optim.AdamW(p for p in recognizer.model.parameters() if p.requires_grad)
    recognizer.model(torch.randn(1, 16_000)).logits.square().mean().backward()
    optimizer.step()
    return recognizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_export_is_complete_and_stock_transformers_computes_the_same(
    dtype: torch.dtype, trained: Recognizer, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    export_model(deepcopy(trained), folder, dtype)
    weights, expected = load_file(folder / "model.safetensors"), trained.model.state_dict()
    assert weights.keys() == expected.keys()
    assert all(value.dtype == dtype and value.equal(expected[name].to(dtype)) for name, value in weights.items())

    stock, processor = AutoModelForCTC.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    assert stock.dtype == dtype
    pcm = torch.randint(-9000, 9000, (1, 16_000), dtype=torch.int16, generator=torch.Generator().manual_seed(0))
    inputs = processor(pcm[0].numpy() / 32768.0, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        theirs = stock(inputs.input_values.to(dtype)).logits
        trained.model.eval()
        ours = forward_logits(trained.model, trained, pcm, torch.tensor([16_000]))
    tolerance = 1e-5 if dtype == torch.float32 else 0.05  # bf16 keeps 8 bits of each of some dozen sums
    assert (theirs - ours).abs().max() < tolerance * ours.abs().max()
    text = "a bag isn't it"
    ids = processor.tokenizer(text).input_ids
    assert ids == trained.vocabulary.encode(text) and trained.vocabulary.unknown_id not in ids
    assert processor.tokenizer.decode(ids, group_tokens=False) == text

    assert not has_card(folder)
    (folder / "README.md").touch()
    assert has_card(folder) and not has_card(tmp_path / "nowhere")


@pytest.mark.parametrize(("fault", "message"), [("drop", "missing or foreign weights"), ("round", "not written as it")])
def test_an_export_that_differs_from_the_model_is_never_kept(
    fault: str, message: str, trained: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Recognizer.save

    def faulty(self: Recognizer, folder: Path) -> None:
        original(self, folder)
        weights = load_file(folder / "model.safetensors")
        if fault == "drop":
            del weights["lm_head.bias"]
        else:
            weights["lm_head.weight"] = weights["lm_head.weight"].bfloat16().float()
        save_file(weights, folder / "model.safetensors")

    monkeypatch.setattr(Recognizer, "save", faulty)
    with pytest.raises(RuntimeError, match=message):
        export_model(deepcopy(trained), tmp_path / "model", torch.float32)
    assert not (tmp_path / "model").exists()


def test_a_folder_that_exists_is_replaced_as_a_whole(trained: Recognizer, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "left.by.a.kill").touch()
    export_model(deepcopy(trained), folder, torch.float32)
    (folder / "README.md").touch()
    export_model(deepcopy(trained), folder, torch.bfloat16)
    assert not has_card(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert not (folder / "left.by.a.kill").exists()


def test_a_folder_says_which_weights_it_holds_as_long_as_it_holds_them(trained: Recognizer, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    assert read_provenance(folder) is None
    export_model(deepcopy(trained), folder, torch.bfloat16)
    assert read_provenance(folder) is None
    compared = {"best": {"8": "def"}, "average": {"16": "ghi", "24": "abc"}}
    write_provenance(
        folder, step=24, checkpoint_sha256="abc", dtype=torch.bfloat16, weights="average", compared=compared
    )
    found = read_provenance(folder)
    assert found is not None
    assert (found.step, found.checkpoint_sha256) == (24, "abc")
    assert (found.weights, found.compared) == ("average", compared)
    assert found.dtype == json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"

    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert read_provenance(folder) is None
    weights.write_bytes(whole)
    assert read_provenance(folder) == found
    for damaged in ("{", "[]", '{"step": 1}'):
        (folder / "provenance.json").write_text(damaged)
        assert read_provenance(folder) is None


def test_a_finished_folder_can_be_made_unfinished(tmp_path: Path) -> None:
    withdraw_card(tmp_path / "nowhere")
    (tmp_path / "README.md").touch()
    withdraw_card(tmp_path)
    assert not has_card(tmp_path)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_who_may_read_an_export_says_the_umask(umask: int, mode: int, trained: Recognizer, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        export_model(deepcopy(trained), tmp_path / "model", torch.float32)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "model").iterdir()}
    assert set(modes.values()) == {mode}, modes
    assert {"model.safetensors", "preprocessor_config.json", "processor_config.json"} <= modes.keys()


# What each wants of others, without what asrscale needs newer: torch and numpy are those of this environment.
VERSIONS = {
    "4.40.2": ["tokenizers==0.19.1", "huggingface_hub==0.23.5", "safetensors==0.4.5"],
    "4.49.0": ["tokenizers==0.21.0", "huggingface_hub==0.27.1", "safetensors==0.4.5"],
    "newest": [],
}
READ = """
import sys, soundfile, torch, transformers
folder, wav = sys.argv[1:]
processor = transformers.AutoProcessor.from_pretrained(folder)
model = transformers.AutoModelForCTC.from_pretrained(folder).eval()
audio, rate = soundfile.read(wav, dtype="float32")
inputs = processor(audio, sampling_rate=rate, return_tensors="pt")
print(transformers.__version__)
print(processor.decode(model(inputs.input_values).logits[0].argmax(-1)))
recognise = transformers.pipeline("automatic-speech-recognition", folder)
print(recognise({"raw": audio, "sampling_rate": rate})["text"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_folder_has_its_text_in_old_and_new_transformers(
    version: str, tone_recognizer: Recognizer, tmp_path: Path
) -> None:
    packages = ["transformers" if version == "newest" else f"transformers=={version}", *VERSIONS[version]]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "packages", *packages]
    if subprocess.run(pip, capture_output=True).returncode:
        pytest.skip("packages cannot be installed here")
    tone_recognizer.save(tmp_path / "tones")
    soundfile.write(tmp_path / "tones.wav", speak("bad dog big age", 1), 16_000)
    write_mms(tmp_path / "mms")
    build_recognizer(str(tmp_path / "mms"), "", language="tr").save(tmp_path / "turkish")
    soundfile.write(tmp_path / "turkish.wav", sound(), 16_000)
    for name, expected in (("tones", "bad dog big age"), ("turkish", stock_text(tmp_path / "turkish", sound()))):
        done = subprocess.run(
            [sys.executable, "-c", READ, tmp_path / name, tmp_path / f"{name}.wav"],
            env=os.environ | {"PYTHONPATH": str(tmp_path / "packages")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        found, *texts = done.stdout.splitlines()[-3:]
        assert version in ("newest", found)
        assert [text.replace("<s>", "⁇").replace("</s>", "⁇").replace("<unk>", "⁇") for text in texts] == [expected] * 2


def test_planted_links_lead_an_export_nowhere(trained: Recognizer, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "README.md").write_text("mine")
    (tmp_path / "model.partial").symlink_to(victim)
    (tmp_path / "model").symlink_to(victim)
    withdraw_card(tmp_path / "model")
    (tmp_path / "model").symlink_to(victim)
    export_model(trained, tmp_path / "model", torch.float32)
    assert [path.name for path in victim.iterdir()] == ["README.md"]
    assert (tmp_path / "model/config.json").is_file() and not (tmp_path / "model").is_symlink()
