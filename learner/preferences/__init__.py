"""Learning a policy from preferences."""
