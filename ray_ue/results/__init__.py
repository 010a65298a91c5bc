"""Tables of results, worst cases, the gap of mutual information, the Pareto front, and numbers as text."""
