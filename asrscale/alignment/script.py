"""The text that is aligned: its words as they are written, and as a model's labels spell them."""

from dataclasses import dataclass

from asrscale.speech.normalisation import TextRules, normalise
from asrscale.speech.vocabulary import Vocabulary


@dataclass(frozen=True)
class ScriptWord:
    """A word of a text.

    Attributes:
        written: As it stands in the text, with capitals and punctuation.
        spoken: Normalised as the model's transcripts are; empty where nothing of it is spoken, as of a dash.
        labels: The ids of its tokens.
    """

    written: str
    spoken: str
    labels: tuple[int, ...]


def read_script(text: str, rules: TextRules, vocabulary: Vocabulary) -> list[ScriptWord]:
    """Returns the words of a text: what stands between white space.

    Args:
        text: What was read aloud.
        rules: How the model's transcripts were normalised.
        vocabulary: Of the model.
    """
    words = []
    for written in text.split():
        spoken = normalise(written, rules)
        words.append(ScriptWord(written, spoken, tuple(vocabulary.encode(spoken))))
    return words
