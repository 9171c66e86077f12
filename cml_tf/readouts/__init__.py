"""What answers after training: the head, the co-learner, and what is fitted on top."""
