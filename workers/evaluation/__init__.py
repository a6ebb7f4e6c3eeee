"""Evaluation of policies on held-out prompts."""
