"""The README.md of a build: from it the library `datasets`, and the hub, know which shards are which split."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from asrscale.common.atomic_files import write_text
from asrscale.data.catalog import DATASET_FILE
from asrscale.data.tars import read_records, split_member_name, tar_members

CARD_FILE = "README.md"

# Whoever writes a card of their own removes it.
MARK = "# written by asrscale.shard, and again by the next build unless this line is removed"

_TEXT_FIELDS = ("__key__", "__url__", "txt")  # what `datasets` has of each member of a tar, and our transcript

_NOT_AUDIO = ("txt", "json")


def write_card(out: str) -> None:
    """Writes OUT/README.md for all folders that builds completed below `out`; leaves a file that somebody else wrote.

    With it `load_dataset(OUT)` has the splits, also once the folder is pushed to the hub; without it, `datasets` takes
    the index for the data. The columns are listed, because it would look for them in the first five utterances only,
    and leave out those that these do not have; here the first shard of each split is looked at.
    """
    path = Path(out, CARD_FILE)
    if path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return
    complete = sorted(file.parent for file in Path(out).glob(f"*/{DATASET_FILE}"))
    folders = [folder for folder in complete if _first_shard(folder).exists()]
    write_text(path, "\n".join(["---", *_metadata(folders), "---", "", *_table(folders)]) + "\n")


def _first_shard(folder: Path) -> Path:
    """Returns where the build of a split writes its first shard."""
    return folder / f"{folder.name}-000000.tar"


def _metadata(folders: list[Path]) -> list[str]:
    """Returns the lines of YAML that `datasets` reads: its splits, and its columns."""
    shards = [_first_shard(folder) for folder in folders]
    lines = [MARK, "task_categories:", "- automatic-speech-recognition", "configs:", "- config_name: default"]
    lines.append("  data_files:")
    for folder in folders:
        # The library allows letters, digits and underscores.
        split = re.sub("[^a-z0-9_]", "_", folder.name)
        lines += [f"  - split: {split}", f"    path: {folder.name}/*.tar"]
    lines += ["dataset_info:", "  features:"]
    for name in _TEXT_FIELDS:
        lines += [f"  - name: {name}", "    dtype: string"]
    for name in _audio_extensions(shards):
        lines += [f"  - name: {name}", "    dtype: audio"]
    lines += ["  - name: json", "    struct:"]
    for name in _columns(shards):
        lines += [f"    - name: {json.dumps(name)}", "      dtype: string"]
    return lines


def _audio_extensions(shards: Iterable[Path]) -> list[str]:
    """Returns the extensions of the recordings in shards: one, but where their files are stored as they are."""
    extensions = {split_member_name(name)[1] for shard in shards for name, _ in tar_members(str(shard))}
    return sorted(extensions.difference(_NOT_AUDIO))


def _columns(shards: Iterable[Path]) -> list[str]:
    """Returns the names of the columns that the KEY.json in shards have."""
    return sorted({name for shard in shards for record in read_records(str(shard)).values() for name in record})


def _table(folders: Iterable[Path]) -> list[str]:
    """Returns the lines of a table of the splits."""
    lines = ["| split | utterances | hours |", "|---|---|---|"]
    for folder in folders:
        about = json.loads((folder / DATASET_FILE).read_bytes())
        lines.append(f"| {folder.name} | {about['utterances']:,} | {about['hours']:.2f} |")
    return lines
