"""Models on Ray Serve."""
