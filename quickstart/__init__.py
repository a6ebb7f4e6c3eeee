"""A policy, a reward model and dialogues small enough to ship, and the script that makes them."""
