"""Frames to the best text: beam search with a language model, a lexicon and hot words.

See docs/architecture.md for the place of each package.
"""
