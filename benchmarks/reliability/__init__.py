"""What survives: trainings that are killed, and what is found of them."""
