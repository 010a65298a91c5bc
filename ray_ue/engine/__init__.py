"""How work runs on Ray, whatever the work is: the session, streams, training loops, lanes and stages."""
