"""Transcripts and error rates: evaluations of data sets with breakdowns and pages; recordings of any length to text.

Read metrics and evaluation first, then breakdown and report; transcription stands alone.
"""
