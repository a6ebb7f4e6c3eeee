"""A policy, a reward model and dialogues small enough to ship, and the code that builds them."""
