"""Figures and pages about finished runs: data in, pictures out; nothing here trains or evaluates."""
