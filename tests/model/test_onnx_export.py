"""Models as ONNX, read by onnxruntime, onnx-asr and sherpa-onnx."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import sherpa_onnx
import torch
from helpers.models import WITH_STEM, noise, stock_model
from onnx_asr.asr import _AsrWithCtcDecoding
from transformers import AutoModelForCTC

from asrscale.common.errors import CliError
from asrscale.model import onnx_export
from asrscale.model.building import build_recognizer
from asrscale.model.forward import count_frames, forward_logits, greedy_texts
from asrscale.model.onnx_export import OnnxFiles, export_onnx, token_names
from asrscale.model.onnx_forward import OnnxForward
from asrscale.model.padding import make_padding_invariant
from asrscale.model.pretrained import load_recognizer
from asrscale.model.processors import new_processor
from asrscale.model.recognizer import Recognizer
from asrscale.speech.vocabulary import Vocabulary, build_vocabulary

LENGTHS = (16_000, 23_456, 9_001)


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    """`tiny` of random weights whose output has letters in every frame."""
    folder = tmp_path_factory.mktemp("talkative")
    random = build_recognizer("tiny", "abcdefghijklmnopqrstuvwxyz", seed=4)
    with torch.no_grad():
        random.model.lm_head.weight.mul_(30)
    random.save(folder)
    return load_recognizer(str(folder))


@pytest.fixture(scope="module")
def written(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> OnnxFiles:
    return export_onnx(recognizer, tmp_path_factory.mktemp("written") / "onnx", int8=True)


@pytest.fixture(scope="module")
def texts(recognizer: Recognizer) -> list[str]:
    """What the model says to noise of LENGTHS."""
    return texts_by(recognizer, recognizer.model)


def texts_by(recognizer: Recognizer, forward: Any) -> list[str]:
    waveforms, num_samples = noise(*LENGTHS)
    with torch.no_grad():
        logits = forward_logits(forward, recognizer, waveforms, num_samples)
    return greedy_texts(recognizer, logits, count_frames(recognizer.model, num_samples))


def test_onnxruntime_says_what_torch_says_of_any_batch(
    recognizer: Recognizer, written: OnnxFiles, texts: list[str]
) -> None:
    assert len(set(texts)) == 3 and min(map(len, texts)) > 5
    assert written.max_difference <= 1e-4
    assert texts_by(recognizer, OnnxForward(written.folder / "model.onnx")) == texts


def test_others_decode_no_letter_behind_an_utterance(written: OnnxFiles, recognizer: Recognizer) -> None:
    """onnx-asr decodes up to two frames more than there are."""
    session = onnxruntime.InferenceSession(written.folder / "model.onnx")
    waveforms, num_samples = noise(*LENGTHS)
    feed = {"input_values": waveforms.numpy() / np.float32(32_768), "input_lengths": num_samples.numpy()}
    [log_probabilities] = session.run(["logprobs"], feed)
    assert np.allclose(np.exp(log_probabilities).sum(-1), 1, atol=1e-5)
    frames = count_frames(recognizer.model, num_samples).tolist()
    assert max(frames) == log_probabilities.shape[1] > min(frames)
    for row, count in zip(log_probabilities, frames, strict=True):
        assert (row[count:].argmax(-1) == recognizer.vocabulary.blank_id).all()


class Wav2Vec2CtcOfOnnxAsr(_AsrWithCtcDecoding):
    """The reader that onnx-asr has in its repository, not yet in a release: it calls the graph so.

    Vocabulary and decoding are those of the release.
    """

    def __init__(self, folder: Path) -> None:
        files = {"vocab": folder / "vocab.txt", "config": folder / "config.json"}
        super().__init__(files, lambda _: lambda *waveforms_and_lengths: waveforms_and_lengths, {})
        self.session = onnxruntime.InferenceSession(folder / "model.onnx")

    _preprocessor_name = "identity"

    @staticmethod
    def _get_model_files(quantization: str | None = None) -> dict[str, str]:
        return {}

    @property
    def _subsampling_factor(self) -> int:
        return int(self.config["subsampling_factor"])

    def _encode(self, features: Any, features_lens: Any) -> Any:
        feed = {"input_values": features, "input_lengths": features_lens}
        [log_probabilities] = self.session.run(["logprobs"], feed)
        counts = np.minimum(features_lens // self._subsampling_factor + 1, log_probabilities.shape[1])
        return log_probabilities, counts


def test_onnx_asr_reads_the_same_text(written: OnnxFiles, texts: list[str]) -> None:
    config = json.loads((written.folder / "config.json").read_text())
    assert config == {"model_type": "wav2vec2-ctc", "subsampling_factor": 480}
    reader = Wav2Vec2CtcOfOnnxAsr(written.folder)
    waveforms, num_samples = noise(*LENGTHS)
    found = reader.recognize_batch(waveforms.numpy() / np.float32(32_768), num_samples.numpy())
    # It joins what stands before a letter only: of " 'n", it drops the space.
    joined = [re.sub(r" (?=\W)", "", text) for text in texts]
    assert [" ".join(result.text.split()) for result in found] == joined


def test_sherpa_onnx_reads_the_same_text(recognizer: Recognizer, written: OnnxFiles, texts: list[str]) -> None:
    reader = sherpa_onnx.OfflineRecognizer.from_omnilingual_asr_ctc(
        model=str(written.folder / "sherpa-model.onnx"), tokens=str(written.folder / "tokens.txt")
    )
    waveforms, num_samples = noise(*LENGTHS)
    found = []
    for waveform, length in zip(waveforms.numpy(), num_samples.tolist(), strict=True):
        stream = reader.create_stream()
        stream.accept_waveform(16_000, waveform[:length] / np.float32(32_768))
        reader.decode_stream(stream)
        found.append(" ".join(stream.result.text.split()))
    assert found == texts


def test_8_bits_are_fewer_bytes_and_nearly_the_same(recognizer: Recognizer, written: OnnxFiles) -> None:
    sizes = [(written.folder / f"{name}.data").stat().st_size for name in written.files]
    assert sizes[1] < 0.6 * sizes[0]
    kinds = {
        node.op_type for node in onnx.load(written.folder / "model.int8.onnx", load_external_data=False).graph.node
    }
    assert "MatMulInteger" in kinds and "ConvInteger" not in kinds  # onnxruntime's CPU kernels lack the latter
    waveforms, num_samples = noise(*LENGTHS)
    exact, rounded = (
        forward_logits(OnnxForward(written.folder / name), recognizer, waveforms, num_samples) for name in written.files
    )
    assert 0 < (exact.exp() - rounded.exp()).abs().mean() < 0.02


def test_what_computes_something_else_is_not_kept(
    written: OnnxFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if the exporter were wrong: it gives the graph of another model."""
    folder = tmp_path / "onnx"
    folder.mkdir()
    (folder / "model.onnx").write_text("an older one")
    monkeypatch.setattr(onnx_export, "trace_graph", lambda _: onnx_ir.load(written.folder / "model.onnx"))
    other = build_recognizer("tiny", "abcdefghijklmnopqrstuvwxyz", seed=5)
    other.model.eval()
    with pytest.raises(CliError, match=r"model\.onnx: its log-probabilities differ from torch's .*: not written"):
        export_onnx(other, folder, int8=False)
    assert (folder / "model.onnx").read_text() == "an older one" and list(tmp_path.iterdir()) == [folder]


def test_a_missing_package_is_said_first(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else True)
    with pytest.raises(CliError, match=r"^writing ONNX needs onnxscript: pip install 'asrscale\[onnx\]'$"):
        export_onnx(recognizer, tmp_path / "onnx", int8=False)
    assert not list(tmp_path.iterdir())


def test_tokens_have_the_names_that_readers_know() -> None:
    tokens = ("<pad>", "<s>", "</s>", "<unk>", "|", "E", "T")
    vocabulary = Vocabulary(tokens, "<pad>", "<unk>", "|", special=("<s>", "</s>"), lower_cased=True)
    assert token_names(vocabulary) == ["<blk>", "⁇", "</s>", "<unk>", "▁", "e", "t"]


def test_every_token_has_a_name_of_its_own_that_a_line_can_hold() -> None:
    tokens = ("[PAD]", "|", "[UNK]", " ", "a b", "<blk>", "▁", "ab\n", "ab", "E", "e")
    names = token_names(Vocabulary(tokens, lower_cased=True))
    assert names == ["<blk>", "▁", "⁇", "<3>", "<4>", "<5>", "<6>", "ab", "<8>", "e", "<10>"]


def test_a_folder_with_anything_else_is_never_replaced(recognizer: Recognizer, tmp_path: Path) -> None:
    recognizer.save(tmp_path / "model")
    before = sorted(path.name for path in (tmp_path / "model").iterdir())
    with pytest.raises(CliError, match=r"model holds other files, such as model.safetensors: choose a new folder"):
        export_onnx(recognizer, tmp_path / "model", int8=False)
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == before
    assert list(tmp_path.iterdir()) == [tmp_path / "model"]


def recognizer_of(kind: str) -> Recognizer:
    """A small model of a family, as if trained."""
    vocabulary = build_vocabulary("abcdefghijklmnopqrstuvwxyz")
    model = make_padding_invariant(stock_model(kind, vocab_size=len(vocabulary.tokens))).eval()
    return Recognizer(model, new_processor(vocabulary, model.config), vocabulary)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WITH_STEM)
def test_every_family_with_a_stem_is_written(kind: str, tmp_path: Path) -> None:
    recognizer = recognizer_of(kind)
    written = export_onnx(recognizer, tmp_path / "onnx", int8=False)
    assert texts_by(recognizer, OnnxForward(written.folder / "model.onnx")) == texts_by(recognizer, recognizer.model)


def test_a_family_without_a_stem_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"^wav2vec2-bert takes log-mel features, and only models that take waveforms"):
        export_onnx(recognizer_of("bert"), tmp_path / "onnx", int8=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_waveforms_that_are_not_normalised_have_no_file_for_sherpa(tmp_path: Path) -> None:
    """Also shows that the folder itself stays what stock transformers loads."""
    folder = tmp_path / "model"
    made = recognizer_of("wav2vec2")
    made.processor.feature_extractor.do_normalize = False
    made.save(folder)
    recognizer = load_recognizer(str(folder))
    written = export_onnx(recognizer, folder / "onnx", int8=False)
    assert not written.is_for_sherpa and not list(written.folder.glob("sherpa*"))
    assert texts_by(recognizer, OnnxForward(written.folder / "model.onnx")) == texts_by(recognizer, recognizer.model)
    assert AutoModelForCTC.from_pretrained(folder).num_parameters() == recognizer.model.num_parameters()
