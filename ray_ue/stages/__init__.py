"""Stages: each opens finished artifacts, runs the core under Ray, and writes one new artifact."""
