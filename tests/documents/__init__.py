"""The documents' commands, and how each of them is tried: `python -m tests.documents` tries them all."""
