"""What the card of a run's model is told."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.contexts import make_context

from asrscale.model.model_card import UNKNOWN_LICENSE
from asrscale.results.evaluation import Evaluation
from asrscale.results.frame_texts import Hypothesis
from asrscale.results.metrics import count_errors
from asrscale.training.card_facts import card_facts
from asrscale.training.checkpoint import RunState
from asrscale.training.milestones import milestones
from asrscale.training.run_context import RunContext


def result_of(context: RunContext, *, first: str) -> Evaluation:
    """An evaluation in which all is right but the text of the first utterance."""
    references = [text.as_py() for text in context.valid.texts]
    texts = [first, *references[1:]]
    file = tempfile.TemporaryFile("w+")  # noqa: SIM115 — read by the test
    hypotheses = enumerate(map(Hypothesis, texts))
    file.writelines(f"{json.dumps(pair)}\n" for pair in hypotheses)
    return Evaluation(count_errors(references, texts), loss=None, hypotheses_file=file)


def test_hours_and_rates_are_those_of_the_data(tone_shards: Path) -> None:
    context = make_context(tone_shards)
    facts = card_facts(context, result_of(context, first="bee bee"), "step 40, the best")
    catalog = context.plan.catalog
    assert (facts.train_hours, facts.train_utterances) == (catalog.hours, int(catalog.utterances.sum()))
    assert (facts.model_type, facts.weights, facts.adapter) == ("wav2vec2", "step 40, the best", "")
    assert facts.results["utterances"] == len(context.valid) and 0 < facts.results["wer"] < 1
    assert facts.reads_batches  # its norms see one frame at a time
    assert facts.license == UNKNOWN_LICENSE


def test_what_the_run_came_to_is_told_with_its_utterances(tone_shards: Path) -> None:
    context = make_context(tone_shards)
    state = RunState(
        step=4, evaluated_step=4, before=(0.3, 0.2, 1.0), best=(0.1, 0.2, 1.0), best_step=2, last=(0.2,) * 3
    )
    facts = card_facts(context, result_of(context, first=""), "step 2", milestones(state, "wer"))
    rates = {name: rates["wer"] for name, rates in facts.while_training.items()}
    assert rates == {"before": 0.3, "best": 0.1, "last": 0.2}
    assert facts.utterances_while_training == len(context.valid_subset)


def test_the_training_data_are_named_beside_their_weights(tone_shards: Path) -> None:
    folders = [str(tone_shards / name) for name in ("train", "valid")]
    context = make_context(tone_shards, train=(f"{folders[0]}=2.5", folders[1]))
    facts = card_facts(context, result_of(context, first=""), "step 40")
    assert (facts.train, facts.train_weights) == (folders, [2.5, 1.0])


@pytest.mark.parametrize(("given", "expected"), [("mit", "mit"), (None, "apache-2.0")])
def test_the_license_is_that_of_the_flag_or_of_the_card_of_the_model(
    given: str | None, expected: str, tone_shards: Path, tmp_path: Path
) -> None:
    context = make_context(tone_shards, license=given)
    context.recognizer.save(tmp_path / "base")
    (tmp_path / "base" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    config = replace(context.config, model=replace(context.config.model, model=str(tmp_path / "base")))
    facts = card_facts(replace(context, config=config), result_of(context, first=""), "step 40")
    assert facts.license == expected
