"""PyTorch's own kernels for the CPU that it calls too rarely, or has no public name for.

Matrix products by oneDNN, which computes the convolutions too, and bags: sums of some rows of a table with a factor
each. Reading between cells of a map is such a sum, and so are its gradients.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Pair = tuple[int, int]
_SUM = 0  # the kind of embedding bags


def is_plain_cpu(x: Tensor) -> bool:
    """Whether a tensor is computed with on the CPU as it is: not under autocast, not while a graph is recorded."""
    graph = torch.compiler.is_compiling() or torch.compiler.is_exporting()
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not graph


def _has_onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


def computes_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 that oneDNN uses; by float32 it would be slower than float32."""
    return _has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def by_onednn(x: Tensor) -> bool:
    """Whether oneDNN, which computes convolutions of float32 on the CPU, can also compute with this."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and x.numel() > 0 and _has_onednn()


def usual_size(rows: int) -> int:
    """At least so many rows, at most an eighth (or 7) more, and one of few sizes.

    oneDNN makes code for every new shape, which takes longer than a small product itself.
    """
    step = max(8, 1 << max(0, rows.bit_length() - 4))
    return -(-rows // step) * step


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """x (N, I) times weight (O, I) transposed, plus bias (O,): as PyTorch's `linear`, in values and gradients.

    Float32 on the CPU goes through oneDNN, where PyTorch takes MKL: 1.2 times faster with AVX2 on processors that are
    not Intel's, and 2.3 times with AVX-512. It computes a ReLU on the way.
    """
    if not (is_plain_cpu(x) and by_onednn(x)):
        plain = F.linear(x, weight, bias)
        return F.relu(plain) if relu else plain
    if not torch.is_grad_enabled():
        return product(x, weight, bias, relu=relu)
    result: Tensor = _Linear.apply(x, weight, bias, relu)  # type: ignore[no-untyped-call]
    return result


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, *, relu: bool = False) -> Tensor:
    """The values of `linear`, outside of autograd."""
    if not by_onednn(x):
        plain = F.linear(x, weight, bias)
        return plain.relu_() if relu else plain
    result: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "relu" if relu else "none", [], "")
    return result


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, relu: bool) -> Tensor:
    """As PyTorch's `conv2d`, and a ReLU of that; outside of autograd."""
    if not (relu and by_onednn(x)):
        plain = F.conv2d(x, weight, bias, stride=stride, padding=padding)
        return plain.relu_() if relu else plain
    result: Tensor = torch.ops.mkldnn._convolution_pointwise(
        x, weight, bias, padding, stride, [1, 1], 1, "relu", [], ""
    )
    return result


def through_relu(grad: Tensor, result: Tensor) -> Tensor:
    """The gradient before a ReLU from the one after it."""
    return cast(Tensor, torch.ops.aten.threshold_backward(grad, result, 0))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, relu: bool) -> Tensor:
        result = product(x, weight, bias, relu=relu)
        ctx.save_for_backward(x, weight, *([result] if relu else []))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, weight, *result) = grads, ctx.saved_tensors
        need_x, need_weight, need_bias, _ = ctx.needs_input_grad
        if result:
            grad = through_relu(grad, result[0])
        return (
            product(grad, weight.t()) if need_x else None,
            product(grad.t(), x.t()) if need_weight else None,
            grad.sum(0) if need_bias else None,
            None,
        )


def state_of(tensor: Tensor) -> tuple[int, int]:
    """What changes when the values of a tensor do, to see whether something made of them is still true."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


def bag_sums(table: Tensor, rows: Tensor, factors: Tensor) -> Tensor:
    """Sums (M, C) of the rows (M, n) int32 of a table (R, C) times their factors (M, n)."""
    starts = torch.arange(0, rows.numel(), rows.shape[1], dtype=rows.dtype)
    return _sums(table, rows.flatten(), starts, factors.flatten())


def table_gradient(grad: Tensor, rows: Tensor, factors: Tensor | None, *, table_rows: int) -> Tensor:
    """The gradient (R, C) of a table from that of its bags' sums (M, C); without factors they are 1.

    It is a sum of weighted rows itself: for each row of the table the bags that hold it.
    """
    flat = rows.flatten()
    order = flat.argsort(stable=True)  # not sorted again inside a row: sums don't depend on the number of threads
    counts = torch.bincount(flat, minlength=table_rows)
    starts = counts.cumsum(0) - counts
    held_by = order.div(rows.shape[1], rounding_mode="floor")
    return _sums(grad, held_by, starts, None if factors is None else factors.flatten()[order])


def factor_gradient(grad: Tensor, table: Tensor, rows: Tensor) -> Tensor:
    """The gradient (M, n) of the factors from that of the bags' sums (M, C)."""
    starts = torch.arange(0, rows.numel(), rows.shape[1], dtype=rows.dtype)
    bags = torch.arange(len(rows), dtype=rows.dtype).repeat_interleave(rows.shape[1])
    gradient = torch.ops.aten._embedding_bag_per_sample_weights_backward(
        grad, table, rows.flatten(), starts, bags, _SUM, -1
    )
    return cast(Tensor, gradient.view(rows.shape))


def _sums(table: Tensor, rows: Tensor, starts: Tensor, factors: Tensor | None) -> Tensor:
    sums: Tensor = torch.ops.aten._embedding_bag_forward_only(
        table.contiguous(), rows, starts, False, _SUM, False, factors, False
    )[0]
    return sums
