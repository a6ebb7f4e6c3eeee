"""What policies are judged by on held-out prompts."""
