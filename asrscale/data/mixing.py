"""Several data sets in one epoch: how often it visits the utterances of each.

The weight of a data set is the number of times that an epoch visits each of its utterances, on average.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from asrscale.common.errors import CliError, DataError
from asrscale.common.storage import is_remote, read_bytes
from asrscale.data.catalog import DATASET_FILE, Catalog, names_of_data_sets, read_catalog
from asrscale.speech.pcm import SAMPLE_RATE_HZ

MIN_WEIGHT = 0.001
MAX_WEIGHT = 1000
AS_THE_DATA_ARE = 1.0  # the temperature at which each utterance is visited once

# Of weights that a temperature gives: they are used as they are shown, and the last bits of a power, which differ
# between machines, decide nothing.
WEIGHT_DIGITS = 6


@dataclass(frozen=True)
class DataSet:
    """A data set folder in a mix.

    Attributes:
        name: The shortest that tells it from the others.
        hours: Of its audio, each recording counted once.
        weight: How often an epoch visits each of its utterances, on average.
    """

    name: str
    hours: float
    weight: float

    @property
    def epoch_hours(self) -> float:
        """Hours of its audio that an epoch visits."""
        return self.hours * self.weight


def read_mix(train: Sequence[str], temperature: float = AS_THE_DATA_ARE) -> Catalog:
    """Reads the catalog of `--train`: data set folders, each with its weight.

    Args:
        train: Folders, of which some may have a weight, as in `orders=0.3`.
        temperature: Of `--mix_temperature`, from which the weights follow instead.

    Raises:
        CliError: A weight is out of range, weights and a temperature are given; or as `read_catalog`.
    """
    split = [split_weight(text) for text in train]
    catalog = read_catalog([folder for folder, _ in split])
    if temperature != AS_THE_DATA_ARE:
        given = [text for text, (_, weight) in zip(train, split, strict=True) if weight is not None]
        if given:
            raise CliError(
                f"--train {given[0]} and --mix_temperature {temperature:g} both say how often data are visited: give "
                "one of the two"
            )
        weights = _weights_by_temperature(catalog, temperature)
    else:
        weights = [1.0 if weight is None else weight for _, weight in split]
    names = names_of_data_sets(catalog.shards)
    weight_of = dict(zip(dict.fromkeys(names), weights, strict=True))
    return replace(catalog, weights=np.array([weight_of[name] for name in names], np.float64))


def split_weight(text: str) -> tuple[str, float | None]:
    """Returns the folder and the weight of an item of `--train`, such as `orders=0.3`; None where it has no weight.

    What is the name of a data set as it stands is taken for that, such as `year=2017`.

    Raises:
        CliError: The weight is no number from `MIN_WEIGHT` to `MAX_WEIGHT`.
    """
    folder, equals_sign, weight_text = (part.strip() for part in text.rpartition("="))
    if not equals_sign or not _may_have_weight(text, folder):
        return text, None
    try:
        weight = float(weight_text)
    except ValueError:
        if is_remote(folder):
            return text, None  # a part of the address
        raise CliError(f"--train {text}: {weight_text!r} is no weight: give a number, as {folder}=0.5") from None
    if is_remote(folder) and _is_remote_data_set(text):
        return text, None
    if weight == 0:
        raise CliError(f"--train {text}: weight 0 visits nothing: leave the folder out")
    if not MIN_WEIGHT <= weight <= MAX_WEIGHT:
        raise CliError(f"--train {text}: give a weight from {MIN_WEIGHT:g} to {MAX_WEIGHT:,}, as {folder}=0.5")
    return folder, weight


def _may_have_weight(text: str, folder: str) -> bool:
    """Whether `text` is no folder itself, but begins with one; of URLs, whether it begins with another URL."""
    if is_remote(folder):
        return True
    return os.path.exists(folder) and not os.path.exists(text)


def _is_remote_data_set(url: str) -> bool:
    """Whether there is a data set folder behind a URL."""
    try:
        read_bytes(f"{url.rstrip('/')}/{DATASET_FILE}")
    except (FileNotFoundError, DataError):  # some servers forbid what does not exist
        return False
    return True


def _weights_by_temperature(catalog: Catalog, temperature: float) -> list[float]:
    """Returns the weight of each folder with which it has its share of an epoch by temperature sampling.

    The share of a data set of h hours is proportional to h^(1/T): T = 1 leaves the data as they are, a high T makes
    all shares equal (Conneau and Lample 2019, "Cross-lingual language model pretraining", where 1/T is alpha). The
    hours of an epoch stay the same.

    Raises:
        CliError: A weight is above `MAX_WEIGHT`.
    """
    hours = np.array([one.hours for one in data_sets(catalog)])
    hours_to_power = hours ** (1 / temperature)
    shares = hours_to_power / hours_to_power.sum()
    weights = shares * hours.sum() / hours
    rounded = [float(f"{weight:.{WEIGHT_DIGITS}g}") for weight in weights.tolist()]
    if max(rounded) > MAX_WEIGHT:
        name = data_sets(catalog)[int(np.argmax(rounded))].name
        raise CliError(
            f"--mix_temperature {temperature:g} would visit each utterance of {name} {max(rounded):,.0f} times an "
            f"epoch, more than {MAX_WEIGHT:,}: give a lower temperature, or weights"
        )
    return rounded


def data_sets(catalog: Catalog) -> list[DataSet]:
    """Returns the data sets of a catalog, in their order."""
    names = np.array(names_of_data_sets(catalog.shards))
    found = []
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        hours = float(catalog.samples[own].sum()) / SAMPLE_RATE_HZ / 3600
        found.append(DataSet(name, hours, weight=float(catalog.weights[own][0])))
    return found


def describe_mix(catalog: Catalog) -> str:
    """Returns the hours of each data set and of an epoch, as a line; "" for a single data set that is visited once."""
    found = data_sets(catalog)
    if len(found) == 1 and found[0].weight == 1:
        return ""
    parts = [_describe_data_set(one) for one in found]
    return f"{', '.join(parts)}: {catalog.epoch_hours:,.2f} h an epoch"


def _describe_data_set(one: DataSet) -> str:
    text = f"{one.name} {one.hours:,.2f} h × {one.weight:g}"
    return text if one.weight == 1 else f"{text} = {one.epoch_hours:,.2f} h"
