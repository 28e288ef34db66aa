"""Writes the fixture of entity scores: random and degenerate tags with their scores from `seqeval`.

    python -m venv VENV && VENV/bin/pip install -r reference/requirements-entities.txt
    VENV/bin/python reference/entities.py > crates/grafter/tests/fixtures/entities.json

Tags are given by their places among `O`, and of each type `B-` and `I-`. Predictions are any tags, also such as form no entities
strictly: `seqeval` reads both as `conlleval` does unless it is told otherwise.
"""

import json
import sys
import warnings
from importlib.metadata import version

import numpy as np
from seqeval import metrics

SEED = 20190613


def case(name, kinds, targets, predictions):
    tags = ["O"] + [f"{mark}-{kind}" for kind in kinds for mark in "BI"]
    named = lambda rows: [[tags[tag] for tag in row] for row in rows]
    true, predicted = named(targets), named(predictions)
    score = lambda of, **how: float(of(true, predicted, zero_division=0, **how))
    report = metrics.classification_report(true, predicted, output_dict=True, zero_division=0)
    # Of a type that occurs nowhere `seqeval` says nothing.
    none = {"precision": 0.0, "recall": 0.0, "f1-score": 0.0, "support": 0}
    return {
        "name": name,
        "tags": len(tags),
        "targets": targets,
        "predictions": predictions,
        "micro_f1": score(metrics.f1_score),
        "precision": score(metrics.precision_score),
        "recall": score(metrics.recall_score),
        "macro_f1": score(metrics.f1_score, average="macro"),
        "accuracy": float(metrics.accuracy_score(true, predicted)),
        "per_type": [
            {key: float(report.get(kind, none)[name]) for key, name in
             (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score"), ("support", "support"))}
            for kind in kinds
        ],
    }  # fmt: skip


def random_rows(rng, rows, tags, outside):
    """Tags of rows of 1 to 12 words, of which `outside` are in no entity."""
    others = (1.0 - outside) / (tags - 1)
    return [
        rng.choice(tags, size=int(rng.integers(1, 13)), p=[outside] + [others] * (tags - 1)).tolist() for _ in range(rows)
    ]


def noisy(rng, rows, tags, share):
    """The same rows with some tags replaced by any."""
    return [[int(rng.integers(tags)) if rng.random() < share else tag for tag in row] for row in rows]


def cases(rng):
    for kinds, rows, outside, share in (("a", 40, 0.6, 0.2), ("ab", 60, 0.5, 0.3), ("abcd", 120, 0.7, 0.1), ("abc", 30, 0.1, 0.5)):
        tags = 1 + 2 * len(kinds)
        targets = random_rows(rng, rows, tags, outside)
        yield case(f"{len(kinds)} types, {rows} rows", list(kinds), targets, noisy(rng, targets, tags, share))
    yield case("a type that is only predicted", ["a", "b"], [[1, 2, 0]], [[1, 2, 3]])
    yield case("a type that is nowhere", ["a", "b"], [[1, 2, 0], [0]], [[1, 0, 0], [1]])
    yield case("nothing is predicted", ["a"], [[1, 2], [0, 1]], [[0, 0], [0, 0]])
    yield case("nothing is there", ["a"], [[0, 0], [0]], [[1, 2], [0]])
    yield case("all is right", ["a", "b"], [[1, 2, 2, 0, 3, 3, 4], [0]], [[1, 2, 2, 0, 3, 3, 4], [0]])
    yield case("begun by `I-`", ["a", "b"], [[1, 2, 0, 3, 4]], [[2, 2, 0, 4, 4]])
    yield case("one is cut in two", ["a"], [[1, 2, 2]], [[1, 1, 2]])


def main():
    warnings.simplefilter("ignore")
    fixture = {
        "written_by": "reference/entities.py",
        "seed": SEED,
        "versions": {name: version(name) for name in ("numpy", "seqeval")},
        "cases": list(cases(np.random.default_rng(SEED))),
    }
    json.dump(fixture, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
