"""N-gram language models of transcripts and other text.

python -m asrscale.lm --data data/cv/train --text news.txt.gz --eval data/cv/dev,data/cv/test --exclude --out lm/cv
"""

from dataclasses import dataclass
from pathlib import Path

from asrscale.common import cli
from asrscale.common.errors import CliError
from asrscale.ngrams.building import Built, Text, build
from asrscale.ngrams.sentences import rules_of_data_sets
from asrscale.speech.languages import check_language
from asrscale.speech.normalisation import NEUTRAL, TextRules, name_rules

MIN_ORDER, MAX_ORDER = 2, 5


@dataclass(frozen=True)
class LmOptions:
    """Builds an n-gram language model with modified Kneser-Ney smoothing, in bounded memory.

    The folder has the model, and an ARPA file for other toolkits.
    """

    out: str = cli.setting(help="folder to write; a language model that is there is replaced")
    data: tuple[str, ...] = cli.setting((), help="data set folders whose transcripts are the text: those of training")
    text: tuple[str, ...] = cli.setting((), help="text files, a sentence on a line, perhaps packed as .gz")
    eval: tuple[str, ...] = cli.setting(
        (), help="data set folders to measure on: perplexity and unknown words; their sentences may not be in the text"
    )
    exclude: bool = cli.setting(False, help="leave out of the text what holds a sentence of --eval")
    model: str | None = cli.setting(
        None, help="without --data: fine-tuned model, as whose transcripts the text is normalised"
    )
    language: str | None = cli.setting(
        None, help="with --text alone: language by whose rules it is normalised, as en or pt-BR"
    )
    order: int = cli.setting(3, help="most words of an n-gram, from 2 to 5")
    prune: tuple[int, ...] = cli.setting(
        (0,),
        help="largest count of n-grams that are left out, by order, the last for all higher ones; as 0,0,1",
    )
    arpa: bool = cli.setting(True, help="write an ARPA file, too")


def run(options: LmOptions) -> None:
    """Builds the model and prints what it holds.

    Raises:
        CliError: Options contradict each other, or a source cannot be used.
    """
    prune = _check(options)
    text = Text(
        data=options.data,
        files=options.text,
        rules=_rules(options),
        evaluation=options.eval,
        leaves_out=options.exclude,
    )
    built = build(text, order=options.order, prune=prune, out=Path(options.out), arpa=options.arpa)
    print(_report(built, text, options.out))


def _check(options: LmOptions) -> tuple[int, ...]:
    """Returns the threshold of pruning of each order; raises CliError for options that cannot be followed."""
    if not options.data and not options.text:
        raise CliError("there is no text: give --data, --text or both")
    if options.exclude and not options.eval:
        raise CliError("--exclude is about the sentences of --eval: give that, too")
    if not MIN_ORDER <= options.order <= MAX_ORDER:
        raise CliError(f"--order {options.order}: give a number from {MIN_ORDER} to {MAX_ORDER}")
    prune = [*options.prune, *options.prune[-1:] * options.order][: max(options.order, len(options.prune))]
    if len(prune) > options.order or prune[0] != 0 or prune != sorted(prune):
        raise CliError(
            "--prune: give at most one number for each order, 0 for words and never a smaller one behind a larger, "
            "as 0,0,1"
        )
    return tuple(prune)


def _rules(options: LmOptions) -> TextRules:
    """Returns how the text is normalised; raises CliError where that is said in two ways."""
    if options.data:
        if options.model or options.language:
            raise CliError("--data says how its transcripts are normalised: leave out --model and --language")
        rules = rules_of_data_sets([*options.data, *options.eval])
        assert rules is not None, "of at least one folder"
        return rules
    if options.model and options.language:
        raise CliError("--model says how its transcripts are normalised: leave out --language")
    of_evaluation = rules_of_data_sets(options.eval)
    if options.language:
        return TextRules(language=check_language(options.language, "--language"))
    of_model = _rules_of_model(options.model) if options.model else None
    return of_model or of_evaluation or NEUTRAL


def _rules_of_model(name: str) -> TextRules | None:
    """Returns how the transcripts of a model's training were normalised; None where it does not say."""
    from asrscale.model.checkpoints import load_config  # takes longer than most models of transcripts to be built
    from asrscale.model.model_folders import find_model
    from asrscale.model.recognizer import rules_in_config

    return rules_in_config(load_config(find_model(name).settings))


def _report(built: Built, text: Text, out: str) -> str:
    """Returns what a person wants to know of a finished model."""
    orders = ", ".join(f"{size:,} {n}-grams" for n, size in enumerate(built.sizes[1:], 2))
    lines = [
        f"text: {built.sentences:,} sentences, {built.running_words:,} words, {built.sizes[0] - 3:,} different ones, "
        f"normalised as {name_rules(text.rules)}",
        f"model: {orders}",
    ]
    guessed = [f"{n}" for n, discounts in enumerate(built.discounts, 1) if discounts.is_fallback]
    if guessed:
        lines.append(
            f"discounts of order {', '.join(guessed)} are 0.5, 1 and 1.5: the text is too small or too regular to "
            "estimate them"
        )
    if built.left_out:
        lines.append(f"left out of the text: {built.left_out:,} sentences that hold one of --eval")
    for folder, found in built.perplexities.items():
        lines.append(
            f"{folder}: perplexity {found.perplexity:.2f}, without unknown words {found.perplexity_of_known:.2f}; "
            f"{found.unknown:,} of {found.words:,} words unknown ({found.unknown_rate:.2%})"
        )
    return "\n".join([*lines, f"written to {out}"])


if __name__ == "__main__":
    cli.run(LmOptions, run)
