"""The page of a sweep, section by section."""
