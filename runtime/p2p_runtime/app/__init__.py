"""What ``p2p-run`` consists of: options, model search, the run, display, doctor."""
