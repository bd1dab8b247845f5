"""One optimizer step, in a world of one; tests/test_train.py starts real ranks."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import flip_bit
from helpers.contexts import make_context, step_of, train_index, zero_config
from helpers.failing_passes import failing_once
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from asrscale.common.distributed import World
from asrscale.common.errors import CliError
from asrscale.data.hashing import NO_IDS
from asrscale.data.step_reader import Step
from asrscale.model.architectures import TINY
from asrscale.model.building import build_recognizer
from asrscale.model.families import encoder_of
from asrscale.model.freezing import checkpoint_activations
from asrscale.model.regularisation import attach_regulariser
from asrscale.training import engine as ds
from asrscale.training.agreed_steps import agree_on_step
from asrscale.training.ds_config import Precision
from asrscale.training.meter import Meter
from asrscale.training.run_context import RunContext
from asrscale.training.schedule import LearningRates
from asrscale.training.step import loss_sum, rehearse, train_step


def trained(own: RunContext, step: Step, good: int) -> tuple[dict[str, torch.Tensor], float, float | None]:
    """The weights after one step at a constant learning rate, its loss, and the norm of its gradient."""
    model = own.recognizer.model.to(own.world.device)
    engine = ds.initialize(model, own.ds_config, weight_decay=0.0, adam_beta2=0.98)
    engine.train()
    loss, norm = train_step(engine, own, step, good, Meter())
    engine.destroy()
    return {name: p.detach().cpu().clone() for name, p in model.named_parameters()}, float(loss), norm


def test_a_damaged_utterance_leaves_the_step_of_the_others(tone_shards: Path, own_shards: Path, world: World) -> None:
    intact, damaged = (replace(make_context(root, warmup_steps=0), world=world) for root in (tone_shards, own_shards))
    flip_bit(train_index(damaged), 4)
    passes = [np.array([4, 7, 9]), np.array([11, 30])]
    step = step_of(damaged, passes, 5)
    assert [one.utterance for one in step.damaged] == [4]
    assert agree_on_step(step, damaged.watch, world) == (4, 1)
    weights, loss, norm = trained(damaged, step, 4)
    expected, *same = trained(intact, step_of(intact, [np.array([7, 9]), np.array([11, 30])], 4), 4)
    assert [loss, norm] == same and all(weights[name].equal(expected[name]) for name in weights)

    fresh = replace(intact, recognizer=build_recognizer("tiny", ""))
    alone = step_of(fresh, [np.array([number]) for number in (7, 9, 11, 30)], 4)
    model = fresh.recognizer.model.eval()
    mean = sum(loss_sum(model, fresh.recognizer, batch) for batch in alone.batches) / 4
    mean.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    # Adam's first step would be the same for a gradient of any length: its norm tells.
    assert loss == pytest.approx(float(mean.detach()), rel=1e-4)
    assert norm == pytest.approx(float(gradient.norm()), rel=1e-4)


OFFLOAD = {"device": "cpu"}
# Stages of ZeRO, precisions, what is offloaded.
WAYS_OF_ZERO: list[Any] = [
    (0, "fp32", {}),
    (2, "fp32", {"offload_optimizer": OFFLOAD}),
    (3, "fp32", {}),
    pytest.param(1, "fp32", {}, marks=pytest.mark.slow),
    pytest.param(1, "bf16", {}, marks=pytest.mark.slow),
    pytest.param(2, "fp32", {}, marks=pytest.mark.slow),
    pytest.param(2, "bf16", {"offload_optimizer": OFFLOAD}, marks=pytest.mark.slow),
    pytest.param(3, "fp32", {"offload_optimizer": OFFLOAD, "offload_param": OFFLOAD}, marks=pytest.mark.slow),
]
HEAD = {"lm_head.weight", "lm_head.bias"}


@pytest.mark.parametrize(("stage", "precision", "offload"), WAYS_OF_ZERO)
def test_weights_below_the_head_wait_and_begin_without_a_jump(
    stage: int, precision: Precision, offload: dict[str, object], tone_shards: Path, world: World
) -> None:
    """Nothing of them is computed, decayed or counted; then Adam begins with them as at the start of a training."""
    own = replace(make_context(tone_shards, warmup_steps=0, freeze_steps=3, dropout=0.1), world=world)
    checkpoint_activations(own.recognizer.model)
    engine = ds.initialize(
        own.recognizer.model, zero_config(stage, precision, **offload), weight_decay=0.5, adam_beta2=0.999
    )
    rehearse(engine, own)
    below: list[bool] = []  # whether there is a gradient of what the head gets
    own.recognizer.model.lm_head.register_forward_pre_hook(lambda _, inputs: below.append(inputs[0].requires_grad))
    computed: list[int] = []  # an entry each time a layer is computed, or computed again
    layer = encoder_of(own.recognizer.model).layers[0]
    layer.attention.register_forward_hook(lambda *_: computed.append(number))
    weights = [ds.gather_weights(engine, {}, world)]
    moments = []
    for number in range(5):
        step = replace(step_of(own, [np.array([4, 7]), np.array([9])], 3), number=number)
        _, norm = train_step(engine, own, step, 3, Meter())
        assert norm is not None and np.isfinite(norm) and norm > 0
        weights.append(ds.gather_weights(engine, {}, world))
        moments.append(ds.gather_moments(engine, world))
    assert below == [False] * 6 + [True] * 4
    assert [computed.count(number) for number in range(5)] == [2, 2, 2, 4, 4]
    assert [(int(one["adam_steps"]), int(one["adam_steps_below"])) for one in moments] == [
        (1, 0), (2, 0), (3, 0), (4, 1), (5, 2),
    ]  # fmt: skip
    changed = [{name for name in now if not now[name].equal(before[name])} for before, now in pairwise(weights)]
    assert changed[:3] == [HEAD] * 3 and len(changed[3]) > 0.9 * len(weights[0])
    waiting = [name for name in moments[2] if name.startswith("exp_avg") and name.split("/")[1] not in HEAD]
    assert waiting and not any(moments[2][name].any() for name in waiting)
    engine.destroy()

    rate = own.learning_rates(3).below
    assert rate is not None
    for name in weights[3].keys() - HEAD:
        before, after = weights[3][name], weights[4][name]
        bound = rate * (1 + 0.5 * before.abs())  # what the gradient does, and the weight decay
        assert bool(((after - before).abs() <= 1.001 * bound + 1e-6).all()), name


@pytest.mark.parametrize("stage", [0, 2])
def test_weights_that_waited_long_would_jump_if_adam_had_counted_on(
    stage: int, tone_shards: Path, world: World
) -> None:
    """Their moments begin at 0: of the steps of a long wait, its correction of that would have run out."""
    rates: dict[str, Any] = dict(learning_rate=3e-3, schedule="cosine", warmup_steps=0)
    own = replace(make_context(tone_shards, freeze_steps=3, **rates), world=world)
    engine = ds.initialize(own.recognizer.model, zero_config(stage), weight_decay=0.0, adam_beta2=0.999)
    rehearse(engine, own)
    before = ds.gather_weights(engine, {}, world)
    moments = ds.gather_moments(engine, world)
    for below in (0, 1000):
        ds.restore_state(engine, before, moments, world)
        ds.set_adam_steps(engine, of_head=1000, below=below)
        for number in (2, 3):  # the last that waits, and the first that does not
            train_step(engine, own, replace(step_of(own, [np.array([4, 7])], 2), number=number), 2, Meter())
        after = {name: weight for name, weight in ds.gather_weights(engine, {}, world).items() if name not in HEAD}
        largest = max(float((weight - before[name]).abs().max()) for name, weight in after.items())
        assert largest == pytest.approx((2.5 if below else 1.0) * 3e-3, rel=0.05)
    engine.destroy()


@pytest.mark.parametrize(("stage", "precision", "offload"), WAYS_OF_ZERO)
def test_a_run_of_the_head_alone_rehearses_no_more_than_that(
    stage: int, precision: Precision, offload: dict[str, object], tone_shards: Path, world: World
) -> None:
    own = replace(make_context(tone_shards, warmup_steps=0, freeze_steps=40), world=world)
    assert own.total_steps == 40
    below: list[bool] = []
    own.recognizer.model.lm_head.register_forward_pre_hook(lambda _, inputs: below.append(inputs[0].requires_grad))
    config = zero_config(stage, precision, **offload)
    engine = ds.initialize(own.recognizer.model, config, weight_decay=0.5, adam_beta2=0.98)
    rehearse(engine, own)
    moments = ds.gather_moments(engine, world)
    trained = [name for name, parameter in own.recognizer.model.named_parameters() if parameter.requires_grad]
    assert len(moments) == 2 * len(trained) + 2 and not any(value.any() for value in moments.values())
    before = ds.gather_weights(engine, {}, world)
    train_step(engine, own, step_of(own, [np.array([4, 7])], 2), 2, Meter())
    after = ds.gather_weights(engine, {}, world)
    assert {name for name in after if not after[name].equal(before[name])} == HEAD
    assert below == [False, False]
    engine.destroy()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_no_pass_waits_for_the_device(
    stage: int, tone_shards: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DeepSpeed's throughput timer did, from the third step on, before each forward pass."""
    own = replace(make_context(tone_shards), world=world)
    config = zero_config(stage) | {"steps_per_print": 1}
    engine = ds.initialize(own.recognizer.model, config, weight_decay=0.0, adam_beta2=0.98)
    waits: list[object] = []
    monkeypatch.setattr(ds.deepspeed.get_accelerator(), "synchronize", lambda *given: waits.append(given))
    for _ in range(4):
        train_step(engine, own, step_of(own, [np.array([4]), np.array([7])], 2), 2, Meter())
    assert not waits
    engine.destroy()


def test_a_step_without_a_good_utterance_touches_no_weight(own_shards: Path, world: World) -> None:
    own = replace(make_context(own_shards, warmup_steps=0), world=world)
    before = {name: p.detach().clone() for name, p in own.recognizer.model.named_parameters()}
    flip_bit(train_index(own), 4)
    step = step_of(own, [np.array([4])], 1)
    assert [len(batch.utterances) for batch in step.batches] == [0] and agree_on_step(step, own.watch, world) == (0, 1)
    weights, loss, _ = trained(own, step, 0)
    assert loss == 0 and all(weights[name].equal(before[name].cpu()) for name in weights)


def with_stem(own: RunContext, folder: Path, kernels: list[int], strides: list[int]) -> RunContext:
    """The run with a model of another stem of two convolutions, as a checkpoint in `folder`."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(**TINY | {"conv_kernel": kernels, "conv_stride": strides, "vocab_size": 30})
    Wav2Vec2ForCTC(config).wav2vec2.save_pretrained(folder)
    recognizer = build_recognizer(str(folder), "")
    regulariser = attach_regulariser(recognizer.model, mask_time_prob=0.0, mask_feature_prob=0.0, layerdrop=0.0)
    plan = replace(own.plan, geometry=recognizer.geometry)
    return replace(own, recognizer=recognizer, regulariser=regulariser, plan=plan)


@pytest.mark.parametrize("strides", [[160, 3], [160, 4], [160, 20]], ids=["30 ms", "40 ms", "200 ms"])
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_an_empty_pass_adds_nothing_with_frames_of_any_length(
    strides: list[int], stage: int, own_shards: Path, tmp_path: Path, world: World
) -> None:
    """Of an utterance that another rank has, or of damaged recordings."""
    own = replace(make_context(own_shards, warmup_steps=0), world=world, ds_config=zero_config(stage))
    own = with_stem(own, tmp_path, kernels=[400, strides[1]], strides=strides)
    flip_bit(train_index(own), 4)
    step = step_of(own, [np.array([7]), np.array([4]), NO_IDS], 2)
    assert [len(batch.utterances) for batch in step.batches] == [1, 0, 0]
    step.batches[0].labels[:, 1:] = -100  # of 200 ms frames the transcript needs more than there are
    step.batches[0].num_labels[:] = 1
    engine = ds.initialize(own.recognizer.model, own.ds_config, weight_decay=0.0, adam_beta2=0.98)
    rehearse(engine, own)
    for batch in step.batches[1:]:
        assert float(loss_sum(engine, own.recognizer, batch).detach()) == 0.0
    loss, norm = train_step(engine, own, step, 1, Meter())
    engine.destroy()
    alone = with_stem(own, tmp_path, kernels=[400, strides[1]], strides=strides)
    _, expected_loss, expected_norm = trained(alone, replace(step, batches=step.batches[:1]), 1)
    assert (float(loss), norm) == (expected_loss, expected_norm) and np.isfinite(norm)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_model_without_a_finite_gradient_is_refused_in_the_rehearsal(
    stage: int, tone_shards: Path, world: World
) -> None:
    own = replace(make_context(tone_shards), world=world)
    torch.nn.init.constant_(own.recognizer.model.lm_head.weight, 3e38)  # finite, and too large for any product
    engine = ds.initialize(own.recognizer.model, zero_config(stage), weight_decay=0.0, adam_beta2=0.98)
    with pytest.raises(CliError, match="--model tiny: already its gradient of silence is not finite in auto: choose"):
        rehearse(engine, own)
    engine.destroy()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_run_whose_first_steps_are_skipped_can_be_saved(stage: int, tone_shards: Path, world: World) -> None:
    own = replace(make_context(tone_shards), world=world)
    engine = ds.initialize(own.recognizer.model, zero_config(stage), weight_decay=0.1, adam_beta2=0.98)
    before = ds.gather_weights(engine, {}, world)
    rehearse(engine, own)
    batch = step_of(own, [np.array([4])], 1).batches[0]
    ds.backward(engine, loss_sum(engine, own.recognizer, batch) * float("nan"), world)
    assert not np.isfinite(ds.take_step(engine, LearningRates(0.1, 0.1)))
    weights, moments = ds.gather_weights(engine, {}, world), ds.gather_moments(engine, world)
    assert not any(bool(value.any()) for value in moments.values())
    assert all(weights[name].equal(before[name]) for name in weights)
    engine.destroy()


def after_a_step(
    own: RunContext, config: dict[str, object], passes: list[list[int]], step: Step | None = None
) -> dict[str, torch.Tensor]:
    """Weights and moments after the rehearsal and one step: that of `passes`, unless another is given."""
    step = step or step_of(own, [np.array(numbers) for numbers in passes], 3)
    engine = ds.initialize(own.recognizer.model, config, weight_decay=0.1, adam_beta2=0.98)
    rehearse(engine, own)
    train_step(engine, own, step, 3, Meter())
    found = ds.gather_weights(engine, {}, own.world) | ds.gather_moments(engine, own.world)
    engine.destroy()
    return found


def test_the_rehearsal_leaves_no_trace(tone_shards: Path, tmp_path: Path, world: World) -> None:
    """Whatever its size, and also where memory ran out in it."""
    found = []
    for longest, fails in ((8_000, False), (30_000, False), (16_000, True)):
        own = replace(make_context(tone_shards, warmup_steps=0, dropout=0.1), world=world, folder=tmp_path)
        step = step_of(own, [np.array([4]), np.array([7]), np.array([9])], 3)
        catalog = replace(own.plan.catalog, longest_samples=np.array([longest]))
        own = replace(
            own, plan=replace(own.plan, catalog=catalog), cap=replace(own.cap, path=tmp_path / "rescues.jsonl")
        )
        own.regulariser.mask_feature_prob = own.regulariser.layerdrop = 0.5
        assert own.plan.most_utterances(own.cap.samples, 1) == 48_000 // longest
        with failing_once("backward", 150, 1 if fails else 0):
            found.append(after_a_step(own, own.ds_config, [], step))
        assert own.cap.rescues == fails
    assert all(found[0][name].equal(other[name]) for other in found[1:] for name in found[0])


FEW = [("forward", 1), ("forward", 99), ("backward", 2), ("backward", 80), ("backward", 180)]


MANY = [("forward", n) for n in range(1, 120, 8)] + [("backward", n) for n in range(1, 240, 8)]


WAYS = [(0, "fp32", False), (1, "fp32", False), (1, "bf16", False), (2, "fp32", False), (2, "bf16", False)]


OFFLOADED = [(2, "fp32", True), (2, "bf16", True)]


@pytest.mark.parametrize(
    ("stage", "precision", "offload", "places"),
    [pytest.param(*way, FEW) for way in WAYS if way[1] == "fp32"]
    + [pytest.param(*way, MANY, marks=pytest.mark.slow) for way in WAYS + OFFLOADED],
)
def test_memory_that_runs_out_anywhere_in_a_pass_leaves_the_step_as_it_is(
    stage: int, precision: Precision, offload: bool, places: list[tuple[str, int]], tone_shards: Path,
    tmp_path: Path, world: World,
) -> None:  # fmt: skip
    offloads = {"offload_optimizer": {"device": "cpu"}} if offload else {}
    config = zero_config(stage, precision, reduce_bucket_size=50_000, **offloads)
    expected: dict[str, torch.Tensor] = {}
    for where, operation in [("forward", 0), *places]:
        own = replace(make_context(tone_shards, warmup_steps=0), world=world, folder=tmp_path)
        own.cap.path = tmp_path / "rescues.jsonl"
        with failing_once(where, operation, 3):  # the rehearsal, the first pass, this one
            found = after_a_step(own, config, [[4], [7], [9]])
        assert own.cap.rescues == (operation > 0), (where, operation)
        expected = expected or found
        assert all(found[name].equal(expected[name]) for name in expected), (where, operation)
