"""Where what is tuned is kept: temperatures in the model's folder, weights beside the language model."""

from pathlib import Path
from typing import Any

from asrscale.decoding.decoder import Decoder
from asrscale.decoding.exporting import export_language_model
from asrscale.decoding.options import Tuning, tuned_file, write_tuned
from asrscale.model.model_folders import find_model
from asrscale.model.temperature import write_temperature
from asrscale.results.calibration import FEWEST
from asrscale.results.metrics import Metric
from asrscale.results.tuning import Tuned


def keep_temperature(model: str, data: str, tuned: Tuned) -> list[str]:
    """Writes the temperature of the best paths into a model's folder; returns lines about it.

    Args:
        model: What `--model` names.
        data: What it was tuned on.
        tuned: What was found.
    """
    if tuned.temperature is None:
        return [f"confidences are not calibrated: fewer than {FEWEST} words are right, or wrong"]
    line = f"calibrated on {tuned.utterances:,} utterances of {data}: temperature {tuned.temperature:g}"
    folder = Path(find_model(model).settings)
    if not folder.is_dir():
        return [f"{line}; {model} is no folder, so it is not kept"]
    try:
        path = write_temperature(folder, tuned.temperature, {"data": data, "utterances": tuned.utterances})
    except OSError as error:
        return [line, _unwritten(error)]
    return [f"{line}, kept in {path}"]


def keep_search(model: str, data: str, lm: str, decoder: Decoder, tuned: Tuned, metric: Metric) -> list[str]:
    """Writes tuned weights beside a language model and into a model's folder; returns lines about both.

    Args:
        model: What `--model` names.
        data: What it was tuned on.
        lm: What `--lm` names.
        decoder: Has the language model.
        tuned: What was found.
        metric: Which error rate decided.
    """
    assert tuned.search is not None and decoder.scorer.model is not None, "there is a language model"
    weights = tuned.search.weights
    rates = {name: counts.rate(metric) for name, counts in (("greedy", tuned.greedy), ("tuned", tuned.search.after))}
    known: dict[str, Any] = {"model": model, "data": data, "utterances": tuned.utterances, "metric": metric, **rates}
    kept = Tuning(weights, tuned.search.temperature or 1.0)
    lines = [
        f"tuned on {tuned.utterances:,} utterances of {data}: lm_weight {weights.lm_weight:g}, "
        f"word_bonus {weights.word_bonus:g}, temperature {kept.temperature:g}; {metric.upper()} {rates['tuned']:.2%}, "
        f"without a language model {rates['greedy']:.2%}"
    ]
    folder = Path(find_model(model).settings)
    try:
        write_tuned(tuned_file(lm), kept, known)
        lines.append(f"kept in {tuned_file(lm)}")
        if folder.is_dir():
            exported = export_language_model(decoder.scorer.model, lm, kept, known, folder)
            lines.append(f"the language model lies beside the weights, for --lm {exported}")
    except OSError as error:
        lines.append(_unwritten(error))
    return lines


def _unwritten(error: OSError) -> str:
    return f"warning: {error.filename} cannot be written: {error.strerror}"
