"""Everything that trains: data types, pure maths, the policy and the learner."""
