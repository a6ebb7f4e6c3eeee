"""Cleaning of request texts for tokenizers."""


def encodable(text: str) -> str:
    """The text with ? for each lone surrogate, which JSON can hold but no tokenizer accepts."""
    return text.encode(errors="replace").decode()
