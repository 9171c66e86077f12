"""The image benchmarks of the field: where their pictures are, and how they are split."""
