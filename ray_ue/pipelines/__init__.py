"""What each verb does, in order: protect, evaluate and measure, and the plan that a dry run prints."""
