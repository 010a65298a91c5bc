"""The stages of an evaluation: the data and labels of the exploiter, one cell per victim, figures, and measurements."""
