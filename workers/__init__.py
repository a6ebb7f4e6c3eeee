"""Everything that samples and measures: prompts, rollouts, rewards, reference log-probabilities, evaluation metrics."""
