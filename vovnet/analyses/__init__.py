"""What is asked of results besides a row: the oracle, error slices, a lambda for a budget, times, seeds, precision."""
