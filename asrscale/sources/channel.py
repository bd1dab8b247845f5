"""Which channel of a recording a row means: its column `channel`."""

import re

from asrscale.common.errors import AudioError
from asrscale.sources.rows import Row
from asrscale.speech.blocks import Source
from asrscale.speech.decoding import count_channels

CHANNEL_COLUMN = "channel"

_NAMED_CHANNELS = {"left": 0, "right": 1}
_NUMBER = re.compile(r"(\d{1,3})(\.0*)?", re.ASCII)  # spreadsheets and pandas write 1 as 1.0 where a row has none


def channel_of(row: Row, source: Source) -> int | None:
    """Returns the number of the channel that a row means, from 0; None where it means the whole recording.

    Args:
        row: Its column `channel` has a number from 0, or `left` or `right`.
        source: The recording. If it has one channel, other words in the column, such as `telephone`, mean nothing here.

    Raises:
        AudioError: `category: detail`; the recording has several channels and the column names none of them.
    """
    value = row.extra.get(CHANNEL_COLUMN, "").strip().lower()
    number = _NUMBER.fullmatch(value)
    if number:
        return int(number[1])
    if value and value not in _NAMED_CHANNELS and count_channels(source) > 1:
        raise AudioError(f"channel: '{value}' is none: give a number from 0, left or right, or rename the column")
    return _NAMED_CHANNELS.get(value)
