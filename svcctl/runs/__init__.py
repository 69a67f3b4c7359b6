"""One run: plan, guard, apply, report."""
