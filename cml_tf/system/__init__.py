"""The machine underneath: files, programs, settings of other tools."""
