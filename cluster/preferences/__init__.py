"""Learning from preferences: the plan and the loop."""
