"""Runs: presets, submission, records and output."""
