"""SavedModels that hold the adaptation itself, and what serves them. Imports `cml_tf`; `cml_tf` never imports this."""
