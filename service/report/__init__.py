"""Reports on runs, evaluations and data sets."""
