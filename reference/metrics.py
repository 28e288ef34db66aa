"""Writes the metrics fixture: random and degenerate predictions with their scores from scikit-learn and SciPy.

    python -m venv VENV && VENV/bin/pip install -r reference/requirements-metrics.txt
    VENV/bin/python reference/metrics.py > crates/grafter/tests/fixtures/metrics.json
"""

import json
import math
import sys
import warnings

import numpy as np
import scipy
import scipy.special
import scipy.stats
import sklearn
from sklearn import metrics
from sklearn.calibration import calibration_curve

SEED = 20190613


def classification(name, targets, predictions, classes):
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    labels = list(range(classes))
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        targets, predictions, labels=labels, zero_division=0
    )
    return {
        "name": name,
        "classes": classes,
        "targets": targets.tolist(),
        "predictions": predictions.tolist(),
        "accuracy": metrics.accuracy_score(targets, predictions),
        # One class against the rest, so that it is defined for any number of classes.
        "f1_binary": [
            metrics.f1_score(targets == k, predictions == k, pos_label=True, zero_division=0) for k in labels
        ],
        "f1_macro": metrics.f1_score(targets, predictions, average="macro", zero_division=0),
        "matthews": metrics.matthews_corrcoef(targets, predictions),
        "confusion": metrics.confusion_matrix(targets, predictions, labels=labels).tolist(),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": [int(rows) for rows in support],
    }


def regression(name, targets, predictions):
    # Eight digits are enough and keep the file small.
    rounded = lambda values: np.array([float(f"{value:.8g}") for value in values])
    targets, predictions = rounded(targets), rounded(predictions)
    defined = lambda value: None if math.isnan(value) else float(value)
    return {
        "name": name,
        "targets": targets.tolist(),
        "predictions": predictions.tolist(),
        "pearson": defined(scipy.stats.pearsonr(targets, predictions).statistic),
        "spearman": defined(scipy.stats.spearmanr(targets, predictions).statistic),
        "mean_squared_error": metrics.mean_squared_error(targets, predictions),
    }


def multi_label(name, targets, predictions, labels):
    targets, predictions = np.asarray(targets), np.asarray(predictions)
    of = lambda rows: [np.flatnonzero(row).tolist() for row in rows]
    precision, recall, f1, support = metrics.precision_recall_fscore_support(targets, predictions, zero_division=0)
    return {
        "name": name,
        "labels": labels,
        "targets": of(targets),
        "predictions": of(predictions),
        "micro_f1": metrics.f1_score(targets, predictions, average="micro", zero_division=0),
        "macro_f1": metrics.f1_score(targets, predictions, average="macro", zero_division=0),
        "accuracy": metrics.accuracy_score(targets, predictions),
        "hamming_loss": metrics.hamming_loss(targets, predictions),
        "precision": precision.tolist(),
        "recall": recall.tolist(),
        "f1": f1.tolist(),
        "support": [int(rows) for rows in support],
    }


def multi_label_cases(rng):
    for labels, rows, share in ((2, 7, 0.5), (5, 60, 0.3), (12, 150, 0.1)):
        targets = (rng.random((rows, labels)) < share).astype(int)
        other = (rng.random((rows, labels)) < share).astype(int)
        predictions = np.where(rng.random((rows, labels)) < 0.7, targets, other)
        yield multi_label(f"random {labels} labels {rows} rows", targets, predictions, labels)
    yield multi_label("no label anywhere", np.zeros((3, 2), int), np.zeros((3, 2), int), 2)
    yield multi_label("none answered", [[1, 0], [1, 1]], np.zeros((2, 2), int), 2)
    yield multi_label("all answered", [[1, 0, 0], [0, 0, 0]], np.ones((2, 3), int), 3)


def classification_cases(rng):
    for classes, sizes in ((2, (7, 60, 250)), (3, (7, 60, 250)), (6, (7, 60, 250)), (77, (250,))):
        for rows in sizes:
            targets = rng.integers(0, classes, rows)
            wrong = rng.integers(0, classes, rows)
            predictions = np.where(rng.random(rows) < 0.6, targets, wrong)
            yield classification(f"random {classes} classes {rows} rows", targets, predictions, classes)
    skewed = (rng.random(300) < 0.04).astype(int)
    yield classification("skewed", skewed, (rng.random(300) < 0.05).astype(int), 2)
    yield classification("perfect", [0, 1, 2, 1], [0, 1, 2, 1], 3)
    yield classification("all wrong", [0, 1, 0, 1], [1, 0, 1, 0], 2)
    yield classification("one answer", [0, 1, 1, 0, 1], [0, 0, 0, 0, 0], 2)
    yield classification("one target", [1, 1, 1], [0, 1, 1], 2)
    yield classification("one class", [0, 0, 0], [0, 0, 0], 2)
    yield classification("one row right", [1], [1], 2)
    yield classification("one row wrong", [1], [0], 2)
    yield classification("classes that do not occur", [0, 4, 4, 0], [0, 4, 0, 2], 6)


def regression_cases(rng):
    for rows in (2, 3, 10, 200):
        targets = rng.normal(size=rows)
        yield regression(f"random {rows} rows", targets, 0.5 * targets + rng.normal(size=rows))
    targets = np.round(rng.uniform(0, 5, 150) * 4) / 4
    yield regression("ties", targets, np.round(targets + rng.normal(size=150)))
    yield regression("independent", rng.normal(size=80), rng.exponential(size=80))
    yield regression("negative", np.arange(20), -np.arange(20) ** 3)
    yield regression("large and small", 1e12 * rng.normal(size=20), 1e-12 * rng.normal(size=20))
    yield regression("two rows", [1, 2], [5, 3])
    yield regression("perfect", [1, 2, 3.5], [1, 2, 3.5])
    yield regression("constant predictions", [1, 2, 3], [0.1, 0.1, 0.1])
    yield regression("constant targets", [2, 2, 2], [1, 2, 3])
    yield regression("constant both", [2, 2], [3, 3])


# Bins of the certainty, as Guo et al. 2017 have them.
BINS = 15


def calibration(name, logits, classes, temperature):
    # As the other program reads them.
    logits = np.array(logits, dtype=np.float32)
    probabilities = scipy.special.softmax(logits.astype(np.float64) / temperature, axis=1)
    certainty, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == np.asarray(classes)
    # Of each bin that has a row, the share of right answers and the mean certainty; a bin is open below, closed above.
    share, mean = calibration_curve(right, certainty, n_bins=BINS)
    bins = np.digitize(certainty, np.linspace(0, 1, BINS + 1)[1:-1], right=True)
    rows = np.unique(bins, return_counts=True)[1]
    return {
        "name": name,
        # Nine digits give a float32 back.
        "logits": [[float(f"{value:.9g}") for value in row] for row in logits],
        "classes": np.asarray(classes).tolist(),
        "temperature": temperature,
        "error": float(np.average(np.abs(share - mean), weights=rows)),
    }


def calibration_cases(rng):
    for classes, rows, size, temperature in ((2, 40, 1.5, 1.0), (3, 150, 3.0, 1.0), (3, 150, 3.0, 2.5), (6, 80, 0.5, 0.7)):
        logits = size * rng.normal(size=(rows, classes))
        drawn = [rng.choice(classes, p=scipy.special.softmax(row)) for row in logits]
        yield calibration(f"random {classes} classes {rows} rows at {temperature}", logits, drawn, temperature)
    yield calibration("certain and right", [[40.0, 0.0], [0.0, 50.0]], [0, 1], 1.0)
    yield calibration("certain and half right", [[40.0, 0.0], [0.0, 50.0]], [0, 0], 1.0)
    yield calibration("undecided", [[1.0, 1.0]] * 4, [0, 1, 1, 0], 1.0)


def main():
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(SEED)
    fixture = {
        "written_by": "reference/metrics.py",
        "seed": SEED,
        "versions": {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "scipy": scipy.__version__},
        "classification": list(classification_cases(rng)),
        "regression": list(regression_cases(rng)),
        "multi_label": list(multi_label_cases(rng)),
        "calibration": list(calibration_cases(rng)),
    }
    json.dump(fixture, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
