"""A hook as a half-installed package has it."""

raise RuntimeError("the library of this service is not installed")
