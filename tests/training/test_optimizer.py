import torch
from torch import nn

from asrscale.model.building import build_recognizer
from asrscale.training.optimizer import build_optimizer, set_learning_rates, trainable_parameters
from asrscale.training.schedule import LearningRates


def grouped(model: nn.Module, weight_decay: float = 0.5) -> tuple[torch.optim.AdamW, dict[str, dict[str, object]]]:
    """The optimizer of a model, and the group of each trainable parameter by name."""
    optimizer = build_optimizer(model, weight_decay=weight_decay, adam_beta2=0.98)
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    return optimizer, {name: groups[id(parameter)] for name, parameter in trainable_parameters(model)}


def test_biases_norms_and_the_stem_are_not_decayed() -> None:
    model = build_recognizer("tiny", "abc").model
    _, groups = grouped(model)
    decayed = {name for name, group in groups.items() if group["weight_decay"] == 0.5}
    assert all(group["weight_decay"] in (0.0, 0.5) for group in groups.values())
    assert "lm_head.weight" in decayed and "lm_head.bias" not in decayed
    assert not any("feature_extractor." in name or "layer_norm" in name or name.endswith(".bias") for name in decayed)
    attention = [name for name in groups if "attention" in name and name.endswith("proj.weight")]
    assert attention and decayed.issuperset(attention)


def test_frozen_parameters_are_in_no_group() -> None:
    model = build_recognizer("tiny", "abc").model
    model.freeze_feature_encoder()
    optimizer, groups = grouped(model)
    assert groups and not any("feature_extractor." in name for name in groups)
    in_groups = sum(len(group["params"]) for group in optimizer.param_groups)
    assert in_groups == len(groups) == sum(parameter.requires_grad for parameter in model.parameters())


def test_only_the_head_learns_while_the_rest_is_held() -> None:
    model = build_recognizer("tiny", "abc").model
    optimizer, groups = grouped(model)
    head = {"lm_head.weight", "lm_head.bias"}
    for _, parameter in trainable_parameters(model):
        parameter.grad = torch.ones_like(parameter)

    def step(rates: LearningRates) -> set[str]:
        """Takes a step; returns the names of the weights that it changed."""
        before = {name: parameter.detach().clone() for name, parameter in trainable_parameters(model)}
        set_learning_rates(optimizer.param_groups, rates)
        optimizer.step()
        assert len(optimizer.param_groups) == len({id(group) for group in groups.values()})
        return {name for name, parameter in trainable_parameters(model) if not parameter.equal(before[name])}

    assert step(LearningRates(head=0.1, below=None)) == head
    assert len(optimizer.state) == len(head), "moments begin when a weight is trained"
    assert step(LearningRates(head=0.1, below=0.2)) == groups.keys()
    assert {name for name, group in groups.items() if group["lr"] == 0.1} == head
    assert {group["lr"] for group in groups.values()} == {0.1, 0.2}
    counts = {name: int(optimizer.state[parameter]["step"]) for name, parameter in trainable_parameters(model)}
    assert counts == {name: 2 if name in head else 1 for name in groups}
