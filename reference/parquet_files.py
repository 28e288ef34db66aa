"""Writes the Parquet fixtures: one table as pyarrow and polars write it, with the encodings and codecs that are in use.

    python -m venv VENV && VENV/bin/pip install -r reference/requirements-parquet.txt
    VENV/bin/python reference/parquet_files.py crates/grafter/tests/fixtures/parquet

`crates/grafter/tests/parquet.rs` knows the rows by the same rules as `table` does here. The files `glue-*` have the columns and the
metadata of the hub's GLUE and rows of their own; the tests of the command line train on them.
"""

import json
import sys
from pathlib import Path

import polars
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 60
NAMES = ["no", "yes", "maybe"]


def table():
    rows = range(ROWS)
    columns = {
        "idx": pa.array(rows, pa.int32()),
        "tokens": pa.array([["a", "b"][: i % 3] for i in rows], pa.list_(pa.string())),
        "sentence": pa.array([None if i % 16 == 3 else f"row {i} says ü {'ab' * (i % 5)}" for i in rows], pa.string()),
        "place": pa.array([{"x": i, "y": str(i)} for i in rows], pa.struct([("x", pa.int64()), ("y", pa.string())])),
        "other": pa.array([f"other {i % 4}" for i in rows], pa.string()),
        "label": pa.array([-1 if i == 40 else i % 3 for i in rows], pa.int64()),
        "name": pa.array([f" {NAMES[i * i % 3]}" for i in rows], pa.string()),
        "score": pa.array([i / 5 for i in rows], pa.float32()),
        "wide": pa.array([None if i % 7 == 5 else i / 3 for i in rows], pa.float64()),
        "small": pa.array([i * 1000003 % 17 - 8 for i in rows], pa.int32()),
        "truth": pa.array([i % 11 < 6 for i in rows], pa.bool_()),
    }
    features = {"label": {"names": NAMES, "_type": "ClassLabel"}, "sentence": {"dtype": "string", "_type": "Value"}}
    return pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def glue():
    """Each with what is special about it: the order of the class names, a text that is empty, labels that are numbers."""
    good, bad = ["a good film", "the actor was good", "good story"], ["a bad film", "the actor was bad", "bad story"]
    classes = lambda *names: {"label": {"names": list(names), "_type": "ClassLabel"}}
    idx = lambda rows: pa.array(range(rows), pa.int32())
    labels = lambda *values: pa.array(values, pa.int64())
    cola = {"sentence": good + bad, "label": labels(1, 1, 1, 0, 0, 0), "idx": idx(6)}
    qqp = {
        "question1": good + bad,
        "question2": ["a good story", "", "the good story", "a good film", "good", "good actor"],
        "label": labels(1, 0, 1, 0, 0, 0),
        "idx": idx(6),
    }
    stsb = {"sentence1": good, "sentence2": bad, "label": pa.array([0.0, 5.0, 3.8], pa.float32()), "idx": idx(3)}
    features = {"cola": classes("unacceptable", "acceptable"), "qqp": classes("not_duplicate", "duplicate")}
    features["stsb"] = {"label": {"dtype": "float32", "_type": "Value"}}
    for name, columns in {"cola": cola, "qqp": qqp, "stsb": stsb}.items():
        told = json.dumps({"info": {"features": features[name]}})
        yield name, pa.table(columns).replace_schema_metadata({"huggingface": told})


def lists():
    """Rows of words with tags, and texts with any number of labels, as `datasets` describes them: in files of the hub a class is a number."""
    tags = ["O", "B-person", "I-person", "B-place", "I-place"]
    words = [["Ada", "Lovelace", "wrote"], ["in", "London"], None, ["nobody"], ["New York", "and", "Rome"], []]
    numbers = [[1, 2, 0], [0, 3], [0], [0], [3, 0, 3], []]
    features = {"ner_tags": {"feature": {"names": tags, "_type": "ClassLabel"}, "_type": "Sequence"}}
    columns = {"tokens": pa.array(words, pa.list_(pa.string())), "ner_tags": pa.array(numbers, pa.list_(pa.int64()))}
    told = json.dumps({"info": {"features": features}})
    yield "words", pa.table(columns).replace_schema_metadata({"huggingface": told})
    topics = pa.array([["film", "good"], [], None, ["good"]], pa.list_(pa.string()))
    yield "topics", pa.table({"text": ["good film", "bad", "worse", "good"], "label": topics})


def objects():
    """Questions and choices as the hub has them: answers are an object of lists, choices a list, or one of names and texts."""
    answers = pa.struct([("text", pa.list_(pa.string())), ("answer_start", pa.list_(pa.int32()))])
    said = [
        {"text": ["London"], "answer_start": [16]},
        {"text": [], "answer_start": []},
        {"text": ["Zoë", "Zoë"], "answer_start": [0, 0]},
        None,
        {"text": ["Rome"], "answer_start": [3]},
    ]
    context = ["Ada was born in London.", "Ada was born in London.", "Zoë met Ada.", "Nobody asks.", "Rome"]
    asked = ["Where was Ada born?", "When was Ada born?", "Who met Ada?", "Who asks?", "Which city?"]
    columns = {"id": [str(i) for i in range(5)], "context": context, "question": asked, "answers": pa.array(said, answers)}
    yield "questions", pa.table(columns)
    choices = [["a coat", "a hat"], ["red", "blue", "green"], None]
    columns = {"text": ["It is cold.", "The sky is", "Nothing"], "choices": pa.array(choices, pa.list_(pa.string())), "label": [0, 1, 0]}
    yield "choices", pa.table(columns)
    named = pa.struct([("label", pa.list_(pa.string())), ("text", pa.list_(pa.string()))])
    choices = [{"label": ["A", "B"], "text": ["a coat", "a hat"]}, {"label": ["A", "B", "C"], "text": ["red", "blue", "green"]}]
    columns = {"question": ["What is worn?", "The sky is"], "choices": pa.array(choices, named), "answer": ["A", "B"]}
    yield "named_choices", pa.table(columns)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    whole = table()
    write = lambda name, **options: pq.write_table(whole, folder / f"{name}.parquet", **options)
    # As `datasets` writes, so as the hub has them.
    write("snappy")
    write("plain_pages", compression="none", use_dictionary=False, row_group_size=16, data_page_size=64, write_batch_size=4)
    write("lz4_v2", compression="lz4", data_page_version="2.0", row_group_size=25)
    differences = {"sentence": "DELTA_BYTE_ARRAY", "other": "DELTA_LENGTH_BYTE_ARRAY", "label": "DELTA_BINARY_PACKED"}
    differences |= {"small": "DELTA_BINARY_PACKED", "truth": "RLE", "name": "DELTA_BYTE_ARRAY"}
    write("gzip_delta", compression="gzip", use_dictionary=False, column_encoding=differences, data_page_version="2.0")
    write("split", use_dictionary=False, column_encoding={"score": "BYTE_STREAM_SPLIT"})
    # Refused.
    write("zstd", compression="zstd", write_statistics=False)
    for name, rows in glue():
        pq.write_table(rows, folder / f"glue-{name}.parquet")
    for name, rows in lists():
        pq.write_table(rows, folder / f"{name}.parquet")
    for name, rows in objects():
        pq.write_table(rows, folder / f"{name}.parquet", row_group_size=2)
    name, rows = next(objects())
    polars.from_arrow(rows).write_parquet(folder / "questions_polars.parquet", compression="snappy")
    # With the names within a list that pyarrow gave them at first.
    name, rows = next(lists())
    pq.write_table(rows, folder / "words_old.parquet", use_compliant_nested_type=False, row_group_size=2, data_page_size=16)
    polars.from_arrow(rows).write_parquet(folder / "words_polars.parquet", compression="snappy")
    # Code of its own; its default would be zstd.
    polars.from_arrow(whole).write_parquet(folder / "polars.parquet", compression="snappy", row_group_size=32)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
