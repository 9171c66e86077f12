"""Small nets of several sizes, trained apart, that answer together: MetaDelta's ensemble."""
