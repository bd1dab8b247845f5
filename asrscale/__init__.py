"""asrscale: fine-tune Wav2Vec2ForCTC on speech at any scale.

Nothing heavy is imported here, so that `python -m asrscale.shard` starts at once.
"""

__version__ = "0.1.0"
