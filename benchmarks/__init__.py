"""What performance budgets are measured with: one command each, ratios in one run, no timed tests."""
