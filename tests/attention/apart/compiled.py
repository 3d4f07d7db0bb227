"""The Triton kernel compiles to machine code for GPUs, which the interpreter cannot show."""

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from clearhead.attention import flash_triton

A100, H100 = 80, 90


@pytest.mark.parametrize(
    ("dtype", "D", "architecture"), [("bf16", 64, A100), ("bf16", 64, H100), ("fp32", 16, H100)]
)
def test_the_kernel_compiles_and_feeds_the_tensor_cores(dtype, D, architecture):
    kernel = flash_triton._kernel
    constants = {"D": D, "Dv": D, "CAUSAL": True, "LONG": True, "BLOCK_T": 64, "BLOCK_S": 32}
    constants |= {"PRECISION": "ieee" if dtype == "fp32" else "tf32"}
    constants |= {"q_d": 1, "k_d": 1, "v_d": 1}  # as for contiguous tensors
    types = dict.fromkeys("QKV", f"*{dtype}") | {"Out": f"*{dtype}", "Lse": "*fp32"}
    types |= {"scale_log2": "fp32"} | dict.fromkeys(constants, "constexpr")
    names = [parameter.name for parameter in kernel.params]
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n not in constants}
    source = ASTSource(
        kernel,
        {name: types.get(name, "i32") for name in names},
        constexprs=constants,
        attrs={key: value for key, value in aligned.items() if names[key[0]] != "scale_log2"},
    )
    compiled = triton.compile(
        source,
        target=GPUTarget("cuda", architecture, 32),
        options={"num_warps": 4, "num_stages": 2, "enable_fp_fusion": True},
    )
    assert compiled.asm["cubin"]
    if dtype == "bf16":
        instruction = "wgmma.mma_async" if architecture == H100 else "mma.sync"
        assert instruction in compiled.asm["ptx"]
