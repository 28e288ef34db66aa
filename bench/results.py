#!/usr/bin/env python3
"""Runs grafter with its defaults on real data sets, three seeds each, and writes docs/results.md.

    cargo build --release
    python3 bench/results.py --data DIR                 # runs what is missing, then writes the page
    python3 bench/results.py --data DIR --table-only    # writes the page from the runs that are recorded

Each finished run is a line of docs/results.jsonl with its exact command; a run that is recorded is never repeated, so
the script can be stopped and started again. DIR holds one folder a set with train.tsv, dev.tsv and, where the labels
are known, test.tsv. Only the standard library is needed.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "results.jsonl"
PAGE = ROOT / "docs" / "results.md"

# Set, metric, flags that the set needs, seeds.
SETS = [
    ("trec6", "accuracy", [], [1, 2, 3]),
    ("sms_spam", "f1", ["--metric", "f1"], [1, 2, 3]),
    ("cola", "matthews", ["--metric", "matthews"], [1, 2, 3]),
    ("rte", "accuracy", [], [1, 2, 3]),
    ("mrpc", "accuracy", [], [1, 2, 3]),
    ("stsb", "pearson", ["--task", "regression"], [1, 2, 3]),
    ("cf_disasters", "accuracy", [], [1, 2, 3]),
    ("sst2", "accuracy", [], [1]),
]
METHODS = {"houlsby": [], "head": ["--method", "head"]}


# One single-threaded run beside another uses two cores better than two threads of one run, and gives the same bytes.
THREADS = ["--threads", "1"]


def metric_of(scores, metric):
    value = scores[metric]
    return value if value is not None else float("nan")


def run(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def shown(command):
    return " ".join(["grafter", *command[1:]])


def one_run(grafter, program, data, name, metric, flags, method, seed):
    folder = data / name
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "adapter"
        train = [str(grafter), "train", "--train", str(folder / "train.tsv"), "--dev", str(folder / "dev.tsv")]
        train += ["--out", str(out), "--seed", str(seed), "--json", *flags, *METHODS[method]]
        result = run(train + THREADS)
        record = {
            "set": name,
            "method": method,
            "seed": seed,
            "metric": metric,
            "dev": result["score"],
            "dev_baseline": result["baseline"],
            "dev_scores": result["dev_scores"],
            "best_step": result["best_step"],
            "steps": result["steps"],
            "trained_parameters": result["trained_parameters"],
            "share_of_base": result["share_of_base"],
            "bytes": result["bytes"],
            "program": program,
        }
        test = folder / "test.tsv"
        if test.exists():
            scores = run([str(grafter), "eval", "--adapter", str(out), "--data", str(test), "--json", *THREADS])["scores"]
            record["test"] = metric_of(scores, metric.replace("-", "_"))
        command = shown(train).replace(str(data), "DATA").replace(str(out), "OUT")
        record["command"] = command
        return record


def records():
    if not RECORDS.exists():
        return []
    return [json.loads(line) for line in RECORDS.read_text().splitlines()]


def cell(values):
    values = [100 * value for value in values if value is not None]
    if not values:
        return "–"
    if len(values) == 1:
        return f"{values[0]:.1f}"
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"


def table(rows):
    lines = [
        "| set | metric | seeds | baseline, dev | head only, dev | adapters, dev | head only, test | adapters, test |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, metric, _, _ in SETS:
        of = {method: [row for row in rows if (row["set"], row["method"]) == (name, method)] for method in METHODS}
        if not of["houlsby"]:
            continue
        dev = {method: cell([row["dev"] for row in of[method]]) for method in METHODS}
        test = {method: cell([row.get("test") for row in of[method]]) for method in METHODS}
        seeds = ", ".join(str(row["seed"]) for row in of["houlsby"])
        baseline = cell([of["houlsby"][0]["dev_baseline"]])
        lines.append(
            f"| {name} | {metric} | {seeds} | {baseline} | {dev['head']} | {dev['houlsby']} | {test['head']} | {test['houlsby']} |"
        )
    return "\n".join(lines)


def write_page(rows):
    text = PAGE.read_text()
    before, rest = text.split("<!-- table -->\n", 1)
    _, after = rest.split("<!-- end of table -->", 1)
    commands = "\n".join(row["command"] for row in rows if row["seed"] == 1)
    builds = len({row["program"] for row in rows})
    note = "All runs are of one build." if builds == 1 else f"The runs are of {builds} builds, see `program` in the records."
    body = f"{table(rows)}\n\n{note} The commands of seed 1; the other seeds differ in `--seed` alone (each run had one thread):\n\n```sh\n{commands}\n```\n"
    PAGE.write_text(f"{before}<!-- table -->\n{body}<!-- end of table -->{after}")


def run_missing(arguments):
    """Several runs at a time; each is recorded when it ends."""
    program = hashlib.sha256(arguments.grafter.read_bytes()).hexdigest()
    earlier = records()
    done = {(row["set"], row["method"], row["seed"]) for row in earlier}
    wanted = [
        (name, metric, flags, method, seed)
        for seed in (1, 2, 3)
        for name, metric, flags, seeds in SETS
        for method in METHODS
        if seed in seeds and (name, method, seed) not in done
    ]
    recording = threading.Lock()

    def task(run_):
        record = one_run(arguments.grafter, program, arguments.data, *run_)
        with recording, RECORDS.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(record["set"], record["method"], record["seed"], record["metric"], f"{record['dev']:.4f}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for _ in pool.map(task, wanted):
            pass


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("--grafter", type=pathlib.Path, default=ROOT / "target" / "release" / "grafter")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at the same time")
    arguments = parser.parse_args()
    if not arguments.table_only:
        run_missing(arguments)
    write_page(records())


if __name__ == "__main__":
    main()
