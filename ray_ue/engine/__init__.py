"""How work runs on Ray: the session, streams, training loops, lanes and stages. It contains no science."""
