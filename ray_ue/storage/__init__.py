"""Where results lie: artifacts with a manifest, local or on an object store, and safe addresses."""
