"""Deformable convolution: the two ways agree, in values and in all gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from stmask.ops import deform
from stmask.ops.deform import deform_conv, same_padding, sampling_points

KERNELS = [(1, 1), (3, 3), (3, 5), (5, 3), (3, 2), (2, 3)]


def inputs(kernel: tuple[int, int], stride: int, dtype: torch.dtype, device: str = "cpu") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    taps, (h, w) = kernel[0] * kernel[1], (-(-7 // stride), -(-9 // stride))

    def normal(*shape: int, scale: float = 1.0) -> torch.Tensor:
        value = torch.randn(*shape, generator=generator, dtype=torch.float64) * scale
        return value.to(device, dtype).requires_grad_()

    return {
        "x": normal(2, 4, 7, 9),
        "offsets": normal(2, 2 * taps, h, w, scale=3.0),  # far enough to leave the map
        "weight": normal(5, 4, *kernel),
        "bias": normal(5),
        "mask": normal(2, taps, h, w),
    }


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS)
def test_reading_rows_equals_torchvision_in_values_and_gradients(kernel: tuple[int, int], stride: int) -> None:
    values = inputs(kernel, stride, torch.float64)
    arguments = (*values.values(), stride)
    mine, theirs = deform._by_rows(*arguments), deform._by_torchvision(*arguments)
    torch.testing.assert_close(mine, theirs)
    direction = torch.randn_like(mine)
    for a, b in zip(
        torch.autograd.grad(mine, list(values.values()), direction),
        torch.autograd.grad(theirs, list(values.values()), direction),
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("kernel", KERNELS)
def test_without_offsets_it_is_a_convolution(kernel: tuple[int, int]) -> None:
    x, weight = torch.randn(1, 3, 6, 5), torch.randn(2, 3, *kernel)
    got = deform_conv(x, torch.zeros(1, 2 * kernel[0] * kernel[1], 6, 5), weight)
    torch.testing.assert_close(got, F.conv2d(F.pad(x, same_padding(kernel)), weight), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_groups_of_channels_with_offsets_of_their_own(masked: bool) -> None:
    values = inputs((3, 3), 1, torch.float64)
    groups = [inputs((3, 3), 1, torch.float64), inputs((3, 3), 1, torch.float64)]
    values["offsets"] = torch.cat([groups[0]["offsets"], -groups[1]["offsets"]], dim=1).detach().requires_grad_()
    values["mask"] = torch.cat([groups[0]["mask"], 2 * groups[1]["mask"]], dim=1).detach().requires_grad_()
    x, offsets, weight, bias, mask = values.values()
    given = [x, offsets, weight, bias, *([mask] if masked else [])]
    mine = deform_conv(x, offsets, weight, bias=bias, mask=mask if masked else None)
    theirs = deform._by_torchvision(x, offsets, weight, bias, mask if masked else None, 1)
    torch.testing.assert_close(mine, theirs)
    direction = torch.randn_like(mine)
    for a, b in zip(torch.autograd.grad(mine, given, direction), torch.autograd.grad(theirs, given, direction)):
        torch.testing.assert_close(a, b)
    relu = deform_conv(x, offsets, weight, bias=bias, mask=mask if masked else None, relu=True)
    assert torch.equal(relu, mine.relu())


def test_a_map_of_one_cell() -> None:
    x, weight = torch.randn(1, 3, 1, 1), torch.randn(2, 3, 3, 3)
    got = deform_conv(x, torch.zeros(1, 18, 1, 1), weight)
    torch.testing.assert_close(got[..., 0, 0], x[..., 0, 0] @ weight[:, :, 1, 1].t())


def test_offsets_keep_their_precision_under_autocast() -> None:
    values = {name: value.detach() for name, value in inputs((3, 3), 1, torch.float32).items()}
    exact = deform_conv(values["x"], values["offsets"], values["weight"])
    with torch.autocast("cpu", torch.bfloat16):
        rough = deform_conv(values["x"], values["offsets"], values["weight"])
    assert (rough.float() - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", KERNELS)
def test_gpu_equals_cpu(kernel: tuple[int, int]) -> None:
    values = {name: value.detach() for name, value in inputs(kernel, 1, torch.float32).items()}
    here = deform_conv(values["x"], values["offsets"], values["weight"], bias=values["bias"], mask=values["mask"])
    there = {name: value.cuda() for name, value in values.items()}
    on_gpu = deform_conv(there["x"], there["offsets"], there["weight"], bias=there["bias"], mask=there["mask"])
    torch.testing.assert_close(on_gpu.cpu(), here, atol=1e-3, rtol=1e-3)


@pytest.mark.gpu
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS)
@torch.no_grad()
def test_sampling_by_triton(kernel: tuple[int, int], stride: int) -> None:
    values = inputs(kernel, stride, torch.float32, "cuda")
    arguments = (*(value.detach() for value in values.values()), stride)
    exact = deform._by_torchvision(*arguments)
    torch.testing.assert_close(deform._by_triton(*arguments), exact, atol=1e-3, rtol=1e-3)
    with torch.autocast("cuda", torch.bfloat16):
        rough = deform._by_triton(*arguments)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).norm() < 1e-2 * exact.norm()


def test_a_plain_convolution_reads_the_cells_under_its_kernel() -> None:
    points = sampling_points(torch.zeros(1, 12, 4, 5), (2, 3))  # (1, 6, 4, 5, 2)
    assert points[0, :, 3, 1].tolist() == [[3, 0], [3, 1], [3, 2], [4, 0], [4, 1], [4, 2]]  # even: further down
    assert sampling_points(torch.zeros(1, 18, 2, 2), (3, 3), stride=2)[0, 4, 1, 1].tolist() == [2, 2]


def test_offsets_move_the_points_of_their_own_tap_and_cell() -> None:
    offsets = torch.zeros(1, 18, 3, 3)
    offsets[0, 2 * 5 : 2 * 5 + 2, 1, 2] = torch.tensor([0.5, -2.0])  # (dy, dx) of the sixth tap
    moved = sampling_points(offsets, (3, 3)) - sampling_points(torch.zeros_like(offsets), (3, 3))
    assert moved[0, 5, 1, 2].tolist() == [0.5, -2.0]
    assert moved.abs().sum() == 2.5
