"""A training run, from its settings to a model folder.

Read config, then run (the story of a run), loop and step (its inside), then what they use;
docs/architecture.md says more.
"""
