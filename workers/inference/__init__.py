"""Models that answer requests of the service."""
