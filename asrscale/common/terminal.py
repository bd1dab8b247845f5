"""What a command prints: neither control characters from data, which terminals obey, nor secrets of addresses."""

import re
from typing import Any, TextIO

from asrscale.common.addresses import clean_text

# Control characters but the end of a line and the tab; those that turn the direction of text around (Unicode's
# Bidi_Control); the ends of lines and paragraphs of Unicode; halves of characters, which no encoding can write.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Returns a text whose control and bidirectional characters are visible, as `\x1b` and `\u202e` are."""
    return _UNPRINTABLE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


class CleanStream:
    """A text stream to which only what is `printable` is written, without secrets of addresses.

    All else is that of the stream behind it.
    """

    def __init__(self, stream: TextIO) -> None:
        self.behind = stream

    def write(self, text: str) -> int:
        """Writes a text; returns its length, as streams do."""
        self.behind.write(printable(clean_text(text)))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Writes several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.behind, name)


def stream_behind(stream: Any) -> Any:
    """Returns the stream to which a progress bar may write control characters of its own."""
    return stream.behind if isinstance(stream, CleanStream) else stream
