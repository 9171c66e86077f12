"""How the gradient of the outer loss goes through the inner loop."""
