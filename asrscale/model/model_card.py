"""The README.md of an exported model folder, as the Hugging Face hub reads it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from asrscale.speech.languages import short_code
from asrscale.speech.normalisation import TextRules, describe_rules

TEMPLATE = """---
library_name: transformers
pipeline_tag: automatic-speech-recognition
tags:
- wav2vec2
- ctc
- asrscale
{language_lines}{base_model_line}---

# {model} fine-tuned with asrscale

| | |
|---|---|
| started from | `{model}` |
| trained on | {train_folders}: {train_utterances:,} utterances, {train_hours:.2f} h |
| validated on | {valid_folders}: {valid_utterances:,} utterances |
{rate_rows}
| best model chosen by | {deciding} |
| weights | {weights} |

Greedy CTC decoding of 16 kHz mono audio, no language model. Transcripts were normalised before training, and hypotheses
before they were compared with them:

{transcripts}

```python
import soundfile, transformers

audio, sample_rate_hz = soundfile.read("speech.wav", dtype="float32")
recognise = transformers.pipeline("automatic-speech-recognition", "{exported_model}")
print(recognise({{"raw": audio, "sampling_rate": sample_rate_hz}})["text"])
```

## Settings

```json
{settings}
```
"""


def model_card(
    settings: dict[str, Any],
    *,
    text_rules: Sequence[TextRules],
    train_hours: float,
    train_utterances: int,
    valid_utterances: int,
    rates: Mapping[str, float],
    weights: str,
) -> str:
    """Returns a model card: data, settings, and the error rates of the exported model on all validation data.

    Args:
        settings: Of the run, each with its value: `train`, `valid`, `model`, `push_to_hub` and all others.
        text_rules: How the transcripts of the training data are normalised; each is named once.
        train_hours: Audio in the training data.
        train_utterances: Utterances in the training data.
        valid_utterances: Utterances that the rates are of.
        rates: The error rates by their names, such as "word error rate"; the first decided which model is the best.
        weights: Which weights of the run the model has.
    """
    model = settings["model"]
    return TEMPLATE.format(
        language_lines=_language_lines(text_rules),
        transcripts="\n".join(f"- {describe_rules(rules)}" for rules in dict.fromkeys(text_rules)),
        base_model_line=_base_model_line(model),
        model=model,
        weights=weights,
        train_folders=_list_folders(settings["train"]),
        train_utterances=train_utterances,
        train_hours=train_hours,
        valid_folders=_list_folders(settings["valid"]),
        valid_utterances=valid_utterances,
        rate_rows="\n".join(f"| {name} | {rate:.2%} |" for name, rate in rates.items()),
        deciding=next(iter(rates)),
        exported_model=settings["push_to_hub"] or "PATH_OF_THIS_FOLDER",
        settings=json.dumps(settings, indent=2, ensure_ascii=False),
    )


def _language_lines(text_rules: Iterable[TextRules]) -> str:
    """Returns the card's `language` entry, which the hub wants without regions; "" where no language is known."""
    codes = dict.fromkeys(short_code(rules.language) for rules in text_rules if rules.language)
    return "".join(["language:\n", *(f"- {code}\n" for code in codes)]) if codes else ""


def _base_model_line(model: str) -> str:
    """Returns the card's `base_model` line; "" where the model is no id, since the hub refuses a card with another."""
    is_hub_id = model.count("/") == 1 and not Path(model).exists()
    return f"base_model: {model}\n" if is_hub_id else ""


def _list_folders(folders: Iterable[str]) -> str:
    return ", ".join(f"`{folder}`" for folder in folders)
