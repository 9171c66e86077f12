"""Snake: an actor-critic whose discount is meta-learned through its own updates, after One Step at a Time."""
