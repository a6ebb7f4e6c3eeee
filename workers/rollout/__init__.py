"""Rollout workers: completions sampled from the policy."""
