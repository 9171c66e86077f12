"""Models that adapt where they are used: a LiteRT file with its adaptation inside, for phones, boards and browsers."""
