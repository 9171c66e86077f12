"""From nothing to served answers in one command."""
