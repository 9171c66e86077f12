"""What cml_tf is compared with: a plain version of its own layers, and other people's frameworks."""
