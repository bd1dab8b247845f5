"""The README.md of an exported model folder, as the Hugging Face hub reads it."""

import json
from pathlib import Path
from typing import Any


def model_card(
    settings: dict[str, Any],
    *,
    train_hours: float,
    train_utterances: int,
    valid_utterances: int,
    wer: float,
    cer: float,
) -> str:
    """A model card: data, resolved settings, and the error rates of the exported model on all validation data."""
    train, valid = (", ".join(f"`{folder}`" for folder in settings[name]) for name in ("train", "valid"))
    # The hub refuses a card whose base_model is no id.
    is_id = settings["model"].count("/") == 1 and not Path(settings["model"]).exists()
    base = f"base_model: {settings['model']}\n" if is_id else ""
    return f"""---
library_name: transformers
pipeline_tag: automatic-speech-recognition
tags:
- wav2vec2
- ctc
- asrscale
{base}---

# {settings["model"]} fine-tuned with asrscale

| | |
|---|---|
| started from | `{settings["model"]}` |
| trained on | {train}: {train_utterances:,} utterances, {train_hours:.2f} h |
| validated on | {valid}: {valid_utterances:,} utterances |
| word error rate | {wer:.2%} |
| character error rate | {cer:.2%} |

Greedy CTC decoding of 16 kHz mono audio, no language model; transcripts and hypotheses were compared in lower case
without punctuation.

```python
import soundfile, transformers

audio, sample_rate_hz = soundfile.read("speech.wav", dtype="float32")
recognise = transformers.pipeline("automatic-speech-recognition", "{settings["push_to_hub"] or "PATH_OF_THIS_FOLDER"}")
print(recognise({{"raw": audio, "sampling_rate": sample_rate_hz}})["text"])
```

## Settings

```json
{json.dumps(settings, indent=2, ensure_ascii=False)}
```
"""
