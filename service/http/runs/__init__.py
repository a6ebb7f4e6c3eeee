"""Runs: presets, submission, records, and what runs produce."""
