"""How fast the meta-step is, beside its peers and the machine's limits."""
