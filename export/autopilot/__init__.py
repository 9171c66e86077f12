"""From a folder of pictures to an exported model within some minutes."""
