"""Models: building, loading, freezing, adapting and exporting them, and their way from waveforms to logits and text.

Read recognizer and forward first, then building and pretrained.
"""
