"""Transcribed utterances as rows, and the table of error rates."""

from collections.abc import Iterable, Iterator
from typing import Any

from asrscale.data.index import Index
from asrscale.results.evaluation import Evaluation
from asrscale.speech.pcm import SAMPLE_RATE_HZ


def predictions(index: Index, hypotheses: Iterable[tuple[int, str]]) -> Iterator[dict[str, Any]]:
    """A row for each utterance that was heard: key, seconds, reference, hypothesis."""
    for i, text in hypotheses:
        key, reference, seconds = index.keys[i].as_py(), index.texts[i].as_py(), index.num_samples[i] / SAMPLE_RATE_HZ
        yield {"key": key, "seconds": float(seconds), "reference": reference, "hypothesis": text}


def table(rows: dict[str, tuple[Index, Evaluation]]) -> str:
    """The results of several data sets as text, a line each."""
    width = max(len("data"), *map(len, rows))
    lines = [f"{'data':{width}}  utterances   hours     WER     CER   sub   del   ins"]
    for name, (index, result) in rows.items():
        e = result.errors
        lines.append(
            f"{name:{width}}  {e.utterances:>10,}  {index.hours:>6.2f}  {e.wer:>6.2%}  {e.cer:>6.2%}  "
            f"{e.word_substitutions:>4}  {e.word_deletions:>4}  {e.word_insertions:>4}"
        )
    lost = {name: result.damaged for name, (_, result) in rows.items() if result.damaged}
    return "\n".join(lines + [f"{name}: {count:,} damaged utterances are left out" for name, count in lost.items()])
