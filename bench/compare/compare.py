"""Times grafter beside PyTorch, one engine at a time, on the same weights, token ids and threads.

    bench/compare/run [--model minilm bert-base] [--data FILE.tsv ...] [--rounds N] [--smoke]

`run` sets up the Python environment, builds grafter, and calls this file. Each engine is a process of its own that keeps
its model and its buffers; the engines take turns, round after round, so that a machine that slows down slows all of them.
Before anything is timed, all engines must give the same logits. Printed, and written with `--write` to `bench/RESULTS.md`:
medians over the rounds, and of each ratio the median, the least and the most of the rounds' ratios.
"""

import argparse
import csv
import dataclasses
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORKER = ROOT / "target" / "release" / "examples" / "engine_worker"
sys.path.insert(0, str(ROOT / "reference"))
from parity_model import trained_names  # noqa: E402

BOTTLENECK, ROWS, LABELS, SEED = 64, 32, 2, 7
# Logits of the same network by two engines in float32; bfloat16 is another network and is not held to it.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Peer:
    """An engine beside grafter, and which work it is shown on."""

    name: str
    flags: tuple
    sorted_rows: bool
    exact: bool = True


GRAFTER = "grafter"
PEERS = [
    Peer("PyTorch", ("--attention", "sdpa"), sorted_rows=False),
    Peer("PyTorch, sorted", ("--attention", "sdpa"), sorted_rows=True),
    Peer("PyTorch, sorted, compiled", ("--attention", "sdpa", "--compile"), sorted_rows=True),
    Peer("PyTorch, sorted, bf16", ("--attention", "sdpa", "--bf16"), sorted_rows=True, exact=False),
]


class Engine:
    """A process that answers one JSON line with another."""

    def __init__(self, name, command, threads):
        environment = os.environ | {"RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        # Some processors have these set for old OpenBLAS builds; nobody here uses one.
        for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            environment.pop(variable, None)
        self.name = name
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with {self.process.wait()} at {order}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def model_folder(name, cache):
    """MiniLM as grafter has it, or a BERT-base with random weights, which computes as long as a trained one."""
    minilm = Path(subprocess.check_output([ROOT / "target/release/grafter", "pull"], text=True).strip())
    if name == "minilm":
        return minilm
    folder = cache / name
    if not (folder / "model.safetensors").exists():
        torch.manual_seed(SEED)
        BertModel(BertConfig()).save_pretrained(folder)
        (folder / "tokenizer.json").write_bytes((minilm / "tokenizer.json").read_bytes())
    return folder


def write_task(folder, path):
    """Trained numbers under grafter's names: adapters large enough to be seen in the logits."""
    config = BertConfig.from_pretrained(folder)
    generator = torch.Generator().manual_seed(SEED)
    hidden = config.hidden_size
    tensors = {}
    for name in trained_names(config.num_hidden_layers):
        if ".layer_norm." in name:
            shape, mean, std = (hidden,), float(name.endswith("weight")), 0.02
        elif name.startswith("head."):
            shape, mean, std = ((LABELS, hidden) if name.endswith("weight") else (LABELS,)), 0.0, 0.1
        else:
            down = ".down." in name
            out, inner = (BOTTLENECK, hidden) if down else (hidden, BOTTLENECK)
            shape, mean, std = ((out, inner) if name.endswith("weight") else (out,)), 0.0, 0.02
        tensors[name] = mean + std * torch.randn(shape, generator=generator)
    save_file(tensors, path)


def texts_of(path, rows):
    """The first rows of a shuffled tab-separated file with a header: a text each, or a pair."""
    with open(path, encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    random.Random(SEED).shuffle(table)
    columns = [c for c in ("sentence", "text", "sentence1", "sentence2", "text_a", "text_b") if c in table[0]]
    return [tuple(row[column] for column in columns) for row in table[:rows]]


def real_rows(folder, path, count):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    encodings = [tokenizer.encode(*texts) for texts in texts_of(path, count)]
    return [{"ids": e.ids, "type_ids": e.type_ids, "class": i % LABELS} for i, e in enumerate(encodings)]


def full_rows(count, length=128):
    generator = random.Random(SEED)
    row = lambda: [101, *(generator.randrange(1000, 30000) for _ in range(length - 2)), 102]
    return [{"ids": row(), "type_ids": [0] * length, "class": i % LABELS} for i in range(count)]


def write_workload(rows, path):
    batches = [rows[i : i + ROWS] for i in range(0, len(rows), ROWS)]
    settings = {"bottleneck": BOTTLENECK, "activation": "gelu", "pooling": "mean", "labels": LABELS}
    path.write_text(json.dumps(settings | {"batches": batches}))


def check_logits(reference, engine, order):
    """The largest difference of two engines' logits; `order` brings the reference's rows into the engine's order."""
    ours = [reference[i] for i in order]
    theirs = engine.ask(do="logits")["logits"]
    return max(abs(a - b) for x, y in zip(ours, theirs, strict=True) for a, b in zip(x, y, strict=True))


JOBS = {
    "training, dropout on": {"do": "train", "dropout": True},
    "training, dropout off": {"do": "train", "dropout": False},
    "inference": {"do": "infer"},
}


def measure(model, rows, what, arguments, scratch):
    """Rounds of every job by every engine; returns tokens per second `[job][engine][round]`, and peak bytes."""
    folder = model_folder(model, arguments.cache)
    task = scratch / f"{model}.safetensors"
    write_task(folder, task)
    by_length = sorted(range(len(rows)), key=lambda i: len(rows[i]["ids"]))
    files = {False: scratch / "as_is.json", True: scratch / "sorted.json"}
    write_workload(rows, files[False])
    write_workload([rows[i] for i in by_length], files[True])
    uniform = len({len(row["ids"]) for row in rows}) == 1

    grafter = Engine(GRAFTER, [WORKER, folder, task, files[False]], arguments.threads)
    engines = [(grafter, None)]
    reference = grafter.ask(do="logits")["logits"]
    for peer in PEERS:
        # Sorting changes nothing where all rows are of one length.
        if peer.name not in arguments.peers or (uniform and peer.sorted_rows and len(peer.flags) == 2):
            continue
        command = [sys.executable, HERE / "peer_torch.py", folder, task, files[peer.sorted_rows], *peer.flags]
        engine = Engine(peer.name, [*command, "--threads", arguments.threads], arguments.threads)
        order = by_length if peer.sorted_rows else range(len(rows))
        difference = check_logits(reference, engine, order)
        print(f"  {peer.name}: logits differ by at most {difference:.1e}", flush=True)
        if peer.exact and not difference < TOLERANCE:
            raise SystemExit(f"{peer.name} does not compute the same network: {difference}")
        engines.append((engine, peer))

    tokens = sum(len(row["ids"]) for row in rows)
    rates = {job: {engine.name: [] for engine, _ in engines} for job in JOBS}
    for round_ in range(arguments.rounds + 1):
        for job, order in JOBS.items():
            for engine, _ in engines:
                rate = tokens / engine.ask(**order)["seconds"]
                if round_ > 0:  # The first one warms up caches and compiles.
                    rates[job][engine.name].append(rate)
    memory = {engine.name: engine.ask(do="memory")["bytes"] for engine, _ in engines}
    gemm = grafter.ask(do="gemm")["gflops"]
    for engine, _ in engines:
        engine.close()
    return {"model": model, "work": what, "rates": rates, "memory": memory, "gemm": gemm, "floor": floor(folder, rows)}


def floor(folder, rows):
    """FLOP of one forward pass per token: every product of the encoder, its adapters and its attention."""
    config = BertConfig.from_pretrained(folder)
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    lengths = [len(row["ids"]) for row in rows]
    tokens = sum(lengths)
    attention = 4 * hidden * sum(length * length for length in lengths) / tokens
    return layers * (2 * (4 * hidden * hidden + 2 * hidden * inner) + 2 * 4 * hidden * BOTTLENECK + attention)


def report(results, arguments):
    lines = [
        "# Speed beside PyTorch",
        "",
        "Written by `bench/compare/run --write`; the command of this table:",
        "",
        "```sh",
        f"bench/compare/run {' '.join(arguments.shown)}".rstrip(),
        "```",
        "",
        f"{machine()}, {arguments.threads} threads. {versions()}. Batches of {ROWS} rows, bottleneck {BOTTLENECK}, {arguments.rounds} rounds.",
        "Tokens per second count real tokens, not padding: medians of the rounds. A ratio is grafter's rate over the peer's in the",
        "same round: median (least to most). All engines gave the same logits to 1e-4 before they were timed; bf16 is another",
        "arithmetic and is shown for scale.",
        "",
    ]
    for result in results:
        lines += [f"## {result['model']}, {result['work']}", ""]
        lines += ["| | grafter, tokens/s | share of the product rate | peer | peer, tokens/s | ratio |", "|---|---|---|---|---|---|"]
        for job, of in result["rates"].items():
            ours = of[GRAFTER]
            # The backward pass of a frozen network is one product for each of the forward pass.
            flop = result["floor"] * (1 if job == "inference" else 2)
            share = statistics.median(ours) * flop / (result["gemm"] * 1e9)
            for name, theirs in of.items():
                if name == GRAFTER:
                    continue
                ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
                lines.append(
                    f"| {job} | {statistics.median(ours):,.0f} | {100 * share:.0f} % | {name} | {statistics.median(theirs):,.0f} "
                    f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
                )
        memory = ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in result["memory"].items())
        lines += [
            "",
            f"Peak memory of the process: {memory}. Products alone: {result['gemm']:,.0f} GFLOP/s; {result['floor'] / 1e6:.1f} MFLOP a token forward.",
            "",
        ]
    return "\n".join(lines)


def machine():
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)
    wide = "with AVX-512" if "avx512f" in text else "without AVX-512"
    return f"{name.group(1) if name else platform.processor()} {wide}"


def versions():
    import adapters
    import transformers

    return f"PyTorch {torch.__version__}, transformers {transformers.__version__}, adapters {adapters.__version__}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=["minilm", "bert-base"], default=["minilm"])
    parser.add_argument("--data", nargs="*", type=Path, default=[], help="tab-separated files whose lengths are measured")
    parser.add_argument("--rows", type=int, default=320, help="rows of each work, in batches of 32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--peers", nargs="+", choices=[peer.name for peer in PEERS], default=[peer.name for peer in PEERS])
    parser.add_argument("--cache", type=Path, default=ROOT / "target" / "compare")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--smoke", action="store_true", help="one batch, one round: does it run?")
    arguments = parser.parse_args()
    arguments.shown = [part for part in sys.argv[1:] if part != "--write"]
    if arguments.smoke:
        arguments.rows, arguments.rounds = ROWS, 1
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for model in arguments.model:
            works = [("full length 128", lambda: full_rows(arguments.rows))]
            for path in arguments.data:
                folder = model_folder(model, arguments.cache)
                works.append((f"lengths of {path.parent.name}", lambda p=path, f=folder: real_rows(f, p, arguments.rows)))
            for what, rows in works:
                print(f"{model}, {what}", flush=True)
                results.append(measure(model, rows(), what, arguments, Path(scratch)))
    text = report(results, arguments)
    print(text)
    if arguments.write:
        (ROOT / "bench" / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main()
