"""Scripts that measure what docs/performance.md states, and write its tables."""
