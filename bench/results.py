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
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "results.jsonl"
PAGE = ROOT / "docs" / "results.md"
GRAFTER = ROOT / "target" / "release" / "grafter"

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


def metric_of(scores, metric):
    value = scores[metric]
    return value if value is not None else float("nan")


def run(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def shown(command):
    return " ".join(["grafter", *command[1:]])


def one_run(data, name, metric, flags, method, seed):
    folder = data / name
    with tempfile.TemporaryDirectory() as scratch:
        out = pathlib.Path(scratch) / "adapter"
        train = [str(GRAFTER), "train", "--train", str(folder / "train.tsv"), "--dev", str(folder / "dev.tsv")]
        train += ["--out", str(out), "--seed", str(seed), "--json", *flags, *METHODS[method]]
        result = run(train)
        record = {
            "set": name,
            "method": method,
            "seed": seed,
            "metric": metric,
            "dev": result["score"],
            "dev_baseline": result["baseline"],
            "result": {key: result[key] for key in result if key not in ("adapter", "dev_scores")},
        }
        test = folder / "test.tsv"
        if test.exists():
            scores = run([str(GRAFTER), "eval", "--adapter", str(out), "--data", str(test), "--json"])["scores"]
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
    body = f"{table(rows)}\n\nThe commands of seed 1; the other seeds differ in `--seed` alone:\n\n```sh\n{commands}\n```\n"
    PAGE.write_text(f"{before}<!-- table -->\n{body}<!-- end of table -->{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    done = {(row["set"], row["method"], row["seed"]) for row in records()}
    if not arguments.table_only:
        for seed in (1, 2, 3):
            for name, metric, flags, seeds in SETS:
                for method in METHODS:
                    if seed not in seeds or (name, method, seed) in done:
                        continue
                    record = one_run(arguments.data, name, metric, flags, method, seed)
                    with RECORDS.open("a") as file:
                        file.write(json.dumps(record) + "\n")
                    print(name, method, seed, metric, f"{record['dev']:.4f}", flush=True)
    write_page(records())


if __name__ == "__main__":
    main()
