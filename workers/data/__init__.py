"""The data set: its prompts and its statistics."""
