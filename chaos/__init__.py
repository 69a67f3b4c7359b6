"""What svcctl is put through: `python -m chaos [NAME…] [--seed N] [--runs N] [--short]`.

Each matrix makes many bad moments, one after the other, and looks each time at what came of it.
"""
