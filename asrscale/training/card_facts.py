"""What the card of an exported model says of its run."""

from collections.abc import Iterable

from asrscale.common.checkpoint_files import at_revision
from asrscale.data.mixing import data_sets, split_weight
from asrscale.model.hub import license_of
from asrscale.model.language_adapters import adapter_name
from asrscale.model.model_card import UNKNOWN_LICENSE, CardFacts
from asrscale.model.model_folders import find_model
from asrscale.model.padding import is_stock_padding_invariant
from asrscale.results.breakdown import break_down
from asrscale.results.evaluation import Evaluation
from asrscale.training.milestones import Milestone
from asrscale.training.run_context import RunContext


def card_facts(context: RunContext, result: Evaluation, weights: str, found: Iterable[Milestone] = ()) -> CardFacts:
    """Returns what the card says.

    Args:
        context: Of the run.
        result: Of the exported model on all validation data.
        weights: Which weights of the run it has.
        found: What the run came to on the utterances that it transcribed while training.
    """
    catalog = context.plan.catalog
    config = context.recognizer.model.config
    settings = context.config
    languages = context.recognizer.languages
    start = find_model(at_revision(settings.model.model, settings.model.revision)).settings
    return CardFacts(
        model_type=config.model_type,
        text_rules=catalog.text_rules,
        train=[split_weight(text)[0] for text in settings.data.train],
        train_weights=[one.weight for one in data_sets(catalog)],
        train_hours=catalog.hours,
        train_utterances=int(catalog.utterances.sum()),
        results=break_down(context.valid, result.hypotheses(), context.metric),
        weights=weights,
        while_training={one.name: one.rates for one in found},
        utterances_while_training=len(context.valid_subset),
        reads_batches=is_stock_padding_invariant(context.recognizer.model),
        license=settings.evaluation.license or license_of(start) or UNKNOWN_LICENSE,
        adapter=adapter_name(languages.code) if languages and settings.evaluation.export_adapter else "",
    )
