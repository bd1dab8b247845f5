import json
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import speak
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoProcessor, Wav2Vec2Config, Wav2Vec2ForCTC, Wav2Vec2ForPreTraining

from asrscale.common.errors import CliError
from asrscale.model.building import build_recognizer, move_head
from asrscale.model.forward import count_frames, ctc_losses, forward_logits, greedy_texts
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.padding import MaskedGroupNorm, make_padding_invariant
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer, describe
from asrscale.results.metrics import count_errors
from asrscale.speech.pcm import to_pcm16
from asrscale.speech.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def tiny() -> Recognizer:
    recognizer = build_recognizer("tiny", "abc", seed=3)
    recognizer.model.eval()
    return recognizer


def noise(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """int16 (B, T) padded with zeros, and (B,) lengths."""
    rng = np.random.default_rng(0)
    waveforms = torch.zeros(len(lengths), max(lengths), dtype=torch.int16)
    for row, length in enumerate(lengths):
        waveforms[row, :length] = torch.from_numpy(rng.integers(-3000, 3000, length, dtype=np.int16))
    return waveforms, torch.tensor(lengths)


def test_the_same_seed_gives_the_same_weights(tiny: Recognizer) -> None:
    again, other = build_recognizer("tiny", "abc", seed=3), build_recognizer("tiny", "abc", seed=4)
    name = "wav2vec2.encoder.layers.0.attention.k_proj.weight"
    assert torch.equal(tiny.model.state_dict()[name], again.model.state_dict()[name])
    assert not torch.equal(tiny.model.state_dict()[name], other.model.state_dict()[name])


def test_head_tokenizer_and_vocabulary_agree(tiny: Recognizer) -> None:
    assert tiny.model.lm_head.out_features == len(tiny.processor.tokenizer) == len(tiny.vocabulary.tokens)
    assert tiny.processor.tokenizer.get_vocab() == {token: i for i, token in enumerate(tiny.vocabulary.tokens)}
    text = "hello it's a dog"
    assert tiny.processor.tokenizer(text).input_ids == tiny.vocabulary.encode(text)


SMALL = dict(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=[16] * 7,
    num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, vocab_size=30, pad_token_id=29,
)  # fmt: skip
FAMILIES = {
    "group": dict(feat_extract_norm="group", do_stable_layer_norm=False),  # base, base-960h, large-960h
    "layer": dict(feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True),  # lv60, XLSR, XLS-R
}
SLICED = {(90_000, 48_000, 9_000): 3, (48_000, 64_000, 70_000, 9_000, 800): 3, (9_000, 16_000): 1}  # lengths: slices


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_change_logits_and_alone_they_are_stock(family: str, tiny: Recognizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    stock = Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **FAMILIES[family])).eval()
    stem = stock.wav2vec2.feature_extractor.conv_layers[0].layer_norm
    torch.nn.init.normal_(stem.weight), torch.nn.init.normal_(stem.bias)  # as if trained
    Recognizer(stock, tiny.processor, tiny.vocabulary).save(tmp_path / "stock")
    ours = load_recognizer(str(tmp_path / "stock"))
    waveforms, lengths = noise(48_000, 16_000, 9_000)
    logits = forward_logits(ours.model, ours, waveforms, lengths)
    frames = count_frames(ours.model, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = forward_logits(ours.model, ours, waveforms[row : row + 1, :length], lengths[row : row + 1])
        inputs = ours.processor(waveforms[row, :length].numpy() / 32768.0, sampling_rate=16_000, return_tensors="pt")
        expected = stock(inputs.input_values.float()).logits
        assert torch.allclose(alone, expected, atol=1e-5)
        assert torch.allclose(logits[row, : frames[row]], alone[0], atol=1e-4 * alone.abs().max().item())
    ours.save(tmp_path / "again")
    again = Wav2Vec2ForCTC.from_pretrained(tmp_path / "again").state_dict()
    assert again.keys() == stock.state_dict().keys()
    assert all(torch.equal(value, again[name]) for name, value in stock.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_frozen_stem_in_slices_changes_no_logit(family: str, tiny: Recognizer) -> None:
    """Slices of one, two and all utterances of a padded pass, and the stem as a whole."""
    torch.manual_seed(0)
    model = make_padding_invariant(Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **FAMILIES[family])).eval())
    ours = Recognizer(model, tiny.processor, tiny.vocabulary)
    whole = {lengths: forward_logits(model, ours, *noise(*lengths)) for lengths in SLICED}
    calls = []
    model.wav2vec2.feature_extractor.conv_layers[0].register_forward_hook(lambda *_: calls.append(1))
    freeze_feature_encoder(model)
    for lengths, slices in SLICED.items():
        calls.clear()
        logits = forward_logits(model, ours, *noise(*lengths))
        assert len(calls) == slices
        assert torch.allclose(logits, whole[lengths], atol=1e-6, rtol=0)


def test_stock_group_norm_does_depend_on_padding() -> None:
    """What MaskedGroupNorm is for: without it the same utterance has other logits in a batch."""
    torch.manual_seed(0)
    stock = Wav2Vec2ForCTC(Wav2Vec2Config(**SMALL, **FAMILIES["group"])).eval()
    waveform = torch.randn(1, 16_000)
    padded = torch.nn.functional.pad(waveform, (0, 32_000))
    alone, in_batch = stock(waveform).logits, stock(padded).logits[:, :49]
    assert (alone - in_batch).abs().max().item() > 0.05 * alone.abs().max().item()


def test_frames_are_counted_alike(tiny: Recognizer) -> None:
    lengths = np.array([9_000, 16_000, 16_001, 123_456])
    ours = tiny.stem.num_frames(lengths)
    assert ours.tolist() == count_frames(tiny.model, torch.from_numpy(lengths)).tolist()


def test_ctc_equals_float64_and_is_divided_by_label_length() -> None:
    torch.manual_seed(0)
    logits, frames = torch.randn(3, 20, 6), torch.tensor([20, 15, 9])
    labels, num_labels = torch.tensor([[1, 2, 2], [3, 1, -100], [4, -100, -100]]), torch.tensor([3, 2, 1])
    losses = ctc_losses(logits, frames, labels, num_labels, blank=5)
    for row in range(3):
        log_probs = logits[row : row + 1, : frames[row]].double().log_softmax(-1).transpose(0, 1)
        expected = torch.nn.functional.ctc_loss(
            log_probs, labels[row : row + 1], frames[row : row + 1], num_labels[row : row + 1], blank=5, reduction="sum"
        )
        assert losses[row].item() == pytest.approx(expected.item() / num_labels[row].item(), rel=1e-5)


def test_in_bf16_the_waveform_is_normalised_in_fp32() -> None:
    """A quiet recording with an offset, of which bf16 would lose most bits."""
    recognizer = build_recognizer("tiny", "abc", seed=3)
    quiet = (1_600 + noise(48_000)[0] // 20).short()
    logits = []
    for dtype in (torch.float32, torch.bfloat16):
        recognizer.model.to(dtype).eval()
        logits.append(forward_logits(recognizer.model, recognizer, quiet, torch.tensor([48_000])).float())
    error = (logits[1] - logits[0]).square().mean().sqrt() / logits[0].std()
    assert error < 0.03, error


def test_in_bf16_a_group_norm_has_its_statistics_in_fp32() -> None:
    torch.manual_seed(0)
    norm, stock = MaskedGroupNorm(4, 4), torch.nn.GroupNorm(4, 4).double()
    x = (3 + torch.randn(1, 4, 3_000)).bfloat16()
    norm.num_frames = torch.tensor([2_000])
    expected = stock(x[..., :2_000].double())
    assert torch.allclose(norm.bfloat16()(x)[..., :2_000].double(), expected, rtol=2**-8, atol=1e-4)


def test_ctc_of_bf16_logits_is_computed_in_fp32() -> None:
    torch.manual_seed(0)
    logits, lengths = (
        torch.randn(1, 20, 6).bfloat16(),
        (torch.tensor([20]), torch.tensor([[1, 2, 2]]), torch.tensor([3])),
    )
    losses = ctc_losses(logits, *lengths, blank=5)
    assert losses.dtype == torch.float32 and losses.equal(ctc_losses(logits.float(), *lengths, blank=5))


def test_greedy_text_is_cut_to_true_length(tiny: Recognizer) -> None:
    tokens, blank = tiny.vocabulary.tokens, tiny.vocabulary.blank_id
    path = [tokens.index(token) for token in "hheel"] + [blank] + [tokens.index(token) for token in "lo|x"]
    logits = torch.nn.functional.one_hot(torch.tensor([path]), len(tokens)).float()
    assert greedy_texts(tiny, logits, torch.tensor([9])) == ["hello"]
    assert greedy_texts(tiny, logits, torch.tensor([10])) == ["hello x"]


def test_a_saved_folder_is_stock_and_comes_back(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    again = load_recognizer(str(tmp_path / "model"))
    assert again.vocabulary == tiny.vocabulary
    stock = Wav2Vec2ForCTC.from_pretrained(tmp_path / "model").state_dict()
    assert all(torch.equal(value, stock[name]) for name, value in tiny.model.state_dict().items())
    assert AutoProcessor.from_pretrained(tmp_path / "model").tokenizer.get_vocab()["a"] == 1


def test_a_fine_tuned_checkpoint_keeps_its_vocabulary_and_head(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    again = build_recognizer(str(tmp_path / "model"), "xyzé", seed=9)
    assert again.vocabulary == tiny.vocabulary
    assert torch.equal(again.model.lm_head.weight, tiny.model.lm_head.weight)


def test_a_pretrained_checkpoint_gets_a_new_head(tmp_path: Path) -> None:
    config = Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=[16] * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, layerdrop=0.1, 
        codevector_dim=16, proj_codevector_dim=16,
    )  # fmt: skip
    pretrained = Wav2Vec2ForPreTraining(config)
    pretrained.save_pretrained(tmp_path)
    recognizer = build_recognizer(str(tmp_path), "abcé", seed=1)
    assert recognizer.model.config.layerdrop == 0.0
    assert recognizer.model.lm_head.out_features == len(recognizer.vocabulary.tokens)
    assert "é" in recognizer.vocabulary.tokens
    name = "encoder.layers.0.attention.k_proj.weight"
    assert torch.equal(recognizer.model.wav2vec2.state_dict()[name], pretrained.wav2vec2.state_dict()[name])


def test_freezing_and_checkpointing_leave_the_other_gradients_alone(tiny: Recognizer) -> None:
    gradients = []
    for enabled in (False, True):
        recognizer = build_recognizer("tiny", "abc", seed=3)
        freeze_feature_encoder(recognizer.model)
        if enabled:
            checkpoint_activations(recognizer.model)
        recognizer.model.train()
        waveforms, lengths = noise(16_000, 9_000)
        forward_logits(recognizer.model, recognizer, waveforms, lengths).square().mean().backward()
        gradients.append({name: p.grad for name, p in recognizer.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    assert not any("feature_extractor" in name for name in gradients[0])
    assert all(torch.allclose(gradients[0][name], gradients[1][name], atol=1e-7) for name in gradients[0])
    trainable = describe(recognizer)["trainable_parameters"]
    assert 0 < trainable < describe(recognizer)["parameters"]


def spoken(recognizer: Recognizer) -> tuple[list[str], float]:
    """The texts of some noise, and its loss for a fixed sentence."""
    waveforms, lengths = noise(16_000, 24_000)
    logits = forward_logits(recognizer.model, recognizer, waveforms, lengths)
    frames = count_frames(recognizer.model, lengths)
    ids = [recognizer.vocabulary.encode(text) for text in ("cab it's", "a bee is")]
    losses = ctc_losses(logits, frames, torch.tensor(ids), torch.tensor([8, 8]), recognizer.vocabulary.blank_id)
    return [text.lower() for text in greedy_texts(recognizer, logits, frames)], losses.sum().item()


def write_upper_case_checkpoint(folder: Path) -> Recognizer:
    """As facebook/wav2vec2-base-960h: 32 tokens, <pad> first, upper-case letters; with a head that speaks."""
    order = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
    letters = Vocabulary(tuple(order), "<pad>", "<unk>", "|")
    recognizer = move_head(build_recognizer("tiny", "", seed=3), letters)
    torch.manual_seed(5)
    torch.nn.init.normal_(recognizer.model.lm_head.weight, std=2.0)
    recognizer.model.lm_head.weight.data[1:4] = 0.0  # <s>, </s> and <unk> are never said
    recognizer.model.lm_head.bias.data[1:4] = -1e4
    recognizer.save(folder)
    return load_recognizer(str(folder))


def test_a_trained_head_keeps_its_letters_in_another_vocabulary(tmp_path: Path) -> None:
    """Against the notebook's way: a lower-case vocabulary of 32 tokens, which the 32-row head fits without a word."""
    before = write_upper_case_checkpoint(tmp_path / "upper")
    own = [*"abcdefghijklmnopqrstuvwxyz'", "|", "[UNK]", "[PAD]", "<s>", "</s>"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: id for id, token in enumerate(own)}))
    moved = build_recognizer(str(tmp_path / "upper"), "", vocab=str(tmp_path / "vocab.json"))
    moved.model.eval()
    moved.model.lm_head.bias.data[-2:] = -1e4  # newly drawn rows, which the test must not hear by chance
    texts, loss = spoken(before)
    assert any(texts) and moved.vocabulary.tokens == tuple(own)
    assert spoken(moved)[0] == texts and spoken(moved)[1] == pytest.approx(loss, rel=1e-5)

    notebook = Recognizer(before.model, moved.processor, moved.vocabulary)
    assert spoken(notebook)[0] != texts and spoken(notebook)[1] > 2 * loss

    moved.save(tmp_path / "moved")
    assert spoken(load_recognizer(str(tmp_path / "moved"))) == spoken(moved)
    assert moved.processor.feature_extractor.do_normalize == before.processor.feature_extractor.do_normalize


def test_a_fine_tuned_model_in_a_permuted_vocabulary_starts_where_it_was(tone_recognizer: Recognizer) -> None:
    """Loss and WER at step 0: as before, and the notebook's way, which trusts the size of the vocabulary."""
    texts = ["bad dog", "big age die", "god bee gab"]
    clips = [torch.from_numpy(to_pcm16(speak(text, 77))) for text in texts]
    waveforms, lengths = pad_sequence(clips, batch_first=True), torch.tensor(list(map(len, clips)))

    def start(recognizer: Recognizer) -> tuple[float, float]:
        frames = count_frames(recognizer.model, lengths)
        labels = [torch.tensor(recognizer.vocabulary.encode(text)) for text in texts]
        counts, padded = torch.tensor(list(map(len, labels))), pad_sequence(labels, batch_first=True)
        with torch.no_grad():
            logits = forward_logits(recognizer.model, recognizer, waveforms, lengths)
        loss = ctc_losses(logits, frames, padded, counts, recognizer.vocabulary.blank_id).mean()
        return count_errors(texts, greedy_texts(recognizer, logits, frames)).wer, loss.item()

    tokens = tone_recognizer.vocabulary.tokens
    own = Recognizer(deepcopy(tone_recognizer.model), tone_recognizer.processor, tone_recognizer.vocabulary)
    moved = move_head(own, Vocabulary((*tokens[-4::-1], *tokens[-3:])))
    (wer, loss), (moved_wer, moved_loss) = start(tone_recognizer), start(moved)
    assert wer == moved_wer == 0 and moved_loss == pytest.approx(loss, rel=1e-5)
    notebook = Recognizer(tone_recognizer.model, moved.processor, moved.vocabulary)
    assert start(notebook)[0] > 0.9 and start(notebook)[1] > 20 * loss


def test_a_vocabulary_of_the_shards_keeps_known_rows_and_adds_new_ones(tmp_path: Path) -> None:
    before = write_upper_case_checkpoint(tmp_path)
    moved = build_recognizer(str(tmp_path), "héllo", vocab="shards")
    rows = {token: moved.model.lm_head.weight[id] for id, token in enumerate(moved.vocabulary.tokens)}
    old = {token: before.model.lm_head.weight[id] for id, token in enumerate(before.vocabulary.tokens)}
    assert all(torch.equal(rows[letter], old[letter.upper()]) for letter in "abcxyz'|")
    assert torch.equal(rows["[PAD]"], old["<pad>"]) and torch.equal(rows["[UNK]"], old["<unk>"])
    assert not any(torch.equal(rows["é"], row) for row in old.values())


@pytest.mark.parametrize("content", [None, "{", "[]", '{"a": 0, "|": 1}'])
def test_a_vocabulary_file_that_is_none_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "vocab.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(CliError, match=r"vocab\.json|the vocabulary has no token"):
        build_recognizer("tiny", "", vocab=str(path))


def test_attention_implementations_agree_and_are_recorded(tmp_path: Path) -> None:
    build_recognizer("tiny", "abc", seed=3).save(tmp_path)
    waveforms, lengths = noise(16_000, 9_000)
    found = {}
    for attention in ("auto", "sdpa", "eager"):
        recognizer = build_recognizer(str(tmp_path), "abc", attention=attention)  # type: ignore[arg-type]
        recognizer.model.eval()
        found[describe(recognizer)["attention"]] = forward_logits(recognizer.model, recognizer, waveforms, lengths)
    assert found.keys() == {"sdpa", "eager"}
    assert torch.allclose(found["sdpa"], found["eager"], atol=1e-5)


def test_flash_attention_without_its_package_is_one_line() -> None:
    with pytest.raises(CliError, match="flash_attention_2 needs a GPU and the flash-attn package"):
        build_recognizer("tiny", "abc", attention="flash_attention_2")


def test_a_vocabulary_that_cannot_be_read_never_resets_the_head(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    (tmp_path / "model" / "vocab.json").write_text("{")
    with pytest.raises(CliError, match=r"its vocab\.json cannot be loaded"):
        build_recognizer(str(tmp_path / "model"), "abc")


@pytest.mark.parametrize("name", ["nosuchmodel", "./nosuch/folder", "/nosuch"])
def test_an_unknown_model_is_named(name: str) -> None:
    with pytest.raises(CliError, match=f"--model {name}: no such folder"):
        build_recognizer(name, "abc")


def test_a_hub_model_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CliError, match="--model nobody/nothing cannot be loaded") as caught:
        build_recognizer("nobody/nothing", "abc")
    assert "\n" not in str(caught.value)


def test_a_head_that_does_not_fit_its_vocabulary_is_refused(tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    vocab = tmp_path / "model" / "vocab.json"
    vocab.write_text(vocab.read_text().replace('"a": 1', '"a": 1, "é": 30'))
    with pytest.raises(CliError, match="do not belong together"):
        load_recognizer(str(tmp_path / "model"))


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert", "vocab_size": 5}')
    with pytest.raises(CliError, match="is a bert model, not wav2vec2"):
        build_recognizer(str(tmp_path), "abc")
