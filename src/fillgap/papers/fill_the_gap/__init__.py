"""Tables and figures of "Fill the Gap" (arXiv:2505.03703)."""
