"""Hypotheses to error rates, breakdowns and pages; transcripts of recordings of any length.

Read metrics and evaluation first, then breakdown; transcription stands alone.
"""
