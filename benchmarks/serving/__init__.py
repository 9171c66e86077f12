"""Load on a server, and what a call through it costs."""
