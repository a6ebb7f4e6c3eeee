"""Reward workers: scores of completions."""
