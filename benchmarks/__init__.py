"""What this library and its peers cost on the same work: `python -m benchmarks`."""
