"""What is printed: control characters from data are visible, and addresses have no secrets."""

import io
import subprocess
import sys
import unicodedata

from asrscale.common.terminal import CleanStream, printable, stream_behind


def test_control_and_bidirectional_characters_are_visible() -> None:
    assert (
        printable("\x1b[2Ja\rb\x9b\u202ecba\u2066\u061c\udcff") == "\\x1b[2Ja\\x0db\\x9b\\u202ecba\\u2066\\u061c\\udcff"
    )
    assert printable("a\tb\nžluť 词 🎙 \u200c\u200d") == "a\tb\nžluť 词 🎙 \u200c\u200d"


def test_nothing_that_unicode_calls_a_control_or_turns_text_around_is_left() -> None:
    turns = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        is_control = unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n"
        if is_control or unicodedata.bidirectional(character) in turns:
            assert printable(character).isascii(), hex(number)


def test_a_clean_stream_is_otherwise_the_stream_behind_it() -> None:
    behind = io.StringIO()
    stream = CleanStream(behind)
    print("\x1b]0;title\x07", "https://ann:s3cret@host/a?s3cret", file=stream)
    stream.writelines(["a\r", "b\n"])
    assert behind.getvalue() == "\\x1b]0;title\\x07 https://host/a\na\\x0db\n"
    assert stream.closed is False and stream_behind(stream) is behind and stream_behind(behind) is behind


def test_what_a_command_prints_goes_through_it() -> None:
    program = """
from dataclasses import dataclass
from asrscale.common import cli
@dataclass(frozen=True)
class Options:
    'Prints.'
def run(options):
    print("\\x1b[31m \\udcff")
    raise RuntimeError("\\u202e https://ann:s3cret@host/x?s3cret")
cli.run(Options, run)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == "\\x1b[31m \\udcff\n"
    assert done.stderr.endswith("RuntimeError: \\u202e https://host/x\n")
