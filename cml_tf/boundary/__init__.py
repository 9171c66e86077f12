"""What strangers hand over: arrays, structures, names of classes; read once, or refused in one line."""
