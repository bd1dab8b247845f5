"""Recordings and transcripts to data set folders: the command `asrscale.shard` and the demo's corpus.

Read rows and sources (what comes in), splits (who goes where), shard_file (one shard), build and assemble (all of
them).
"""
