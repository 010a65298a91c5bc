"""Which rows form a group: k-means over embeddings, labels, and samples of rows."""
