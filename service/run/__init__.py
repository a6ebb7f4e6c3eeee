"""A run's folder, progress and supervision."""
