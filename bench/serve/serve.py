"""Measures `grafter serve`: requests per second beside a server in Python, latency at half of the saturation, three times the
load that it can carry, many tasks beside one, and a bank of a thousand tasks.

    bench/serve/run --data FILE.tsv [--seconds 8] [--rounds 3] [--connections 16] [--threads 2] [--out FILE.md]

FILE has a text column `sentence` or `text` and labels in `label`; a task is trained on it for a few steps. The two servers
answer the same texts on the same weights, one text a request, in turn, round by round; their labels must agree. The clients
run on the same machine and take their share of it from both.
"""

import argparse
import asyncio
import contextlib
import csv
import json
import os
import pathlib
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

from load import closed_loop, open_loop, post, quantile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
GRAFTER = ROOT / "target" / "release" / "grafter"
TEXTS = 512
TASKS = 16
MANY = 1000


def grafter(*arguments):
    done = subprocess.run([GRAFTER, *map(str, arguments)], check=True, capture_output=True, text=True)
    return done.stdout


def fill(bank, adapter, name, count):
    run = ["cargo", "run", "--release", "--quiet", "--locked", "-p", "grafter", "--example", "fill_bank", "--"]
    subprocess.run([*run, bank, adapter, name, str(count)], check=True, cwd=ROOT)


def texts_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        name = next(column for column in ("sentence", "text") if column in (rows.fieldnames or []))
        return [row[name] for row, _ in zip(rows, range(TEXTS))]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@contextlib.contextmanager
def server(command, path, body):
    """Starts a server, waits until it answers, and ends it. Yields its port, its process and the seconds until the answer."""
    port = free_port()
    begun = time.perf_counter()
    process = subprocess.Popen([*map(str, command), "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended: {process.stderr.read().decode()}")
            try:
                ask(port, path, body)
                break
            except OSError:
                time.sleep(0.005)
        yield port, process, time.perf_counter() - begun
    finally:
        process.terminate()
        process.wait(30)


def ask(port, path, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def resident(process, field="VmRSS"):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise SystemExit("no memory in /proc: this needs Linux")


def ours(texts, tasks):
    return [post("/v1/predict", body_of(text, tasks[place % len(tasks)])) for place, text in enumerate(texts)]


def body_of(text, task):
    return json.dumps({"task": task, "inputs": [text]}).encode()


def per_second(latencies, seconds):
    unexpected = {status: len(times) for status, times in latencies.items() if status != 200}
    if unexpected:
        raise SystemExit(f"answers other than 200: {unexpected}")
    return len(latencies[200]) / seconds


def beside_python(arguments, texts, bank, adapter, model, lines):
    serve = [GRAFTER, "serve", "--bank", bank, "--threads", arguments.threads, "--log", "off"]
    peer = [sys.executable, ROOT / "bench/serve/peer_fastapi.py", model, adapter, "--threads", arguments.threads]
    first = json.dumps({"inputs": [texts[0]]}).encode()
    requests = {
        "grafter": ours(texts, ["task-0"]),
        "FastAPI": [post("/predict", json.dumps({"inputs": [text]}).encode()) for text in texts],
    }
    found = {"grafter": [], "FastAPI": []}
    with (
        server(serve, "/v1/predict", body_of(texts[0], "task-0")) as (our_port, our_process, _),
        server(peer, "/predict", first) as (their_port, their_process, _),
    ):
        for text in texts[:64]:
            mine = ask(our_port, "/v1/predict", body_of(text, "task-0"))
            theirs = ask(their_port, "/predict", json.dumps({"inputs": [text]}).encode())
            compare_answers(mine, theirs)
        for _ in range(arguments.rounds):
            for name, port in (("grafter", our_port), ("FastAPI", their_port)):
                latencies = asyncio.run(closed_loop(port, requests[name], arguments.connections, arguments.seconds))
                found[name].append((per_second(latencies, arguments.seconds), latencies[200]))
        memory = {"grafter": resident(our_process), "FastAPI": resident(their_process)}
    ratios = [a[0] / b[0] for a, b in zip(found["grafter"], found["FastAPI"])]
    lines += [f"| {arguments.connections} clients, one text a request | grafter | FastAPI and `adapters` |", "|---|---|---|"]
    speed = {name: statistics.median(rate for rate, _ in rounds) for name, rounds in found.items()}
    lines.append(f"| requests per second | {speed['grafter']:.0f} | {speed['FastAPI']:.0f} |")
    for label, share in (("median", 0.5), ("99 % of answers within", 0.99)):
        times = {n: 1e3 * quantile([t for _, all in rounds for t in all], share) for n, rounds in found.items()}
        lines.append(f"| {label} | {times['grafter']:.1f} ms | {times['FastAPI']:.1f} ms |")
    lines.append(f"| resident memory | {memory['grafter'] / 1e6:.0f} MB | {memory['FastAPI'] / 1e6:.0f} MB |")
    lines.append("")
    lines.append(f"Requests per second, median ratio: **{statistics.median(ratios):.2f}** ({min(ratios):.2f} to {max(ratios):.2f}).")
    return speed["grafter"]


def compare_answers(mine, theirs):
    ours = first_answer(mine)
    for label, probability in theirs["probabilities"].items():
        if abs(ours["probabilities"][label] - probability) > 1e-4:
            raise SystemExit(f"the servers differ: {mine} and {theirs}")


def first_answer(answer):
    return answer["answers"][0]


def under_load(arguments, texts, bank, saturation, lines):
    serve = [GRAFTER, "serve", "--bank", bank, "--threads", arguments.threads, "--log", "off"]
    with server(serve, "/v1/predict", body_of(texts[0], "task-0")) as (port, process, _):
        requests = ours(texts, ["task-0"])
        half = asyncio.run(open_loop(port, requests, saturation / 2, 2 * arguments.seconds))
        before = resident(process)
        triple = asyncio.run(open_loop(port, requests, 3 * saturation, 2 * arguments.seconds))
        after, peak = resident(process), resident(process, "VmHWM")
    median, tail = quantile(half[200], 0.5), quantile(half[200], 0.99)
    counts = {status: len(times) for status, times in sorted(triple.items(), key=str)}
    served = counts.get(200, 0) / (2 * arguments.seconds)
    lines += ["", "| load at random instants | |", "|---|---|"]
    lines.append(f"| half of the saturation: median, 99 % within | {1e3 * median:.1f} ms, {1e3 * tail:.1f} ms ({tail / median:.1f} times) |")
    lines.append(f"| three times the saturation: answers by status | {counts} |")
    lines.append(f"| of them answered per second | {served:.0f}, {100 * served / saturation:.0f} % of the saturation |")
    lines.append(f"| resident memory before, after, at most | {before / 1e6:.0f}, {after / 1e6:.0f}, {peak / 1e6:.0f} MB |")


def many_tasks(arguments, texts, bank, lines):
    """The same rows for one task and for many, in requests of 32 rows."""
    serve = [GRAFTER, "serve", "--bank", bank, "--threads", arguments.threads, "--log", "off"]
    names = [f"task-{task}" for task in range(TASKS)]

    def request(first, tasks):
        rows = [{"text": texts[(first + row) % len(texts)], "task": tasks[row % len(tasks)]} for row in range(32)]
        return post("/v1/predict", json.dumps({"inputs": rows}).encode())

    sets = {tasks: [request(32 * first, names[:tasks]) for first in range(16)] for tasks in (1, TASKS)}
    found = {1: [], TASKS: []}
    with server(serve, "/v1/predict", body_of(texts[0], "task-0")) as (port, _, _):
        asyncio.run(closed_loop(port, sets[TASKS], 4, 1))
        for _ in range(arguments.rounds):
            for tasks, requests in sets.items():
                latencies = asyncio.run(closed_loop(port, requests, 4, arguments.seconds))
                found[tasks].append(32 * per_second(latencies, arguments.seconds))
    ratios = [many / one for one, many in zip(found[1], found[TASKS])]
    lines += ["", f"| rows per second, 32 a request | one task | {TASKS} tasks in turn |", "|---|---|---|"]
    lines.append(f"| median of {arguments.rounds} rounds | {statistics.median(found[1]):.0f} | {statistics.median(found[TASKS]):.0f} |")
    lines.append("")
    lines.append(f"Median ratio: **{statistics.median(ratios):.3f}** ({min(ratios):.3f} to {max(ratios):.3f}).")


def thousand(arguments, text, bank, lines):
    serve = [GRAFTER, "serve", "--bank", bank, "--threads", arguments.threads, "--log", "off"]
    with server(serve, "/health/ready", None) as (port, process, started):
        # What answering itself takes, once, is not an adapter's.
        ask(port, "/v1/predict", body_of(text, "many-1"))
        idle = resident(process)
        for task in range(0, MANY, 10):
            ask(port, "/v1/predict", body_of(text, f"many-{task}"))
        loaded = resident(process)
    file = next(pathlib.Path(bank).glob("tasks/many-0/*/adapter.safetensors")).stat().st_size
    lines += ["", f"| a bank of {MANY} tasks | |", "|---|---|"]
    lines.append(f"| from the start to ready | {started:.2f} s |")
    lines.append(f"| an adapter's file | {file / 1e6:.3f} MB |")
    lines.append(f"| memory with one loaded | {idle / 1e6:.0f} MB |")
    lines.append(f"| memory of each of {MANY // 10} more | {(loaded - idle) / (MANY // 10) / 1e6:.3f} MB |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=pathlib.Path)
    arguments = parser.parse_args()
    texts = texts_of(arguments.data)
    model = grafter("pull").split()[-1]
    lines = [f"{cpu()}, {arguments.threads} threads; {len(texts)} texts of `{arguments.data.parent.name}`.", ""]
    with tempfile.TemporaryDirectory() as scratch:
        bank, adapter = pathlib.Path(scratch) / "bank", pathlib.Path(scratch) / "adapter"
        train = ["train", "--train", arguments.data, "--dev", arguments.data, "--out", adapter, "--max-steps", 20, "--no-report"]
        grafter(*train)
        grafter("bank", "init", bank)
        fill(bank, adapter, "task", TASKS)
        saturation = beside_python(arguments, texts, bank, adapter, model, lines)
        under_load(arguments, texts, bank, saturation, lines)
        many_tasks(arguments, texts, bank, lines)
        fill(bank, adapter, "many", MANY)
        thousand(arguments, texts[0], bank, lines)
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text)


def cpu():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.machine()


if __name__ == "__main__":
    main()
