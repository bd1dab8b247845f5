"""Utterances as players of an HTML page."""

import base64
from collections.abc import Mapping
from io import BytesIO

from asrscale.common.html import Block
from asrscale.common.storage import Range, read_ranges
from asrscale.data.index import Index
from asrscale.speech.decoding import decode
from asrscale.speech.encoding import encode
from asrscale.speech.pcm import resample, to_pcm16

PLAYERS = 9  # about 25 KB each


def players(index: Index, captions: Mapping[int, str]) -> list[Block]:
    """Utterances to listen to, by their numbers in the index; those that cannot be read are left out."""
    places = [Range(index.shards[index.shard_ids[i]], int(index.offsets[i]), int(index.sizes[i])) for i in captions]
    found = zip(captions.values(), read_ranges(places), strict=True)
    return [player(caption, data) for caption, data in found if isinstance(data, bytes)]


def player(caption: str, data: bytes) -> Block:
    """A recording to listen to, given as the bytes of any audio file."""
    pcm = to_pcm16(resample(*decode(BytesIO(data), max_seconds=3600)))
    return {"kind": "player", "caption": caption, "mp3": base64.b64encode(encode(pcm, "mp3")).decode()}
