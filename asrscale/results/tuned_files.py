"""Where what is tuned is kept: temperatures in the model's folder, weights beside the language model."""

from pathlib import Path
from typing import Any

from asrscale.decoding.decoder import Decoder
from asrscale.decoding.exporting import export_language_model
from asrscale.decoding.options import Tuning, tuned_file, write_tuned
from asrscale.model.model_folders import find_model
from asrscale.model.temperature import write_temperatures
from asrscale.results.calibration import FEWEST
from asrscale.results.metrics import Metric
from asrscale.results.tuning import Tuned


def keep_temperatures(model: str, data: str, tuned: Tuned, *, has_language_model: bool) -> list[str]:
    """Writes the temperatures of the best paths, and of a search, into a model's folder; returns lines about them.

    Args:
        model: What `--model` names.
        data: What they were tuned on.
        tuned: What was found.
        has_language_model: Whether the search has one, beside whose weights its temperature is kept.
    """
    fitted = {"of the best paths": tuned.temperature}
    of_search = None
    if tuned.search is not None and not has_language_model:
        of_search = tuned.search.temperature
        fitted["of a search without a language model"] = of_search
    lines = [_not_calibrated(what, data) for what, temperature in fitted.items() if temperature is None]
    found = [f"temperature {temperature:g} {what}" for what, temperature in fitted.items() if temperature is not None]
    if not found:
        return lines
    line = f"confidences calibrated on {tuned.utterances:,} utterances of {data}: {', '.join(found)}"
    folder = Path(find_model(model).settings)
    if not folder.is_dir():
        return [*lines, f"{line}; {model} is no folder, so this is not kept"]
    try:
        path = write_temperatures(folder, tuned.temperature, of_search, {"data": data, "utterances": tuned.utterances})
    except OSError as error:
        return [*lines, line, _unwritten(error, folder)]
    return [*lines, f"{line}; kept in {path}"]


def _not_calibrated(what: str, data: str) -> str:
    return f"confidences {what} cannot be calibrated on {data}: fewer than {FEWEST} words are right, or wrong"


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
    if tuned.search.temperature is None:
        lines.append(_not_calibrated("with the language model", data))
    folder = Path(find_model(model).settings)
    try:
        write_tuned(tuned_file(lm), kept, known)
        lines.append(f"kept in {tuned_file(lm)}")
        if folder.is_dir():
            exported = export_language_model(decoder.scorer.model, lm, kept, known, folder)
            lines.append(f"the language model lies beside the weights, for --lm {exported}")
    except OSError as error:
        lines.append(_unwritten(error, Path(lm)))
    return lines


def _unwritten(error: OSError, place: Path) -> str:
    """Returns a line about what could not be written; an error of a full disk names no file."""
    return f"warning: {error.filename or place} cannot be written: {error.strerror or error}"
