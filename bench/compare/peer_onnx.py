"""ONNX Runtime as one side of a comparison: inference of the whole network, adapters and head included.

    python peer_onnx.py MODEL_DIR TASK_FILE WORKLOAD_FILE --graph FILE [--int8] [--threads N]

Speaks the protocol of `crates/grafter/examples/engine_worker.rs`: a JSON line in, a JSON line out. The graph is exported
from the PyTorch reference when the file does not exist, and quantised with ONNX Runtime's dynamic quantisation for
`--int8`. Batches are padded to their longest row.
"""

import argparse
import json
import logging
import sys
import time
import warnings
from pathlib import Path

import onnxruntime

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))


def export(arguments, path):
    """Writes the network of the PyTorch peer, with sizes of batch and length left open."""
    import torch
    from peer_torch import lean_forward, reference
    from torch import nn

    class Network(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.forward_batch = model, lean_forward(model)

        def forward(self, ids, types, mask):
            return self.forward_batch(argparse.Namespace(ids=ids, types=types, mask=mask, full=False))

    workload = json.loads(Path(arguments.workload).read_text())
    model = reference(Path(arguments.model), arguments.task, workload, "eager").eval()
    ids = torch.ones(2, 9, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    names = ["ids", "types", "mask"]
    torch.onnx.export(
        Network(model).eval(),
        (ids, torch.zeros_like(ids), mask),
        str(path),
        input_names=names,
        output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "length"} for name in names},
        opset_version=17,
        dynamo=False,
    )


def quantise(graph, path):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(str(graph), str(path), weight_type=QuantType.QInt8)


def written(path, write):
    """The file, made whole or not at all."""
    if not path.exists():
        unfinished = path.with_suffix(".new")
        write(unfinished)
        unfinished.rename(path)
    return path


def padded(rows):
    import numpy

    longest = max(len(row["ids"]) for row in rows)
    pad = lambda row: row + [0] * (longest - len(row))
    return {
        "ids": numpy.array([pad(row["ids"]) for row in rows], dtype=numpy.int64),
        "types": numpy.array([pad(row["type_ids"]) for row in rows], dtype=numpy.int64),
        "mask": numpy.array([pad([1] * len(row["ids"])) for row in rows], dtype=numpy.int64),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("task")
    parser.add_argument("workload")
    parser.add_argument("--graph", type=Path, required=True)
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    graph = written(arguments.graph, lambda path: export(arguments, path))
    if arguments.int8:
        graph = written(graph.with_suffix(".int8.onnx"), lambda path: quantise(arguments.graph, path))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    batches = [padded(rows) for rows in json.loads(Path(arguments.workload).read_text())["batches"]]
    for line in sys.stdin:
        order = json.loads(line)
        start = time.perf_counter()
        logits = [row for batch in batches for row in session.run(["logits"], batch)[0].tolist()]
        seconds = time.perf_counter() - start
        print(json.dumps({"logits": logits} if order["do"] == "logits" else {"seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
