"""One recording or one transcript at a time: bytes to 16 kHz PCM and back, text to labels.

Read pcm, then decoding and encoding; normalisation, then vocabulary; frames last.
"""
