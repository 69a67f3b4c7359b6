"""Pipelines: named, ordered lists of steps, after python-social-auth's, run from the shell."""
