//! Questions and choices in Parquet files that pyarrow and polars wrote (`reference/parquet_files.py`): rows as those of JSON Lines with
//! the same values.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use grafter::data::{
    Columns, DataError, Format, LabelUse, ParquetRows, ReadOptions, Row, RowError, RowReader,
};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet").join(format!("{name}.parquet"))
}

fn options(labels: LabelUse, label: Option<&str>) -> ReadOptions {
    let columns = Columns { label: label.map(str::to_owned), ..Columns::default() };
    ReadOptions { columns, labels, ..ReadOptions::default() }
}

fn read(name: &str, options: &ReadOptions) -> Result<Vec<Result<Row, RowError>>, DataError> {
    Ok(ParquetRows::new(&File::open(fixture(name)).expect("a fixture"), "f", options)?.collect())
}

/// What rows are, and the errors of those that cannot be used.
fn told(rows: impl Iterator<Item = Result<Row, RowError>>) -> Vec<String> {
    rows.map(|row| row.map_or_else(|error| error.to_string(), |row| format!("{row:?}"))).collect()
}

const QUESTIONS: &str = r#"{"question": "Where was Ada born?", "context": "Ada was born in London.", "answers": [{"text": "London", "answer_start": 16}]}
{"question": "When was Ada born?", "context": "Ada was born in London.", "answers": []}
{"question": "Who met Ada?", "context": "Zoë met Ada.", "answers": [{"text": "Zoë", "answer_start": 0}]}
{"question": "Who asks?", "context": "Nobody asks."}
{"question": "Which city?", "context": "Rome", "answers": [{"text": "Rome", "answer_start": 3}]}
"#;

#[test]
fn answers_are_an_object_of_lists() {
    for needed in [true, false] {
        let options = options(LabelUse::Answers { needed }, None);
        let expected = told(RowReader::new(QUESTIONS.as_bytes(), "f", Format::Jsonl, &options).unwrap());
        assert_eq!(expected[4].starts_with("f:5: answer `Rome` does not stand at character 3"), needed);
        for name in ["questions", "questions_polars"] {
            assert_eq!(told(read(name, &options).unwrap().into_iter()), expected, "{name}, {needed}");
        }
    }
}

#[test]
fn choices_are_a_list_or_an_object_of_lists() {
    let options_of = |label| options(LabelUse::Choices { needed: true }, label);
    let lines = r#"{"text": "It is cold.", "choices": ["a coat", "a hat"], "label": 0}
{"text": "The sky is", "choices": ["red", "blue", "green"], "label": 1}
{"text": "Nothing", "choices": null, "label": 0}
"#;
    let expected = told(RowReader::new(lines.as_bytes(), "f", Format::Jsonl, &options_of(None)).unwrap());
    assert_eq!(expected[2], "f:3: `choices` must be a list of strings, found null");
    assert_eq!(told(read("choices", &options_of(None)).unwrap().into_iter()), expected);

    let named = read("named_choices", &options_of(Some("answer"))).unwrap();
    let named: Vec<Row> = named.into_iter().map(Result::unwrap).collect();
    assert_eq!(named[1].choices, ["red", "blue", "green"]);
    assert_eq!((named[1].text.as_str(), named[1].label.as_deref()), ("The sky is", Some("1")));
    let error = read("named_choices", &options_of(None)).unwrap_err().to_string();
    assert_eq!(error, "f: no label column `label`, found `question`, `choices`, `answer`");
    let error = read("questions", &options_of(Some("id"))).unwrap_err().to_string();
    assert!(error.starts_with("f: cannot tell the columns of choices"), "{error}");
    let error = read("choices", &options(LabelUse::Answers { needed: true }, None)).unwrap_err().to_string();
    assert!(error.contains("no column `question`"), "{error}");
}

#[test]
fn no_damaged_byte_is_a_panic() {
    let mut file = tempfile::tempfile().unwrap();
    for (name, labels) in [
        ("questions", LabelUse::Answers { needed: true }),
        ("named_choices", LabelUse::Choices { needed: false }),
    ] {
        let good = std::fs::read(fixture(name)).unwrap();
        for place in 0..good.len() {
            for value in [0, 0xff, good[place] ^ 1] {
                let mut bytes = good.clone();
                bytes[place] = value;
                file.rewind().unwrap();
                file.set_len(0).unwrap();
                file.write_all(&bytes).unwrap();
                // Whatever it gives.
                if let Ok(rows) = ParquetRows::new(&file, "f", &options(labels, None)) {
                    let _ = rows.take(100).count();
                }
            }
        }
    }
}
