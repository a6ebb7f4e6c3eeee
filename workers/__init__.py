"""What measures: prompts, rollouts, rewards, reference log-probabilities and evaluation metrics."""
