"""Times grafter beside PyTorch and ONNX Runtime, one engine at a time, on the same weights, token ids and threads.

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
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
WORKER = ROOT / "target" / "release" / "examples" / "engine_worker"
sys.path.insert(0, str(ROOT / "reference"))
from parity_family import BERT  # noqa: E402
from parity_model import trained_names  # noqa: E402

BOTTLENECK, ROWS, LABELS, SEED = 64, 32, 2, 7
SMALL, LARGE = "minilm", "bert-base"
# Logits of the same network by two engines in float32; bfloat16 is another network and is not held to it.
TOLERANCE = 1e-4


ALL, INFERENCE = ("training, dropout on", "training, dropout off", "inference"), ("inference",)


@dataclasses.dataclass(frozen=True)
class Contender:
    """An engine, and which work it is shown on. One that is not exact computes in fewer bits, and is no measure of speed."""

    name: str
    program: str
    flags: tuple = ()
    sorted_rows: bool = False
    exact: bool = True
    jobs: tuple = ALL
    large: bool = True  # Whether it is worth its time on a large model.


GRAFTER = Contender("grafter", "grafter")
OURS = [GRAFTER, Contender("grafter, int8", "grafter", ("int8",), exact=False)]
PEERS = [
    Contender("PyTorch", "torch"),
    Contender("PyTorch, sorted", "torch", sorted_rows=True),
    Contender("PyTorch, sorted, compiled", "torch", ("--compile",), sorted_rows=True, large=False),
    Contender("PyTorch, sorted, bf16", "torch", ("--bf16",), sorted_rows=True, exact=False, large=False),
    Contender("ONNX Runtime", "onnx", jobs=INFERENCE),
    Contender("ONNX Runtime, sorted", "onnx", sorted_rows=True, jobs=INFERENCE),
    Contender("ONNX Runtime, int8", "onnx", ("--int8",), exact=False, jobs=INFERENCE),
    Contender("ONNX Runtime, int8, sorted", "onnx", ("--int8",), sorted_rows=True, exact=False, jobs=INFERENCE),
]
SMOKE_PEERS = ["PyTorch", "ONNX Runtime"]


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
    if name == SMALL:
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
    for name in trained_names(BERT, "houlsby", config.num_hidden_layers, "mean"):
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


JOBS = {
    "training, dropout on": {"do": "train", "dropout": True},
    "training, dropout off": {"do": "train", "dropout": False},
    "inference": {"do": "infer"},
}
ON, OFF, INFER = JOBS
# The engines that time their products alone.
PRODUCTS = ("grafter", "PyTorch")


@dataclasses.dataclass
class Work:
    """Rows on which the engines are compared: as they come, and sorted by length."""

    folder: Path
    task: Path
    files: dict  # by whether the rows are sorted
    by_length: list
    rows: list

    @classmethod
    def write(cls, folder, rows, scratch):
        work = cls(
            folder,
            scratch / f"{folder.name}.safetensors",
            {False: scratch / "as_is.json", True: scratch / "sorted.json"},
            sorted(range(len(rows)), key=lambda i: len(rows[i]["ids"])),
            rows,
        )
        write_task(folder, work.task)
        write_workload(rows, work.files[False])
        write_workload([rows[i] for i in work.by_length], work.files[True])
        return work

    def start(self, contender, arguments):
        operands = [self.folder, self.task, self.files[contender.sorted_rows]]
        commands = {
            "grafter": [WORKER, *operands],
            "torch": [sys.executable, HERE / "peer_torch.py", *operands, "--threads", arguments.threads],
            "onnx": [sys.executable, HERE / "peer_onnx.py", *operands, "--threads", arguments.threads]
            + ["--graph", self.task.with_suffix(".onnx")],
        }
        return Engine(contender.name, [*commands[contender.program], *contender.flags], arguments.threads)

    def difference(self, reference, contender, engine):
        """The largest difference of an engine's logits from grafter's."""
        order = self.by_length if contender.sorted_rows else range(len(self.rows))
        pairs = zip([reference[i] for i in order], engine.ask(do="logits")["logits"], strict=True)
        return max(abs(a - b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True))


def contenders(model, rows, arguments):
    """Those that were asked for; sorting changes nothing where all rows are of one length or in one batch."""
    unsorted = len({len(row["ids"]) for row in rows}) == 1 or len(rows) <= ROWS
    redundant = lambda c: unsorted and any(
        c != other and (c.program, c.flags) == (other.program, other.flags) and not other.sorted_rows for other in PEERS
    )
    wanted = lambda c: c.name in arguments.engines and (c.large or model == SMALL)
    return [c for c in OURS + PEERS if wanted(c) and not (c.sorted_rows and redundant(c))]


def measure(model, rows, what, arguments, scratch):
    """Rounds of every job by every engine; returns tokens per second `[job][engine][round]`, and peak bytes."""
    work = Work.write(model_folder(model, arguments.cache), rows, scratch)
    engines = {}
    for contender in contenders(model, rows, arguments):
        engine = work.start(contender, arguments)
        if contender == GRAFTER:
            reference = engine.ask(do="logits")["logits"]
        else:
            difference = work.difference(reference, contender, engine)
            print(f"  {contender.name}: logits differ by at most {difference:.1e}", flush=True)
            if contender.exact and not difference < TOLERANCE:
                raise SystemExit(f"{contender.name} does not compute the same network: {difference}")
        engines[contender] = engine

    tokens = sum(len(row["ids"]) for row in rows)
    rates = {job: {c.name: [] for c in engines if job in c.jobs} for job in JOBS}
    products = {job: {} for job in JOBS}
    memory = {}
    for round_ in range(arguments.rounds + 1):
        for job, order in JOBS.items():
            for contender, engine in engines.items():
                if contender.name in rates[job]:
                    rate = tokens / engine.ask(**order)["seconds"]
                    if round_ > 0:  # The first one warms up caches and compiles.
                        rates[job][contender.name].append(rate)
                # The machine's speed drifts, so the products alone are timed beside what is held against them.
                if contender.name in PRODUCTS and round_ > 0:
                    products[job].setdefault(contender.name, []).append(engine.ask(do="gemm")["gflops"])
            if job == OFF:
                memory = {c.name: e.ask(do="memory")["bytes"] for c, e in engines.items() if c.jobs == ALL}
    for engine in engines.values():
        engine.close()
    return {
        "model": model,
        "work": what,
        "uniform": len({len(row["ids"]) for row in rows}) == 1,
        "rates": rates,
        "memory": memory,
        "products": products,
        "flop": flop(work.folder, rows),
    }


def flop(folder, rows):
    """Of one forward pass per token: every product of the encoder, its adapters and its attention."""
    config = BertConfig.from_pretrained(folder)
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    lengths = [len(row["ids"]) for row in rows]
    tokens = sum(lengths)
    attention = 4 * hidden * sum(length * length for length in lengths) / tokens
    return layers * (2 * (4 * hidden * hidden + 2 * hidden * inner) + 2 * 4 * hidden * BOTTLENECK + attention)


def ratios(result, job, ours, theirs):
    """The rounds' ratios of two engines' rates."""
    of = result["rates"][job]
    return [a / b for a, b in zip(of[ours], of[theirs], strict=True)]


def fastest(result, job, names):
    """The fastest of these engines in this run, if any of them was in it."""
    of = result["rates"][job]
    return max((name for name in names if name in of), key=lambda name: statistics.median(of[name]), default=None)


def share(result, job):
    """Which part of the time the products alone would take. A frozen network's backward pass has one for each of the
    forward pass; those of adapters and attention, which have two, are not counted twice."""
    passes = 1 if job == "inference" else 2
    rate = statistics.median(result["rates"][job][GRAFTER.name])
    return rate * passes * result["flop"] / (product_rate(result, job) * 1e9)


def product_rate(result, job):
    """GFLOP/s that the machine gives: of the sides that were asked the faster, each over the rounds as everything else."""
    return max(statistics.median(rounds) for rounds in result["products"][job].values())


SORTED = ["PyTorch, sorted", "PyTorch, sorted, compiled"]
INT8 = ["ONNX Runtime, int8", "ONNX Runtime, int8, sorted"]
# What, on rows of one length or of real ones, job, the engines of which the fastest counts, and the ratio to reach.
TARGETS = [
    ("training, real lengths, as run, dropout on", False, ON, ["PyTorch"], 5.0),
    ("training, real lengths, as run, dropout off", False, OFF, ["PyTorch"], 3.3),
    ("training, full length, dropout on", True, ON, ["PyTorch"], 3.3),
    ("training, full length, dropout off", True, OFF, ["PyTorch"], 1.4),
    ("training, real lengths, at its best, dropout on", False, ON, SORTED, 1.8),
    ("training, real lengths, at its best, dropout off", False, OFF, SORTED, 1.35),
    ("inference, real lengths, as run", False, INFER, ["PyTorch"], 4.0),
    ("inference, real lengths, at its best", False, INFER, SORTED, 1.25),
    ("inference, full length", True, INFER, ["PyTorch"], 1.35),
]


def verdict(reached):
    return "reached" if reached else "not reached"


def summary(results):
    """The ratios that the engine aims at, beside those of this run."""
    lines = ["| | aim | work | beside | this run | |", "|---|---|---|---|---|---|"]
    for what, uniform, job, names, aim in TARGETS:
        for result in results:
            peer = fastest(result, job, names)
            if result["uniform"] != uniform or peer is None:
                continue
            found = ratios(result, job, GRAFTER.name, peer)
            median = statistics.median(found)
            lines.append(
                f"| {what} | {aim:g}x | {result['model']}, {result['work']} | {peer} "
                f"| {median:.2f}x ({min(found):.2f} to {max(found):.2f}) | {verdict(median >= aim)} |"
            )
    for result in results:
        where = f"{result['model']}, {result['work']}"
        if result["uniform"]:
            for job, aim in [(INFER, 0.9), (OFF, 0.85)]:
                part = share(result, job)
                lines.append(f"| share of the product rate, {job} | {aim:.0%} | {where} | | {part:.0%} | {verdict(part >= aim)} |")
            job, ours, theirs = INFER, "grafter, int8", GRAFTER.name
            if ours in result["rates"][job]:
                median = statistics.median(ratios(result, job, ours, theirs))
                lines.append(f"| 8-bit base, inference | 2x | {where} | {theirs} | {median:.2f}x | {verdict(median >= 2)} |")
        elif "grafter, int8" in result["rates"][INFER] and (peer := fastest(result, INFER, INT8)):
            median = statistics.median(ratios(result, INFER, "grafter, int8", peer))
            lines.append(f"| 8-bit base, inference | 1.3x | {where} | {peer} | {median:.2f}x | {verdict(median >= 1.3)} |")
        if "PyTorch" in result["memory"]:
            part = result["memory"][GRAFTER.name] / result["memory"]["PyTorch"]
            lines.append(f"| peak memory in training | a quarter | {where} | PyTorch | {part:.2f} | {verdict(part <= 0.25)} |")
    return lines


def details(result):
    lines = [f"## {result['model']}, {result['work']}", ""]
    lines += ["| | engine | tokens/s | peer | tokens/s | ratio |", "|---|---|---|---|---|---|"]
    for job, of in result["rates"].items():
        for ours in (c.name for c in OURS if c.name in of):
            for peer in (c.name for c in PEERS if c.name in of):
                found = ratios(result, job, ours, peer)
                lines.append(
                    f"| {job} | {ours} | {statistics.median(of[ours]):,.0f} | {peer} | {statistics.median(of[peer]):,.0f} "
                    f"| {statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}) |"
                )
    memory = ", ".join(f"{name} {size / 1e6:,.0f} MB" for name, size in result["memory"].items())
    products = ", ".join(f"{name} {statistics.median(rounds):,.0f}" for name, rounds in result["products"][INFER].items())
    limit = product_rate(result, INFER) * 1e9 / result["flop"]
    shares = ", ".join(f"{job} {share(result, job):.0%}" for job in JOBS)
    lines += [
        "",
        f"- Peak memory after training: {memory}.",
        f"- Products alone, GFLOP/s: {products}. A token takes {result['flop'] / 1e6:.1f} MFLOP forward and twice that in a",
        f"  training step, so the products alone allow {limit:,.0f} tokens/s in inference and {limit / 2:,.0f} in training. grafter's share:",
        f"  {shares}.",
        "",
    ]
    return lines


def report(results, start, arguments):
    lines = [
        "# Speed beside PyTorch and ONNX Runtime",
        "",
        "Written by `bench/compare/run --write`; the command of this page:",
        "",
        "```sh",
        # Where the data lie is of this machine alone.
        re.sub(r"\S*/(?=[^/\s]+/[^/\s]+\.tsv)", "DATA/", f"bench/compare/run {' '.join(arguments.shown)}").rstrip(),
        "```",
        "",
        f"{machine()}, {arguments.threads} threads, grafter at commit {commit()}. {versions()}. Batches of {ROWS} rows, bottleneck {BOTTLENECK}, {arguments.rounds} rounds.",
        "Tokens per second count real tokens, not padding: medians of the rounds. A ratio is grafter's rate over the peer's in the",
        "same round: median (least to most). All engines gave the same logits to 1e-4 before they were timed, but those in bf16 and",
        "int8, which compute in another arithmetic and are shown for scale. ONNX Runtime runs the graph that PyTorch exports, without",
        "fusions of its own tools for Transformers. \"As run\": padded to the longest row of a batch, rows in",
        "any order. \"At its best\": rows sorted by length, and `torch.compile` where that is faster.",
        "",
        "## What the engine aims at, and what it reached",
        "",
        *summary(results),
        f"| process start to end with one prediction, `minilm` | 150 ms | `grafter predict`, one text | | {start * 1e3:.0f} ms | {verdict(start <= 0.15)} |",
        "",
        *arguments.remarks,
    ]
    for result in results:
        lines += details(result)
    return "\n".join(lines)


def first_prediction(scratch, tries=10):
    """Seconds from the start of `grafter predict` to its end on one text, with the model in the page cache: the median."""
    adapter, text = scratch / "few", scratch / "one.txt"
    text.write_text("a fine day\n")
    train_few(scratch, adapter, "--epochs", "1")
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        subprocess.run([ROOT / "target/release/grafter", "predict", "--adapter", adapter, "--input", text], **QUIET)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


QUIET = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def train_few(scratch, adapter, *flags):
    """`grafter train` on sixteen short texts."""
    rows = scratch / "few.tsv"
    rows.write_text("text\tlabel\n" + "".join(f"day {i} was {'good' if i % 2 else 'bad'}\t{i % 2}\n" for i in range(16)))
    grafter = ROOT / "target/release/grafter"
    subprocess.run([grafter, "train", "--train", rows, "--dev", rows, "--out", adapter, *flags], **QUIET)


def check_events(scratch):
    """TensorBoard's own reader finds the numbers of a run's log in the run's events."""
    adapter, events = scratch / "logged", scratch / "events"
    train_few(scratch, adapter, "--epochs", "3", "--batch-size", "4", "--tensorboard", events)
    check = [sys.executable, ROOT / "reference" / "tensorboard_check.py", events, adapter.with_suffix(".log.jsonl")]
    if subprocess.run(check).returncode != 0:
        raise SystemExit("the events that `grafter train --tensorboard` wrote are not those of its log")


def machine():
    text = Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)
    wide = "with AVX-512" if "avx512f" in text else "without AVX-512"
    return f"{name.group(1) if name else platform.processor()} {wide}"


def commit():
    """What was measured; `+` where it differs from what is committed."""

    def git(*arguments):
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+" if changed else "")


def versions():
    import adapters
    import onnxruntime
    import transformers

    return (
        f"PyTorch {torch.__version__}, transformers {transformers.__version__}, adapters {adapters.__version__}, "
        f"ONNX Runtime {onnxruntime.__version__}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", choices=[SMALL, LARGE], default=[SMALL])
    parser.add_argument("--data", nargs="*", type=Path, default=[], help="tab-separated files whose lengths are measured")
    parser.add_argument("--rows", type=int, default=320, help="rows of each work, in batches of 32; a quarter of them on bert-base")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    names = [contender.name for contender in OURS + PEERS]
    parser.add_argument("--engines", nargs="+", choices=names, default=names)
    parser.add_argument("--cache", type=Path, default=ROOT / "target" / "compare")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md")
    parser.add_argument("--smoke", action="store_true", help="one batch, one round, few engines, and the events: does it run?")
    arguments = parser.parse_args()
    arguments.shown = [shlex.quote(part) for part in sys.argv[1:] if part != "--write"]
    if arguments.smoke:
        arguments.rows, arguments.rounds, arguments.engines = ROWS, 1, [c.name for c in OURS] + SMOKE_PEERS
    arguments.engines = [GRAFTER.name, *arguments.engines]
    remarks = ROOT / "bench" / "remarks.md"
    arguments.remarks = remarks.read_text().splitlines() if arguments.write and remarks.exists() else []
    results = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        for model in arguments.model:
            folder = model_folder(model, arguments.cache)
            count = arguments.rows if model == SMALL else max(arguments.rows // 4, ROWS)
            works = {"full length 128": full_rows(count)}
            works |= {f"lengths of {path.parent.name}": real_rows(folder, path, count) for path in arguments.data}
            for what, rows in works.items():
                print(f"{model}, {what}", flush=True)
                results.append(measure(model, rows, what, arguments, scratch))
        if arguments.smoke:
            check_events(scratch)
        start = first_prediction(scratch)
    text = report(results, start, arguments)
    print(text)
    if arguments.write:
        (ROOT / "bench" / "RESULTS.md").write_text(text)


if __name__ == "__main__":
    main()
