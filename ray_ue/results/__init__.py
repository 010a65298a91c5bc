"""Tables of results, and what follows from them: worst cases, the MI gap, the Pareto front."""
