"""What a run is given: read before the libraries are imported, which takes seconds, so that it is refused at once."""

from dataclasses import dataclass

from asrscale.augmentation.augment import Augmentation, open_augmentation
from asrscale.data.catalog import Catalog
from asrscale.data.index import Index, read_index
from asrscale.data.mixing import read_mix
from asrscale.training.config import TrainConfig


@dataclass(frozen=True, eq=False)
class RunData:
    """What a run is given."""

    catalog: Catalog  # the training data
    valid: Index
    augmentation: Augmentation | None  # what is done to the sound of training


def read_run_data(config: TrainConfig) -> RunData:
    """Reads what the data set folders of a run record about themselves, and opens what is added to the sound.

    Raises:
        CliError: A folder is missing, damaged or empty.
    """
    return RunData(
        catalog=read_mix(config.data.train, config.data.mix_temperature),
        valid=read_index(config.data.valid),
        augmentation=open_augmentation(config.data.augment),
    )
