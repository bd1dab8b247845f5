"""Batches to logits, loss and text: building, loading, freezing, adapting and exporting a model.

Read recognizer and forward first, then building and pretrained.
"""
