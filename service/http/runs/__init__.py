"""Runs over HTTP: what may be asked for, their record, and what they leave."""
