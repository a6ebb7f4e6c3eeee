"""Orders by phone to be written down as JSON; a program checks the records, and there is no classifier."""
