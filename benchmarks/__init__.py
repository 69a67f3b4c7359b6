"""What the performance budgets are measured with: `python -m benchmarks [NAME…]`.

Every figure is a ratio against a baseline that runs in the same process tree, median of several.
"""
