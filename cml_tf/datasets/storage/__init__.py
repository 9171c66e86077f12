"""Downloads, archives, caches: how the files of a dataset come to this machine, whole."""
