"""What changes weights: data types, pure maths, the policy and the learner."""
