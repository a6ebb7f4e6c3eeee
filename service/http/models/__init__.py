"""Summaries and scores over HTTP."""
