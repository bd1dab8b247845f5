"""Utterances as players of an HTML page."""

import base64
from collections.abc import Mapping
from io import BytesIO

from asrscale.common.html import Block
from asrscale.common.storage import read_ranges
from asrscale.data.index import Index
from asrscale.speech.decoding import decode
from asrscale.speech.encoding import encode
from asrscale.speech.pcm import resample, to_pcm16

PLAYERS = 9  # as many as a page has: about 25 KB each

MAX_SECONDS = 3600  # longer than any utterance of a shard


def players(index: Index, captions: Mapping[int, str]) -> list[Block]:
    """Returns a player for each utterance that can be read.

    Args:
        index: The index that numbers the utterances.
        captions: The caption of each player, by the number of its utterance.
    """
    recordings = read_ranges([index.payload(number) for number in captions])
    blocks = []
    for caption, data in zip(captions.values(), recordings, strict=True):
        if isinstance(data, bytes):
            blocks.append(player(caption, data))
    return blocks


def player(caption: str, data: bytes) -> Block:
    """Returns a player of a recording, given as the bytes of any audio file; it holds the recording as mp3."""
    waveform, sample_rate_hz = decode(BytesIO(data), max_seconds=MAX_SECONDS)
    pcm = to_pcm16(resample(waveform, sample_rate_hz))
    mp3 = base64.b64encode(encode(pcm, "mp3")).decode()
    return {"kind": "player", "caption": caption, "mp3": mp3}
