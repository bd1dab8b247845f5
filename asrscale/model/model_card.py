"""The README.md of an exported model folder, as the Hugging Face hub reads it: metadata, results, how to use it.

It may become public: no path of this machine is in it, only the names of folders.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from asrscale.common.addresses import clean_json, clean_value
from asrscale.common.checkpoint_files import may_be_hub_id, split_revision
from asrscale.speech.languages import short_code
from asrscale.speech.normalisation import TextRules, describe_rules

THIS_FOLDER = "PATH_OF_THIS_FOLDER"  # in the programs of a card that has no place on the hub
UNKNOWN_LICENSE = "unknown"  # as the hub calls it

_METRICS = {"wer": "word error rate", "cer": "character error rate"}
_WHEN = {"before": "before the first step", "best": "at the best evaluation", "last": "at the last"}
_HOME = re.compile(r"^/(home|Users)/[^/]+/?")
_NO_NAMES = ("train", "valid", "validation", "dev", "test", "shards")  # of data: what a folder of it is, not which

_TEMPLATE = """---
{metadata}
---

# {name}

| | |
|---|---|
| started from | {start} |
| trained on | {train}: {train_utterances:,} utterances, {train_hours:.2f} h |
| validated on | {valid}: {valid_utterances:,} utterances |
{rate_rows}
| best model chosen by | {deciding} |
| weights | {weights} |

Greedy CTC decoding of 16 kHz mono audio, no language model. Transcripts were normalised before training, and hypotheses
before they were compared with them:

{transcripts}

## Use

{use}

## Settings

```json
{settings}
```
"""

_USE_PIPELINE = """```python
import soundfile, transformers

audio, sample_rate_hz = soundfile.read("speech.wav", dtype="float32")
recognise = transformers.pipeline("automatic-speech-recognition", "{model}")
print(recognise({{"raw": audio, "sampling_rate": sample_rate_hz}})["text"])
```
"""

_USE_BATCH = """Several recordings at once: the pipeline's `batch_size`, and a Trainer's evaluation, would also read
letters into the padding behind the shorter ones. The last three lines cut each to its own frames:

```python
import soundfile
from transformers import AutoModelForCTC, AutoProcessor

processor = AutoProcessor.from_pretrained("{model}")
model = AutoModelForCTC.from_pretrained("{model}").eval()
clips = [soundfile.read(file, dtype="float32")[0] for file in ("speech.wav", "more.wav")]  # 16 kHz, mono
inputs = processor(clips, sampling_rate=16_000, padding=True, return_attention_mask=True, return_tensors="pt")
logits = model(**inputs.to(model.dtype)).logits
frames = model._get_feat_extract_output_lengths(inputs.attention_mask.sum(-1)).tolist()
texts = [processor.decode(one[:count].argmax(-1)) for one, count in zip(logits, frames)]
print(texts)
```
"""

_USE_ALONE = """One recording at a time, `batch_size` 1 as it is by default: in a batch, transformers lets the padding
behind the shorter recordings change what this model recognises. asrscale evaluates it without that.
"""

_USE_ADAPTER = """This is the adapter, the head and the vocabulary of one language; all other weights are those of
`{base}`.

```python
import soundfile, torch
from safetensors.torch import load_file
from transformers import AutoProcessor, Wav2Vec2ForCTC

processor = AutoProcessor.from_pretrained("{model}")
tokens = len(processor.tokenizer)
model = Wav2Vec2ForCTC.from_pretrained("{base}", vocab_size=tokens, ignore_mismatched_sizes=True).eval()
model.load_state_dict(load_file("{adapter}"), strict=False)
audio, sample_rate_hz = soundfile.read("speech.wav", dtype="float32")
inputs = processor(audio, sampling_rate=sample_rate_hz, return_tensors="pt").to(model.dtype)
print(processor.decode(model(**inputs).logits[0].argmax(-1)))
```
"""


@dataclass(frozen=True)
class CardFacts:
    """What a card says of a finished run, besides its settings.

    Attributes:
        model_type: The family, as transformers calls it.
        text_rules: How the transcripts of the training data are normalised.
        train: The data set folders of the training data.
        train_weights: How often an epoch visited each utterance of them.
        train_hours: Audio in the training data.
        train_utterances: Utterances in the training data.
        results: Of the exported model on all validation data, as `asrscale.results.breakdown.break_down` returns them.
        weights: Which weights of the run the model has.
        reads_batches: Whether stock transformers gives a recording in a batch the text it has alone, once it is cut.
        license: As the hub calls it.
        adapter: The name of the file of an adapter that is exported without its base; "" for a whole model.
        while_training: Error rates on the same validation utterances `before` the first step, at the `best` evaluation
            and at the `last`, each by name; those that are not known are left out.
        utterances_while_training: On so many utterances.
    """

    model_type: str
    text_rules: Sequence[TextRules]
    train: Sequence[str]
    train_weights: Sequence[float]
    train_hours: float
    train_utterances: int
    results: Mapping[str, Any]
    weights: str
    reads_batches: bool
    license: str = UNKNOWN_LICENSE
    adapter: str = ""
    while_training: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    utterances_while_training: int = 0


def model_card(settings: Mapping[str, Any], facts: CardFacts) -> str:
    """Returns a model card.

    Args:
        settings: Of the run, each with its value: `valid`, `model`, `push_to_hub` and all others.
        facts: What else it says.
    """
    start = public_name(settings["model"])
    name = f"{start} fine-tuned with asrscale"
    return _TEMPLATE.format(
        metadata=_metadata(settings, facts, name).to_yaml().strip(),
        name=name,
        start=f"`{start}`",
        train=_list_mix(facts),
        train_utterances=facts.train_utterances,
        train_hours=facts.train_hours,
        valid=_list_names(settings["valid"]),
        valid_utterances=facts.results["utterances"],
        rate_rows="\n".join(_rate_rows(facts)),
        weights=facts.weights,
        deciding=_METRICS[facts.results["metric"]],
        transcripts="\n".join(f"- {describe_rules(rules)}" for rules in dict.fromkeys(facts.text_rules)),
        use=_use(settings, facts),
        settings=json.dumps(public_settings(settings), indent=2, ensure_ascii=False),
    )


def _metadata(settings: Mapping[str, Any], facts: CardFacts, name: str) -> ModelCardData:
    """Returns what the hub reads: https://huggingface.co/docs/hub/model-cards."""
    start = settings["model"]
    is_hub_id = not os.path.exists(start) and may_be_hub_id(start)
    languages = dict.fromkeys(short_code(rules.language) for rules in facts.text_rules if rules.language)
    return ModelCardData(
        language=list(languages) or None,  # which the hub wants without regions
        license=facts.license,
        library_name="transformers",
        pipeline_tag="automatic-speech-recognition",
        base_model=split_revision(start)[0] if is_hub_id else None,  # the hub refuses a card with another
        datasets=list(dict.fromkeys(map(_data_name, facts.train))),
        metrics=list(_in_order(facts.results)),
        tags=[facts.model_type, "ctc", "asrscale"],
        model_name=name,
        eval_results=[_eval_result(metric, settings, facts) for metric in _in_order(facts.results)],
    )


def _eval_result(metric: str, settings: Mapping[str, Any], facts: CardFacts) -> EvalResult:
    """Returns an error rate on the validation data, in percent, with its interval and what was compared."""
    results = facts.results
    return EvalResult(
        task_type="automatic-speech-recognition",
        task_name="Speech recognition",
        dataset_type=_data_name(settings["valid"][0]),
        dataset_name=", ".join(map(public_name, settings["valid"])),
        dataset_split=PurePosixPath(settings["valid"][0]).name,
        metric_type=metric,
        metric_name=f"{_METRICS[metric].capitalize()}, %",
        metric_value=round(100 * results[metric], 2),
        metric_args={
            "interval_95_percent": [round(100 * results[f"{metric}_{end}"], 2) for end in ("low", "high")],
            "utterances": results["utterances"],
            "normalizer": "; ".join(describe_rules(rules) for rules in dict.fromkeys(facts.text_rules)),
        },
    )


def _in_order(results: Mapping[str, Any]) -> list[str]:
    """Returns the error rates, the one that decides first."""
    return sorted(_METRICS, key=lambda metric: metric != results["metric"])


def _rate_rows(facts: CardFacts) -> Iterator[str]:
    """Yields the rows of the table with error rates: of the model, and how the run came to them."""
    for metric in _in_order(facts.results):
        yield _rate_row(_METRICS[metric], metric, facts.results)
        for name, results in facts.results["by"].get("data_set", {}).items():
            yield _rate_row(f"{_METRICS[metric]} of `{public_name(name)}`", metric, results)
    if facts.while_training:
        for metric in _in_order(facts.results):
            rates = [f"{rates[metric]:.2%} {_WHEN[name]}" for name, rates in facts.while_training.items()]
            where = f"while training, on {facts.utterances_while_training:,} of the utterances"
            yield f"| {_METRICS[metric]} {where} | {', '.join(rates)} |"


def _rate_row(title: str, metric: str, results: Mapping[str, Any]) -> str:
    interval = f"95 % interval {results[f'{metric}_low']:.2%} to {results[f'{metric}_high']:.2%}"
    return f"| {title} | {results[metric]:.2%} ({interval}) |"


def _use(settings: Mapping[str, Any], facts: CardFacts) -> str:
    """Returns programs that run as they are, next to a recording speech.wav."""
    model = settings["push_to_hub"] or THIS_FOLDER
    if facts.adapter:
        start = settings["model"]
        base = public_name(start) if may_be_hub_id(start) else "PATH_OF_THE_BASE"
        return _USE_ADAPTER.format(model=model, base=base, adapter=facts.adapter).strip()
    batches = _USE_BATCH.format(model=model) if facts.reads_batches else _USE_ALONE
    return f"{_USE_PIPELINE.format(model=model)}\n{batches}".strip()


def public_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of a run without what is about this machine only: names instead of paths."""
    public: dict[str, Any] = {}
    for name, value in settings.items():
        if name in ("run", "cache_dir"):
            continue
        if name in ("train", "valid"):
            public[name] = [public_name(folder) for folder in value]
        else:
            public[name] = public_name(value) if name in ("model", "vocab", "config") and value else value
    return dict(clean_json(public))


def public_name(place: str) -> str:
    """Returns what a place may be called in public: an id as it is, of a path or an address its last two parts."""
    if not os.path.exists(place) and may_be_hub_id(place):
        return place
    return "/".join(_public_parts(place)[-2:]) or "a folder"


def _public_parts(place: str) -> list[str]:
    """Returns the parts of a path or an address without its password, and without the folder of a user."""
    below_home = _HOME.sub("", place.removeprefix(f"{os.path.expanduser('~')}/"))
    return [part for part in PurePosixPath(clean_value(below_home)).parts if part not in ("/", "..", "~")]


def _data_name(folder: str) -> str:
    """Returns the name of a data set, of which a folder is a split."""
    parts = [part for part in _public_parts(folder) if part not in _NO_NAMES]
    return parts[-1] if parts else "speech"


def _list_mix(facts: CardFacts) -> str:
    """Returns the names of the training data, those that an epoch visits more or less than once with their weights."""
    weights = [f" × {weight:g}" if weight != 1 else "" for weight in facts.train_weights]
    names = [public_name(folder) for folder in facts.train]
    return ", ".join(f"`{name}`{weight}" for name, weight in zip(names, weights, strict=True))


def _list_names(folders: Iterable[str]) -> str:
    return ", ".join(f"`{public_name(folder)}`" for folder in folders)
