"""Simple English to be translated into one of two invented languages, which a forced token names."""
