"""PyTorch with Hugging Face `transformers` and AdapterHub `adapters` as one side of a comparison.

    python peer_torch.py MODEL_DIR TASK_FILE WORKLOAD_FILE --attention sdpa [--compile] [--bf16] [--threads N]

Speaks the protocol of `crates/grafter/examples/engine_worker.rs`: a JSON line in, a JSON line out. Batches are padded to
their longest row, as Hugging Face's data collator does. What trains is what grafter trains: the adapters, every LayerNorm
and the head, with AdamW and clipping.
"""

import argparse
import contextlib
import json
import logging
import sys
import time
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import BertConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "reference"))
from parity_family import BERT  # noqa: E402
from parity_model import ReferenceModel, decays, make_batch  # noqa: E402

ACTIVATION = {"gelu-tanh": "gelu_tanh"}


def reference(folder, task, workload, attention):
    """The network of the parity fixtures: a frozen BERT with AdapterHub's adapters and a linear head."""
    weights = load_file(folder / "model.safetensors")
    model = ReferenceModel(
        BERT,
        BertConfig.from_pretrained(folder),
        {name: tensor for name, tensor in weights.items() if not name.endswith("position_ids")},
        load_file(task),
        method="houlsby",
        bottleneck=workload["bottleneck"],
        activation=ACTIVATION.get(workload["activation"], workload["activation"]),
        task="classification",
        pooling=workload["pooling"],
    )
    model.encoder.set_attn_implementation(attention)
    return model


class Engine:
    def __init__(self, arguments):
        workload = json.loads(Path(arguments.workload).read_text())
        self.model = reference(Path(arguments.model), arguments.task, workload, arguments.attention)
        if arguments.bf16:
            cast_frozen_layers(self.model)
        # The reference collects all hidden states; nobody who trains asks for them.
        self.forward = lean_forward(self.model)
        if arguments.compile:
            self.forward = torch.compile(self.forward, dynamic=True)
        self.cast = (
            (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if arguments.bf16 else contextlib.nullcontext
        )
        self.batches = [
            make_batch(rows, [row["class"] for row in rows], BERT.padding) for rows in workload["batches"]
        ]
        # Asked once here: within the forward pass it would break a compiled graph in two.
        for batch in self.batches:
            batch.full = bool(batch.mask.all())
        trained = self.model.trained
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [p for n, p in trained.items() if decays(n)], "weight_decay": 0.01},
                {"params": [p for n, p in trained.items() if not decays(n)], "weight_decay": 0.0},
            ],
            lr=1e-9,
        )

    def logits(self):
        self.model.eval()
        with torch.inference_mode(), self.cast():
            return [row for batch in self.batches for row in self.forward(batch).float().tolist()]

    def infer(self):
        self.model.eval()
        with torch.inference_mode(), self.cast():
            for batch in self.batches:
                self.forward(batch)

    def train(self, dropout):
        self.model.train(dropout)
        for batch in self.batches:
            self.optimizer.zero_grad(set_to_none=True)
            with self.cast():
                loss = nn.functional.cross_entropy(self.forward(batch), batch.targets)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.trained.values(), 1.0)
            self.optimizer.step()


def cast_frozen_layers(model):
    """Casts frozen linear layers to bfloat16, once: autocast keeps its casts of what trains alone, and would cast these anew
    in every batch."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and not any(p.requires_grad for p in layer.parameters()):
            layer.to(torch.bfloat16)


def lean_forward(model):
    """Logits of a batch. A mask of ones, of a batch that is full, is left out, as a careful user does; SDPA then takes its
    fastest kernel."""

    def forward(batch):
        mask = None if batch.full else batch.mask
        out = model.encoder(input_ids=batch.ids, token_type_ids=batch.types, attention_mask=mask)
        if model.pooling == "cls":
            pooled = out.pooler_output
        else:
            mask = batch.mask.unsqueeze(-1).to(out.last_hidden_state.dtype)
            pooled = (out.last_hidden_state * mask).sum(1) / mask.sum(1)
        if model.training:
            pooled = nn.functional.dropout(pooled, model.encoder.config.hidden_dropout_prob)
        return model.head(pooled)

    return forward


def product_rate(threads):
    """GFLOP/s of PyTorch's matrix product at the size of a batch's feed-forward network: the best of some rounds."""
    left, right = torch.rand(512 * threads, 384), torch.rand(384, 1536)
    repeats, best = 10, 0.0
    for _ in range(6):
        start = time.perf_counter()
        for _ in range(repeats):
            left @ right
        best = max(best, 2 * left.numel() * right.shape[1] * repeats / (time.perf_counter() - start) / 1e9)
    return best


def peak_bytes():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no VmHWM: this needs Linux")


def timed(work):
    start = time.perf_counter()
    work()
    return {"seconds": time.perf_counter() - start}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("task")
    parser.add_argument("workload")
    parser.add_argument("--attention", choices=["eager", "sdpa"], default="sdpa")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(arguments.threads)
    engine = Engine(arguments)
    for line in sys.stdin:
        order = json.loads(line)
        answers = {
            "logits": lambda: {"logits": engine.logits()},
            "train": lambda: timed(lambda: engine.train(order.get("dropout", False))),
            "infer": lambda: timed(engine.infer),
            "memory": lambda: {"bytes": peak_bytes()},
            "gemm": lambda: {"gflops": product_rate(arguments.threads)},
        }
        print(json.dumps(answers[order["do"]]()), flush=True)


if __name__ == "__main__":
    main()
