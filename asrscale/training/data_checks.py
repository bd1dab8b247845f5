"""Refuses training data that the vocabulary, the memory cap or CTC does not allow."""

from collections import Counter

from asrscale.common.distributed import World, print_on_main
from asrscale.common.errors import CliError
from asrscale.data.epoch_plan import find_step
from asrscale.data.index import read_shards
from asrscale.data.run_plan import RunPlan, read_window
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.training.config import TrainConfig


def check_data(config: TrainConfig, recognizer: Recognizer, plan: RunPlan, world: World) -> None:
    """Refuses data that the vocabulary, the memory cap or CTC does not allow, and says what of them is left out."""
    catalog, missed = plan.catalog, recognizer.vocabulary.unknown_characters
    unknown = Counter({character: count for character, count in catalog.characters.items() if missed(character)})
    worst = ", ".join(f"'{character}' ×{count:,}" for character, count in unknown.most_common(5))
    share = unknown.total() / max(1, catalog.characters.total())
    if share > config.data.max_unknown_fraction:
        raise CliError(
            f"the vocabulary of --model {config.model.model} misses {share:.1%} of the transcripts' "
            f"characters ({worst}): correct the transcripts, choose another model, or raise --max_unknown_fraction"
        )
    if unknown:
        print_on_main(world, f"{unknown.total():,} characters become {recognizer.vocabulary.unknown}: {worst}")
    if plan.longest_samples > config.memory.memory_cap_seconds * SAMPLE_RATE_HZ:
        index = read_shards(catalog, [int(catalog.longest_samples.argmax())])
        utterance = int(index.num_samples.argmax())
        raise CliError(
            f"--memory_cap_seconds {config.memory.memory_cap_seconds:g} is below the longest utterance, "
            f"{index.num_samples[utterance] / SAMPLE_RATE_HZ:.1f} s in {index.name(utterance)}: raise it, or build the "
            "shards with a lower --max_seconds"
        )
    _, window, _ = find_step(plan.steps, 0, seed=plan.seed)  # the first, which for all but huge data is everything
    usable, short = read_window(plan, window)
    if not len(usable):
        raise CliError("no utterance can be trained on: each is too short for its transcript, or has none")
    if len(short):
        print_on_main(
            world, f"{len(short):,} utterances left out, too short for their transcript: first {short.name(0)}"
        )
