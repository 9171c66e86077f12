"""Meta-training: the method, the meta-step, the trainer around it, scores and checkpoints."""
