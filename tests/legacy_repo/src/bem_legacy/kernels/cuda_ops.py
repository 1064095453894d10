"""Reference versions of the kernels."""

import torch

KERNELS_AVAILABLE = False


def fused_generated_update(x, u, v, code):
    return (x @ v.T * code) @ u.T


def kronecker_product_forward(x, u, v):
    """``vec(U X V^T)`` for rows of ``x`` read as ``X`` in row-major order."""
    blocks = x.reshape(*x.shape[:-1], u.shape[1], v.shape[1])
    return (u @ blocks @ v.transpose(-1, -2)).flatten(-2)


def validate_numerical_accuracy(tolerance: float = 1e-5) -> bool:
    u, v, x = torch.randn(2, 3), torch.randn(4, 5), torch.randn(7, 15)
    return torch.allclose(kronecker_product_forward(x, u, v), x @ torch.kron(u, v).T, atol=tolerance)


def benchmark_kernel_performance(num_runs: int = 10) -> dict:
    import time

    x, u, v = torch.randn(64, 256), torch.randn(8, 16), torch.randn(8, 16)
    started = time.perf_counter()
    for _ in range(num_runs):
        kronecker_product_forward(x, u, v)
    return {"mean_ms": 1000 * (time.perf_counter() - started) / num_runs}
