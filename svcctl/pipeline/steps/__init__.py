"""The steps that ship, one module per part of social-core's pipeline, and ours."""
