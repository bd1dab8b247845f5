import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from conftest import speak
from helpers.models import noise, untrained_recognizer
from torch.nn.utils.rnn import pad_sequence
from transformers import Wav2Vec2Config, Wav2Vec2ForPreTraining

from asrscale.common.errors import CliError
from asrscale.model.architectures import DROPOUT_SETTINGS
from asrscale.model.building import build_meta_recognizer, build_recognizer
from asrscale.model.forward import count_frames, ctc_losses, forward_logits, greedy_texts
from asrscale.model.heads import move_head
from asrscale.model.pretrained import load_recognizer
from asrscale.model.recognizer import Recognizer
from asrscale.results.metrics import count_errors
from asrscale.speech.pcm import to_pcm16
from asrscale.speech.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def tiny() -> Recognizer:
    return untrained_recognizer()


def test_the_same_seed_gives_the_same_weights(tiny: Recognizer) -> None:
    again, other = build_recognizer("tiny", "abc", seed=3), build_recognizer("tiny", "abc", seed=4)
    name = "wav2vec2.encoder.layers.0.attention.k_proj.weight"
    assert torch.equal(tiny.model.state_dict()[name], again.model.state_dict()[name])
    assert not torch.equal(tiny.model.state_dict()[name], other.model.state_dict()[name])


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


def test_training_starts_in_fp32_from_a_bf16_checkpoint(tmp_path: Path) -> None:
    recognizer = build_recognizer("tiny", "abc")
    recognizer.model.bfloat16()
    recognizer.save(tmp_path)
    assert build_recognizer(str(tmp_path), "abc").model.dtype == torch.float32


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
    recognizer.model.lm_head.weight.data[1:4] = 0.0  # <s>, </s> and <unk> are never the likeliest
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
    moved.model.lm_head.bias.data[-2:] = -1e4  # newly drawn rows, which must not be the likeliest by chance
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


@pytest.mark.parametrize("folder", [False, True])
def test_without_weights_a_model_has_the_shapes_of_the_real_one(folder: bool, tiny: Recognizer, tmp_path: Path) -> None:
    tiny.save(tmp_path)
    sketch = build_meta_recognizer(str(tmp_path) if folder else "tiny", dtype=torch.bfloat16, dropout=0.2)
    real = build_recognizer("tiny", "", mask_time_prob=0.1)
    assert {name: p.shape for name, p in sketch.model.named_parameters()} == {
        name: p.shape for name, p in real.model.named_parameters()
    }
    assert all(p.device.type == "meta" and p.dtype == torch.bfloat16 for p in sketch.model.parameters())
    assert sketch.model.training and sketch.model.config.hidden_dropout == 0.2


def test_every_dropout_of_a_model_is_set_where_one_is_given() -> None:
    config = build_recognizer("tiny", "abc", dropout=0.15).model.config
    assert {getattr(config, name) for name in DROPOUT_SETTINGS} == {0.15}
