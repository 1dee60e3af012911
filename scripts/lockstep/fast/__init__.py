"""The same results in less time: kernels and fused models."""
