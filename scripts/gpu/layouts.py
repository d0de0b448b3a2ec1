"""Which layout in memory a ResNet block of v1's first level is quickest in, by plain torch on the GPU: seconds a block.

Group norms, SiLU and two convolutions of 320 channels at 64×64, two pictures. With `benchmark` cuDNN tries its
algorithms and keeps the quickest.
"""
import json
import time

import torch


def block(parts, x):
    norm1, conv1, norm2, conv2 = parts
    h = conv1(torch.nn.functional.silu(norm1(x)))
    return conv2(torch.nn.functional.silu(norm2(h))) + x


@torch.inference_mode()
def seconds(dtype, layout, benchmark):
    torch.backends.cudnn.benchmark = benchmark
    norm, conv = (lambda: torch.nn.GroupNorm(32, 320)), (lambda: torch.nn.Conv2d(320, 320, 3, padding=1))
    parts = [part.to("cuda", dtype).to(memory_format=layout) for part in (norm(), conv(), norm(), conv())]
    x = torch.randn(2, 320, 64, 64, device="cuda", dtype=dtype).to(memory_format=layout)
    for _ in range(10):
        block(parts, x)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(100):
        block(parts, x)
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / 100


print(json.dumps({f"{str(dtype)[6:]}, {name}{', benchmark' if benchmark else ''}": seconds(dtype, layout, benchmark)
                  for dtype in (torch.float16, torch.bfloat16, torch.float32)
                  for name, layout in (("as it is", torch.contiguous_format), ("channels last", torch.channels_last))
                  for benchmark in (False, True)}))
