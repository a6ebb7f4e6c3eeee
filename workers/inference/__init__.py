"""Models that answer the service's requests."""
