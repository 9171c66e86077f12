"""The model card: what a served model is and where it comes from."""
