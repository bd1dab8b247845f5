"""Where the parts of each family's models are, and that each is trained as wav2vec2 is."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import REPOSITORY
from helpers.models import KINDS, VARIANTS, noise, stock_model
from torch import Tensor, nn
from transformers import CONFIG_MAPPING, AutoModelForCTC

from asrscale.common.errors import CliError
from asrscale.data.batches import Batch
from asrscale.model import dropout
from asrscale.model.attention import implementations
from asrscale.model.building import build_meta_recognizer, build_recognizer
from asrscale.model.dropout import attach_dropout, draw_keys
from asrscale.model.families import (
    FAMILIES,
    attentions_of,
    encoder_of,
    family_of,
    geometry_of_model,
    head_of,
    model_class,
    stem_of,
)
from asrscale.model.forward import count_frames, forward_logits
from asrscale.model.freezing import checkpoint_activations, freeze_feature_encoder
from asrscale.model.lora import add_lora, merge_lora
from asrscale.model.padding import make_padding_invariant
from asrscale.model.recognizer import Recognizer
from asrscale.model.regularisation import Regulariser, attach_regulariser, prepare_pass
from asrscale.speech.frames import geometry_of

STEP = 7  # one in which a layer is dropped
SECONDS = {7: 1.0, 3: 0.73, 11: 0.41}  # by utterance


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_description_finds_the_parts_of_a_stock_model(model_type: str) -> None:
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=40, vocab_size=32)
    config = CONFIG_MAPPING[model_type](**sizes)
    model = model_class(config)(config)
    assert config.model_type == model_type
    assert len(encoder_of(model).layers) == len(attentions_of(model)) == 2
    stem = stem_of(model)
    assert model_type == "wav2vec2-bert" if stem is None else len(stem.conv_layers) == config.num_feat_extract_layers
    assert head_of(model).out_features == config.vocab_size
    assert geometry_of_model(model) == geometry_of(config.to_dict())
    for attention in attentions_of(model):
        assert attention.num_heads == 2
        assert attention.get_submodule(FAMILIES[model_type].value_projection).out_features == 32


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a pretrained checkpoint, without a vocabulary, for each kind."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for kind in VARIANTS:
        stock_model(kind).base_model.save_pretrained(folder / kind)
    return folder


def training(folder: Path, *, layerdrop: float = 0.0, **settings: float) -> tuple[Recognizer, Regulariser]:
    """The model that a run trains, and what is random in it."""
    rates = {name: settings.get(name, 0.0) for name in ("mask_time_prob", "mask_feature_prob")}
    recognizer = build_recognizer(str(folder), "abc", seed=3, dropout=settings.get("dropout", 0.0), **rates)
    recognizer.model.train()
    return recognizer, attach_regulariser(recognizer.model, layerdrop=layerdrop, **rates)


def batch(*utterances: int) -> Batch:
    waveforms, lengths = noise(*(round(16_000 * SECONDS[u]) for u in utterances))
    for row, utterance in enumerate(utterances):
        own = np.random.default_rng(utterance).integers(-3000, 3000, int(lengths[row]))
        waveforms[row, : lengths[row]] = torch.from_numpy(own)
    labels = torch.ones(len(lengths), 1, dtype=torch.long)
    return Batch(np.array(utterances), waveforms, lengths, labels, labels[:, 0])


def logits(recognizer: Recognizer, regulariser: Regulariser, *utterances: int) -> dict[int, torch.Tensor]:
    """Of each utterance's own frames."""
    own = batch(*utterances)
    prepare_pass(regulariser, recognizer.model, own, seed=1, step=STEP)
    found = forward_logits(recognizer.model, recognizer, own.waveforms, own.num_samples)
    frames = count_frames(recognizer.model, own.num_samples).tolist()
    return {u: row[:count] for u, row, count in zip(utterances, found, frames, strict=True)}


def gradient(recognizer: Recognizer, regulariser: Regulariser, *passes: tuple[int, ...]) -> torch.Tensor:
    recognizer.model.zero_grad()
    for utterances in passes:
        sum(one.square().sum() for one in logits(recognizer, regulariser, *utterances).values()).backward()
    return torch.cat([p.grad.flatten() for p in recognizer.model.parameters() if p.grad is not None])


@pytest.mark.parametrize("checkpointing", [0, 1])
@pytest.mark.parametrize("kind", VARIANTS)
def test_what_is_random_is_a_function_of_seed_step_and_utterance(
    kind: str, checkpointing: int, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits and the gradient of all do not depend on who shares a pass; nothing of transformers' own is left on."""
    recognizer, regulariser = training(
        checkpoints / kind, dropout=0.2, mask_time_prob=0.3, mask_feature_prob=0.3, layerdrop=0.4
    )
    model = recognizer.model
    assert model.config.layerdrop == 0 and not model.config.apply_spec_augment
    assert not any(module.p for module in model.modules() if isinstance(module, nn.Dropout))
    checkpoint_activations(model, checkpointing)
    places: Counter[int] = Counter()
    keep = dropout.keep
    numbers = {id(module): number for number, module in enumerate(regulariser.dropout.modules)}

    def counted(module: Any, x: Tensor) -> Tensor:
        places.update([numbers[id(module)]])
        return keep(x, module.frame_keys, module.feature_keys, module.dropped_probability)

    monkeypatch.setattr(dropout._Drops, "_keep", counted)
    regulariser.layerdrop = 0.0
    logits(recognizer, regulariser, 7)
    assert places == dict.fromkeys(range(regulariser.dropout.places), 1), "each place is one at which something drops"
    regulariser.layerdrop = 0.4
    together = logits(recognizer, regulariser, 7, 3, 11)
    assert regulariser.time_mask is not None and regulariser.feature_mask is not None
    assert regulariser.time_mask.any() and regulariser.feature_mask.any() and len(regulariser.dropped_layers) == 1
    for utterance in SECONDS:
        alone = logits(recognizer, regulariser, utterance)[utterance]
        torch.testing.assert_close(alone, together[utterance], atol=1e-5, rtol=0)
    whole = gradient(recognizer, regulariser, (7, 3, 11))
    torch.testing.assert_close(gradient(recognizer, regulariser, (11,), (3, 7)), whole, atol=2e-4, rtol=1e-3)
    dropped = encoder_of(model).layers[next(iter(regulariser.dropped_layers))]
    assert {float(p.grad.abs().max()) for p in dropped.parameters() if p.grad is not None} == {0.0}
    model.eval()
    assert not torch.allclose(logits(recognizer, regulariser, 7)[7], together[7], atol=1e-3)


@pytest.mark.parametrize("kind", ["conformer relative", "conformer rotary", "wavlm", "sew"])
def test_dropped_attention_is_that_of_stock_transformers_in_mean_and_spread(kind: str) -> None:
    """As for wav2vec2 in test_dropout.py, whose attention most families have."""
    rows, frames, probability = 4_000, 7, 0.3
    quiet = dict.fromkeys(("hidden_dropout", "activation_dropout", "conformer_conv_dropout"), 0.0)
    stock = stock_model(kind, attention_dropout=probability, **quiet)
    ours = make_padding_invariant(stock_model(kind, attention_dropout=probability, **quiet)).train()
    x = torch.randn(1, frames, 32).expand(rows, -1, -1)
    embed = getattr(encoder_of(stock), "embed_positions", None)
    positions = {"relative_position_embeddings": embed(x)} if embed else {}
    with torch.no_grad():
        expected = attentions_of(stock)[0].train()(x, **positions)[0]
        draw_keys(attach_dropout(ours), np.arange(rows), frames, torch.device("cpu"), seed=1, step=2)
        found = attentions_of(ours)[0](x, **positions)[0]
    deviation = expected.std(0)
    assert torch.allclose(found.std(0), deviation, rtol=0.1)
    assert ((found.mean(0) - expected.mean(0)).abs() < 6 * deviation / rows**0.5).all()


@pytest.mark.parametrize("kind", VARIANTS)
def test_checkpointing_and_a_frozen_stem_leave_the_other_gradients_alone(kind: str, checkpoints: Path) -> None:
    def gradients(every: int) -> dict[str, torch.Tensor]:
        recognizer, regulariser = training(checkpoints / kind, dropout=0.1)
        freeze_feature_encoder(recognizer.model)
        checkpoint_activations(recognizer.model, every)
        gradient(recognizer, regulariser, (7, 11))
        return {name: p.grad for name, p in recognizer.model.named_parameters() if p.grad is not None}

    stored, recomputed = gradients(0), gradients(1)
    assert stored.keys() == recomputed.keys() and not any("feature_extractor" in name for name in stored)
    assert all(torch.allclose(stored[name], recomputed[name], atol=1e-6) for name in stored)


@pytest.mark.parametrize("kind", VARIANTS)
def test_lora_adapts_every_linear_layer_learns_and_merges_into_a_stock_model(kind: str, checkpoints: Path) -> None:
    recognizer, _ = training(checkpoints / kind)
    model = recognizer.model.eval()
    stock_keys = model.state_dict().keys()
    pass_ = noise(16_000, 12_000)
    before = forward_logits(model, recognizer, *pass_)
    wanted = {
        name
        for layer in encoder_of(model).layers
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear) and "gru_rel_pos" not in name  # a gate of WavLM with 8 outputs
    }
    add_lora(model, 4)
    adapted = {name for name, module in encoder_of(model).layers[0].named_modules() if hasattr(module, "base_layer")}
    assert adapted == wanted
    assert torch.equal(forward_logits(model, recognizer, *pass_), before)
    model.train()
    forward_logits(model, recognizer, *pass_).square().sum().backward()
    for name, parameter in model.eval().named_parameters():
        if "lora_B" in name:
            assert parameter.grad.norm() > 0, f"{name} is left out of the pass"
            nn.init.normal_(parameter, std=0.1)
    tuned = forward_logits(model, recognizer, *pass_)
    assert (tuned - before).abs().max() > 0.001
    merge_lora(model)
    torch.testing.assert_close(forward_logits(model, recognizer, *pass_), tuned, atol=1e-5, rtol=0)
    assert model.state_dict().keys() == stock_keys


@pytest.mark.parametrize("kind", VARIANTS)
def test_a_new_head_leaves_all_else_and_another_keeps_the_rows_of_its_letters(
    kind: str, checkpoints: Path, tmp_path: Path
) -> None:
    recognizer, _ = training(checkpoints / kind)
    stock = AutoModelForCTC.from_pretrained(checkpoints / kind).state_dict()
    ours = recognizer.model.state_dict()
    assert {name for name in stock if name not in ours or not torch.equal(stock[name], ours[name])} <= {
        "lm_head.weight",
        "lm_head.bias",
        f"{recognizer.model.base_model_prefix}.masked_spec_embed",  # only where frames are masked
    }
    recognizer.save(tmp_path / "abc")
    moved = build_recognizer(str(tmp_path / "abc"), "cbd", vocab="shards")
    rows = {token: row for row, token in enumerate(recognizer.vocabulary.tokens)}
    for row, token in enumerate(moved.vocabulary.tokens):
        if token in rows:
            assert torch.equal(head_of(moved.model).weight[row], head_of(recognizer.model).weight[rows[token]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_weights_has_the_shapes_of_the_model(kind: str, tmp_path: Path) -> None:
    model = stock_model(kind)
    model.config.save_pretrained(tmp_path)
    meta = build_meta_recognizer(str(tmp_path / "config.json"), dtype=torch.bfloat16).model
    assert {p.device.type for p in [*meta.parameters(), *meta.buffers()]} == {"meta"}
    shapes = {name: p.shape for name, p in meta.named_parameters()}
    assert shapes.items() >= {name: p.shape for name, p in model.named_parameters()}.items()
    assert family_of(meta.config) is FAMILIES[KINDS[kind]["model_type"]]


def test_the_table_of_the_guide_names_every_family_with_the_attention_it_has() -> None:
    lines = (REPOSITORY / "docs/guide/models.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    found = {row[0].strip("`"): set(row[2].split(", ")) for row in rows if not row[0].startswith("`-")}
    expected = {name: set(implementations(CONFIG_MAPPING[name]())) - {"auto"} for name in FAMILIES}
    assert found == expected
    for option in ("sdpa", "flash_attention_2"):
        [row] = [cells for name, *cells in rows if f"`--attention {option}`" in name]
        assert row == ["yes" if option in has else "no" for has in expected.values()]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", VARIANTS)
def test_in_16_bits_logits_are_those_of_fp32_but_for_rounding_and_gradients_are_finite(
    kind: str, dtype: torch.dtype, checkpoints: Path
) -> None:
    recognizer, regulariser = training(checkpoints / kind)
    exact = logits(recognizer, regulariser, 7, 11)
    recognizer.model.to(dtype)
    rounded = logits(recognizer, regulariser, 7, 11)
    for utterance, expected in exact.items():
        largest = expected.abs().max().item()
        torch.testing.assert_close(rounded[utterance].float(), expected, atol=0.03 * largest, rtol=0)
    assert gradient(recognizer, regulariser, (7, 11)).isfinite().all()


def test_a_statistic_that_is_not_finite_is_named(tmp_path: Path) -> None:
    model = stock_model("conformer relative")
    name = "wav2vec2_conformer.encoder.layers.1.conv_module.batch_norm.running_var"
    model.get_buffer(name)[3] = float("nan")
    model.base_model.save_pretrained(tmp_path)
    with pytest.raises(CliError, match=f"its weight {name} holds NaN or infinity"):
        build_recognizer(str(tmp_path), "abc")
