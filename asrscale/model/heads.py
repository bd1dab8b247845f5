"""The head of a model: moved to another vocabulary, or drawn at random."""

from dataclasses import replace

import torch
from torch import nn

from asrscale.model.configuring import set_vocabulary
from asrscale.model.families import CtcModel, head_of
from asrscale.model.processors import with_vocabulary
from asrscale.model.recognizer import Recognizer
from asrscale.speech.vocabulary import Vocabulary


def draw_head(model: CtcModel, vocabulary: Vocabulary) -> None:
    """Gives a model a head of random weights for a vocabulary."""
    model.lm_head = nn.Linear(head_of(model).in_features, len(vocabulary.tokens))
    set_vocabulary(model.config, vocabulary)


def move_head(recognizer: Recognizer, vocabulary: Vocabulary) -> Recognizer:
    """Returns the same model with a head for another vocabulary.

    Rows of tokens that are in both vocabularies keep their weights, the others are drawn at random. A head is never
    kept because its size fits: a vocabulary of as many other letters would be accepted without an error.
    """
    model = recognizer.model
    old = head_of(model)
    draw_head(model, vocabulary)
    new = head_of(model)
    twins = vocabulary.twins(recognizer.vocabulary)
    new_rows = list(twins)
    old_rows = list(twins.values())
    with torch.no_grad():
        new.weight[new_rows] = old.weight[old_rows]
        new.bias[new_rows] = old.bias[old_rows]
    processor = with_vocabulary(recognizer.processor, vocabulary, recognizer.languages)
    transcribes = recognizer.transcribes and len(twins) == len(vocabulary.tokens)
    return replace(recognizer, processor=processor, vocabulary=vocabulary, transcribes=transcribes)
