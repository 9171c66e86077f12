"""What the paper looks at in trained runs (arXiv 2406.04639, sections 4.4 and 4.5): gradients and representations."""
