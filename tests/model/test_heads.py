"""Heads for other vocabularies."""

import torch
from helpers.models import untrained_recognizer

from asrscale.model.families import head_of
from asrscale.model.heads import draw_head, move_head
from asrscale.speech.vocabulary import build_vocabulary


def test_rows_of_letters_that_are_in_both_vocabularies_keep_their_weights() -> None:
    recognizer = untrained_recognizer()
    old = head_of(recognizer.model)
    vocabulary = build_vocabulary("aé")
    moved = move_head(recognizer, vocabulary)
    new = head_of(moved.model)
    assert new.out_features == len(vocabulary.tokens) == moved.model.config.vocab_size
    assert moved.model.config.pad_token_id == vocabulary.blank_id
    for token in ("a", "|", "[UNK]", "[PAD]"):
        there, here = recognizer.vocabulary.tokens.index(token), vocabulary.tokens.index(token)
        assert torch.equal(new.weight[here], old.weight[there]) and torch.equal(new.bias[here], old.bias[there])
    drawn = new.weight[vocabulary.tokens.index("é")]
    assert not (drawn == old.weight).all(dim=1).any()
    assert moved.processor.tokenizer.get_vocab()["é"] == vocabulary.tokens.index("é")


def test_a_drawn_head_keeps_nothing_though_its_size_fits() -> None:
    recognizer = untrained_recognizer()
    old = head_of(recognizer.model).weight.clone()
    draw_head(recognizer.model, recognizer.vocabulary)
    assert head_of(recognizer.model).weight.shape == old.shape
    assert not torch.equal(head_of(recognizer.model).weight, old)
