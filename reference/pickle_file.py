"""Writes the fixtures of the reader of `torch.save`'s files: `crates/grafter/tests/fixtures/pickle/`.

`tensors.bin` is a dict with every layout that is read, `state.bin` the state dict of a module. `expected.safetensors` holds the
numbers of both as contiguous float32, which each of them is exactly. Written with Python 3.11, torch 2.15.0, numpy 2.4.6 and safetensors 0.8.0 (`requirements-parity.txt`);
one machine and the same versions write the same bytes again.

    python reference/pickle_file.py [--out DIR]
"""

import argparse
from pathlib import Path

import torch
from safetensors.torch import save_file

OUT = Path(__file__).resolve().parent.parent / "crates/grafter/tests/fixtures/pickle"
SEED = 20200728
# Zeros of both signs, the least subnormal, the largest and a number that only float16 has, or only bfloat16.
EDGES = {
    torch.float16: [0.0, -0.0, 2.0**-24, -65504.0, 1.0009765625],
    torch.bfloat16: [0.0, -0.0, 2.0**-133, -(2.0**127) * 1.9921875, 3.0 * 2.0**100],
    torch.float32: [0.0, -0.0, 2.0**-149, -(2.0**127), 1.0 + 2.0**-23],
}


def tensors(generator) -> dict:
    """Random numbers, and what is special about each tensor in its name."""
    noise = lambda *size: torch.randn(size, generator=generator)
    whole = noise(6, 5)
    tensors = {
        "float32": noise(3, 4),
        "float16": noise(2, 5).half(),
        "bfloat16": noise(5, 3).bfloat16(),
        "transposed": noise(4, 3).T,
        "permuted": noise(2, 3, 4).permute(2, 0, 1),
        "transposed_float16": noise(3, 2).half().T,
        "whole": whole,
        "same_as_whole": whole,
        "rows": whole[2:4],
        "columns": whole[:, 1:3],
        "every_other": whole[::2, ::2],
        "column_as_matrix": noise(4).unsqueeze(1),
        "number": torch.tensor(-0.625),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(noise(2, 2)),
        "counted": torch.arange(6.0).reshape(2, 3) / 8 - 0.25,
    }
    edges = {f"edges_{str(dtype)[6:]}": torch.tensor(values, dtype=dtype) for dtype, values in EDGES.items()}
    return tensors | edges


def state(generator) -> dict:
    """A module within a module, as adapters are saved; `state_dict` gives an OrderedDict with versions in an attribute."""
    module = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU()), torch.nn.Linear(2, 3))
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return module.state_dict()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(SEED)
    files = {"tensors": tensors(generator), "state": state(generator)}
    for name, content in files.items():
        torch.save(content, out / f"{name}.bin")
    numbers = lambda tensor: tensor.detach().float().clone(memory_format=torch.contiguous_format)
    expected = {f"{name}/{key}": numbers(tensor) for name, content in files.items() for key, tensor in content.items()}
    save_file(expected, out / "expected.safetensors")
    for file in sorted(out.iterdir()):
        print(f"{file.stat().st_size:7} {file.name}")


if __name__ == "__main__":
    main()
