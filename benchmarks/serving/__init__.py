"""What `benchmarks.serve` is made of: the servers that are compared, and the clients that load them."""
