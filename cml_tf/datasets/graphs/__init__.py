"""Node classification: graphs from published files and from files of one's own."""
