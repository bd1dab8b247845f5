"""Refuses training data that the vocabulary, the memory cap or CTC does not allow."""

from collections import Counter

from asrscale.common.distributed import World, print_on_main
from asrscale.common.errors import CliError
from asrscale.data.epoch_plan import find_step
from asrscale.data.index import read_shards
from asrscale.data.run_plan import RunPlan, read_window
from asrscale.model.recognizer import Recognizer
from asrscale.speech.pcm import SAMPLE_RATE_HZ
from asrscale.speech.vocabulary import Vocabulary
from asrscale.training.config import TrainConfig

SHOWN_CHARACTERS = 5


def check_data(config: TrainConfig, recognizer: Recognizer, plan: RunPlan, world: World) -> None:
    """Checks the training data before any work, and prints what of them is left out.

    Raises:
        CliError: The vocabulary lacks too many characters, an utterance is longer than a pass may be, or no utterance
            can be trained on.
    """
    _check_characters(config, recognizer, plan, world)
    _check_longest_utterance(config, plan)
    _check_transcripts_fit(plan, world)


def _check_characters(config: TrainConfig, recognizer: Recognizer, plan: RunPlan, world: World) -> None:
    """Refuses transcripts with too many characters that the vocabulary lacks."""
    vocabulary = recognizer.vocabulary
    unknown, num_characters = _unknown_characters(vocabulary, plan)
    if not unknown:
        return

    worst = ", ".join(f"'{character}' ×{count:,}" for character, count in unknown.most_common(SHOWN_CHARACTERS))
    share = unknown.total() / num_characters
    if share > config.data.max_unknown_fraction:
        raise CliError(
            f"the vocabulary of --model {config.model.model} misses {share:.1%} of the transcripts' characters "
            f"({worst}): correct the transcripts, choose another model, or raise --max_unknown_fraction"
        )
    became = f"become {vocabulary.unknown}" if vocabulary.unknown else "have no label and are left out"
    print_on_main(world, f"{unknown.total():,} characters {became}: {worst}")


def _unknown_characters(vocabulary: Vocabulary, plan: RunPlan) -> tuple[Counter[str], int]:
    """Returns how often each character that the vocabulary lacks occurs, and among how many characters.

    By the counts of dataset.json; where tokens have several characters, which may hold one that has no token alone, by
    the transcripts of the first window that have such a character.
    """
    characters = plan.catalog.characters
    unknown = Counter[str]()
    for character, count in characters.items():
        if vocabulary.unknown_characters(character):
            unknown[character] = count
    if not unknown or not vocabulary.has_long_tokens:
        return unknown, characters.total()

    _, window, _ = find_step(plan.steps, 0, seed=plan.seed)
    texts = [text for index in read_window(plan, window) for text in index.texts.to_pylist()]
    suspicious = set(unknown)
    unknown = Counter()
    for text in texts:
        if suspicious.intersection(text):
            unknown.update(vocabulary.unknown_characters(text))
    return unknown, sum(map(len, texts))


def _check_longest_utterance(config: TrainConfig, plan: RunPlan) -> None:
    """Refuses an utterance that is longer than a pass may be; names it."""
    cap_seconds = config.memory.memory_cap_seconds
    if plan.longest_samples <= cap_seconds * SAMPLE_RATE_HZ:
        return
    catalog = plan.catalog
    index = read_shards(catalog, [int(catalog.longest_samples.argmax())])
    utterance = int(index.num_samples.argmax())
    longest_seconds = plan.longest_samples / SAMPLE_RATE_HZ
    raise CliError(
        f"--memory_cap_seconds {cap_seconds:g} is below the longest utterance, {longest_seconds:.1f} s{plan.slowdown} "
        f"in {index.name(utterance)}: raise it, or build the shards with a lower --max_seconds"
    )


def _check_transcripts_fit(plan: RunPlan, world: World) -> None:
    """Refuses data of which every utterance is too short for its transcript; prints how many are.

    Looks at the first window, which for all but huge data is everything.
    """
    _, window, _ = find_step(plan.steps, 0, seed=plan.seed)
    usable, too_short = read_window(plan, window)
    if not len(usable):
        raise CliError("no utterance can be trained on: each is too short for its transcript, or has none")
    if len(too_short):
        count = len(too_short)
        example = too_short.name(0)
        print_on_main(world, f"{count:,} utterances left out, too short for their transcript: first {example}")
