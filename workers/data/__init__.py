"""The data set: prompts made of it, and what is in it."""
