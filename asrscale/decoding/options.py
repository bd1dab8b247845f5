"""The flags of decoding, and what an earlier run has tuned."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asrscale.common import cli
from asrscale.common.atomic_files import write_json
from asrscale.common.errors import CliError
from asrscale.common.json_values import parse_object, positive_number
from asrscale.decoding.beam_search import Pruning
from asrscale.decoding.decoder import Decoder
from asrscale.decoding.hot_word_files import Phrases, read_hot_words
from asrscale.decoding.scoring import Weights, build_scorer
from asrscale.ngrams.storage import open_model
from asrscale.speech.normalisation import NEUTRAL, TextRules
from asrscale.speech.vocabulary import Vocabulary

TUNED_FILE = "decoding.json"

DEFAULT_WEIGHTS = Weights(lm_weight=1.0, word_bonus=1.0)

# Of those that were tried the cheapest whose texts hardly differ from those of a search of eight times as many and
# twice as unlikely ones, where models are unsure, too (docs/experiments/language-models.md).
DEFAULT_BEAM = 64
_BEAM_PRUNING = 25.0  # in nats
_TOKEN_PRUNING = 12.0  # in nats: e**-12 of the best token is 1 in 160,000


@dataclass(frozen=True)
class Tuning:
    """What is tuned for a model and a language model: the weights, and the temperature of `Decoder`."""

    weights: Weights
    temperature: float = 1.0


@dataclass(frozen=True)
class DecodingOptions:
    """Language model and hot words."""

    lm: str | None = cli.setting(None, help="language model: a folder of asrscale.lm, or an ARPA file")
    lm_weight: float | None = cli.setting(
        None, help="what its log-probability counts", default_text="what --tune found, else 1"
    )
    word_bonus: float | None = cli.setting(
        None, help="added to the score for each word", default_text="what --tune found, else 1"
    )
    beam: int = cli.setting(DEFAULT_BEAM, help="texts that are followed at once")
    lexicon: bool = cli.setting(False, help="find words of --lm and --hot_words only, and no others")
    hot_words: str | None = cli.setting(
        None, help="file of likely phrases, such as names: one on a line, perhaps a tab and its weight"
    )
    nbest: int = cli.setting(0, help="so many of the best texts with their scores, in json and predictions; 0: none")


def open_decoder(
    options: DecodingOptions, vocabulary: Vocabulary, rules: TextRules | None, search_temperature: float = 1.0
) -> tuple[Decoder | None, list[str]]:
    """Returns the decoder that options ask for, and lines about what it leaves out; None where they ask for none.

    Args:
        options: The flags.
        vocabulary: Of the model.
        rules: How the transcripts of its training are normalised; None where it does not say.
        search_temperature: Of the model's confidences in a search without a language model.

    Raises:
        CliError: Options contradict each other, or a file cannot be used.
    """
    _check(options)
    if not is_search(options):
        return None, []
    phrases: Phrases = {}
    notes: list[str] = []
    if options.hot_words is not None:
        phrases, notes = read_hot_words(options.hot_words, rules or NEUTRAL, vocabulary)
    model = open_model(options.lm) if options.lm else None
    tuned = read_tuned(options.lm) if options.lm else Tuning(Weights(), search_temperature)
    weights = _weights(options, tuned.weights)
    scorer, unspelled = build_scorer(vocabulary, model, weights, closed=options.lexicon, hot_phrases=phrases)
    if unspelled:
        notes.append(f"the model has no tokens for {unspelled:,} words of the language model: they are never found")
    pruning = Pruning(options.beam, _BEAM_PRUNING, _TOKEN_PRUNING)
    return Decoder(scorer, pruning, tuned.temperature, options.nbest), notes


def is_search(options: DecodingOptions) -> bool:
    """Whether texts are searched for, instead of being read off the best path."""
    return options.lm is not None or options.hot_words is not None or options.nbest > 0


def _check(options: DecodingOptions) -> None:
    """Raises CliError where options contradict each other or are out of range."""
    if options.lm is None and (options.lm_weight is not None or options.lexicon):
        raise CliError("--lm_weight and --lexicon are about a language model: give --lm, too")
    if not is_search(options) and options.word_bonus is not None:
        raise CliError("--word_bonus is for a search with --lm, --hot_words or --nbest: give one of them")
    if options.nbest < 0 or options.nbest > options.beam:
        raise CliError(f"--nbest {options.nbest}: give a number from 0 to --beam, {options.beam}")
    if options.beam < 1:
        raise CliError(f"--beam {options.beam}: give a number above 0")


def _weights(options: DecodingOptions, tuned: Weights) -> Weights:
    """Returns the weights by the flags, else as tuned."""
    lm_weight = tuned.lm_weight if options.lm_weight is None else options.lm_weight
    word_bonus = tuned.word_bonus if options.word_bonus is None else options.word_bonus
    return Weights(lm_weight, word_bonus)


def tuned_file(lm: str) -> Path:
    """Returns where the tuned weights of a language model are: in its folder, or beside its ARPA file."""
    path = Path(lm)
    return path / TUNED_FILE if path.is_dir() else path.with_name(f"{path.name}.{TUNED_FILE}")


def read_tuned(lm: str) -> Tuning:
    """Returns what is tuned for a language model, or the default where it has nothing.

    Raises:
        CliError: The file is damaged.
    """
    path = tuned_file(lm)
    if not path.is_file():
        return Tuning(DEFAULT_WEIGHTS)
    try:
        values = parse_object(path.read_text(encoding="utf-8"))
        weights = Weights(float(values["lm_weight"]), float(values["word_bonus"]))
        return Tuning(weights, positive_number(values.get("temperature", 1.0)))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CliError(f"{path} is damaged ({error}): delete it, or tune again") from error


def write_tuned(path: Path, tuned: Tuning, known: dict[str, Any]) -> None:
    """Writes what is tuned with what is known of how it was found."""
    write_json(path, {**asdict(tuned.weights), "temperature": tuned.temperature, **known})
