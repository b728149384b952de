"""The laboratory: throw-away hosts, networks, engines and images for live tests, the demo and benchmarks."""
