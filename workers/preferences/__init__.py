"""People's judgements of completions: files of them, and what they say."""
