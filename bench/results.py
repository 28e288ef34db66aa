#!/usr/bin/env python3
"""Runs grafter with its defaults on real data sets, three seeds each, then with each base, and writes docs/results.md.

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
    ("stsb", "pearson", ["--kind", "regression"], [1, 2, 3]),
    ("cf_disasters", "accuracy", [], [1, 2, 3]),
    ("sst2", "accuracy", [], [1]),
]
METHODS = {"houlsby": [], "head": ["--method", "head"]}

# The sets on which adapters are trained and scored on each base, and each both ways.
BASES = ["f32", "int8"]
BASE_SETS = ["mrpc", "rte", "stsb", "trec6"]


# One single-threaded run beside another uses two cores better than two threads of one run, and gives the same bytes.
THREADS = ["--threads", "1"]


def metric_of(scores, metric):
    value = scores[metric]
    return value if value is not None else float("nan")


def run(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def shown(command):
    return " ".join(["grafter", *command[1:]])


def train_command(grafter, folder, out, seed, flags):
    command = [str(grafter), "train", "--train", str(folder / "train.tsv"), "--dev", str(folder / "dev.tsv")]
    return command + ["--out", str(out), "--seed", str(seed), "--json", *flags]


def score(grafter, out, rows, metric, flags):
    command = [str(grafter), "eval", "--adapter", str(out), "--data", str(rows), "--json", *flags, *THREADS]
    return metric_of(run(command)["scores"], metric)


def one_run(grafter, program, data, name, metric, flags, method, seed):
    folder = data / name
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "adapter"
        train = train_command(grafter, folder, out, seed, flags + METHODS[method])
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
            record["test"] = score(grafter, out, test, metric, [])
        record["command"] = shown(train).replace(str(data), "DATA").replace(str(out), "OUT")
        return record


def one_run_on_both_bases(grafter, program, data, name, metric, flags, trained_on, seed):
    """Adapters trained on one base, scored on each."""
    folder = data / name
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "adapter"
        train = train_command(grafter, folder, out, seed, [*flags, "--base", trained_on])
        run(train + THREADS)
        parts = [part for part in ("dev", "test") if (folder / f"{part}.tsv").exists()]
        return {
            "set": name,
            "trained_on": trained_on,
            "seed": seed,
            "metric": metric,
            "scored_on": {
                base: {part: score(grafter, out, folder / f"{part}.tsv", metric, ["--base", base]) for part in parts}
                for base in BASES
            },
            "program": program,
            "command": shown(train).replace(str(data), "DATA").replace(str(out), "OUT"),
        }


def records():
    """The runs with the defaults, and the runs on both bases."""
    rows = [json.loads(line) for line in RECORDS.read_text().splitlines()] if RECORDS.exists() else []
    return [row for row in rows if "method" in row], [row for row in rows if "trained_on" in row]


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


def table_of_bases(rows):
    """Beside each mean, how far it is from adapters trained and scored in f32."""
    lines = ["| set, metric | seeds | part | trained on | scored on f32 | scored on int8 |", "|---|---|---|---|---|---|"]
    metrics = {name: metric for name, metric, _, _ in SETS}
    for name in BASE_SETS:
        of = {base: [row for row in rows if (row["set"], row["trained_on"]) == (name, base)] for base in BASES}
        seeds = sorted(set.intersection(*({row["seed"] for row in of[base]} for base in BASES)))
        if not seeds:
            continue
        for part in of["f32"][0]["scored_on"]["f32"]:
            scores = {
                (trained, scored): [row["scored_on"][scored][part] for row in of[trained] if row["seed"] in seeds]
                for trained in BASES
                for scored in BASES
            }
            reference = 100 * statistics.mean(scores["f32", "f32"])
            for trained in BASES:
                cells = [cell(scores[trained, "f32"]), cell(scores[trained, "int8"])]
                for index, scored in enumerate(BASES):
                    if (trained, scored) != ("f32", "f32"):
                        cells[index] += f" ({100 * statistics.mean(scores[trained, scored]) - reference:+.1f})"
                lines.append(
                    f"| {name}, {metrics[name]} | {', '.join(map(str, seeds))} | {part} | {trained} | {cells[0]} | {cells[1]} |"
                )
    return "\n".join(lines)


def between(text, name, body):
    """`text` with `body` between the marks of the part `name`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, rest = text.split(begin, 1)
    _, after = rest.split(end, 1)
    return f"{before}{begin}{body}\n{end}{after}"


def write_page(rows, rows_of_bases):
    commands = "\n".join(row["command"] for row in rows if row["seed"] == 1)
    builds = len({row["program"] for row in rows})
    note = "All runs are of one build." if builds == 1 else f"The runs are of {builds} builds, see `program` in the records."
    body = f"{table(rows)}\n\n{note} The commands of seed 1; the other seeds differ in `--seed` alone (each run had one thread):\n\n```sh\n{commands}\n```"
    text = between(PAGE.read_text(), "table", body)
    PAGE.write_text(between(text, "table of bases", table_of_bases(rows_of_bases)))


def run_missing(arguments):
    """Several runs at a time; each is recorded when it ends."""
    program = hashlib.sha256(arguments.grafter.read_bytes()).hexdigest()
    with_defaults, on_bases = (
        [(row["set"], row[key], row["seed"]) for row in rows]
        for rows, key in zip(records(), ("method", "trained_on"), strict=True)
    )
    runs = [
        (one_run, (name, metric, flags, method, seed))
        for seed in (1, 2, 3)
        for name, metric, flags, seeds in SETS
        for method in METHODS
        if seed in seeds and (name, method, seed) not in with_defaults
    ]
    runs += [
        (one_run_on_both_bases, (name, metric, flags, base, seed))
        for seed in (1, 2, 3)
        for name, metric, flags, _ in SETS
        for base in BASES
        if name in BASE_SETS and (name, base, seed) not in on_bases
    ]
    recording = threading.Lock()

    def task(run_):
        function, details = run_
        record = function(arguments.grafter, program, arguments.data, *details)
        with recording, RECORDS.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(record["command"], record.get("scored_on", record.get("dev")), flush=True)

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for _ in pool.map(task, runs):
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
    write_page(*records())


if __name__ == "__main__":
    main()
