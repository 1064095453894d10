"""Adapters for frozen language models at the same cost: head gating, rank mask, Kronecker product, residual FiLM."""
