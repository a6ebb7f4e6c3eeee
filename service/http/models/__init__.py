"""Models: summaries and scores."""
