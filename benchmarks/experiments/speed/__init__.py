"""Studies of speed: latency, throughput, memory and the cost of training."""
