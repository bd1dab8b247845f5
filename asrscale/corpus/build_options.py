"""The options of a build."""

from dataclasses import dataclass
from typing import Literal

from asrscale.common.cli import setting


@dataclass(frozen=True)
class ShardOptions:
    """Builds WebDataset shards of 16 kHz audio from a CSV with the columns filename and text, or another corpus.

    Such are: Common Voice's TSV, NeMo's JSON lines, LJSpeech's metadata.csv, folders of *.trans.txt or WebDataset tars.

    Other verbs: `verify`, `index`, `stats` and `merge`; `python -m asrscale.shard VERB --help` tells of them.
    """

    csv: tuple[str, ...] = setting(help="a CSV or other corpus, which is split; or train=FILE,valid=FILE,…")
    out: str = setting(help="folder to build in: a folder a split, and rejected.jsonl")
    audio_root: str | None = setting(None, help="folder that file names in the CSV start from; by default the CSV's")
    split_by: str | None = setting(None, help="sentence, speaker (default where known), both, or the split's column")
    valid_fraction: float = setting(0.3, help="share of the sentences or speakers for valid where the CSV is split")
    test_fraction: float = setting(0.0, help="share of them for test")
    filter: str | None = setting(None, help="which rows to take, such as 'up_votes>=2 and down_votes==0'")
    max_hours: float | None = setting(None, help="take so many hours of all, with lengths spread as they are in all")
    vocab: str | None = setting(None, help="checkpoint folder or vocab.json: clips it cannot learn from are rejected")
    seed: int = setting(42, help="decides the split, and what goes into which shard")
    min_seconds: float = setting(0.1, help="shorter clips are rejected")
    max_seconds: float = setting(20.0, help="longer clips are rejected, never cut")
    codec: Literal["flac", "wav", "opus"] = setting("flac", help="how audio is stored; opus is lossy, slow to decode")
    original: bool = setting(False, help="store the bytes of the source files; training decodes and resamples them")
    shard_utterances: int = setting(1000, help="rows a shard, before rejects")
    max_rejected: float = setting(0.05, help="share of the rows, as 5%; the build fails when more are rejected")
    on_error: Literal["quarantine", "stop"] = setting("quarantine", help="on a fault of ours: reject the row, or stop")
    part: int = setting(0, help="of an array job, which share of the shards to build: 0 to --parts - 1; then `merge`")
    parts: int = setting(1, help="how many shares the array job has")
    workers: int | None = setting(None, help="processes; by default one a usable core")
