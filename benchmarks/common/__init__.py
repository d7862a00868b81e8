"""What the benchmarks share: cubes and models to measure with, clocks, and tables."""
