"""Writes `assets/operators/packed_convolution.pt`: a function in TorchScript that calls an operator of libtorch which the Rust
bindings don't have, a convolution whose weight lies as oneDNN wants it. Needs torch; the one that is here was written by 2.13.

    python3 scripts/make_operators.py
"""

import io
import pathlib

import torch

PATH = pathlib.Path(__file__).parent.parent / "assets" / "operators" / "packed_convolution.pt"


class PackedConvolution(torch.nn.Module):
    """`[batch, input, h, w]` and a weight in oneDNN's layout to `[batch, output, …]`, contiguous."""

    def forward(self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, stride: int, padding: int):
        y = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, [padding, padding], [stride, stride], [1, 1], 1, "none", [], ""
        )
        return y.contiguous()


if __name__ == "__main__":
    PATH.parent.mkdir(exist_ok=True)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(PackedConvolution().eval()), buffer)
    PATH.write_bytes(buffer.getvalue())
    print(f"{PATH}: {PATH.stat().st_size} bytes")
