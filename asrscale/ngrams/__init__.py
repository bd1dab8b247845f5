"""N-gram language models: text to a model, and a model to the probabilities of words.

See docs/architecture.md for the place of each package.
"""
