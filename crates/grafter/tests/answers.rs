//! Answers as Parquet, read back by the `parquet` crate: every kind of task holds what the JSON lines hold, in columns of their
//! types, however many groups of rows there are.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use grafter::adapter::{Adapter, Method};
use grafter::answers::AnswerTable;
use grafter::data::{Dataset, Source, TaskKind};
use grafter::graft::{GraftOptions, graft};
use grafter::model::Model;
use grafter::predict::{Entity, Prediction};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::{Value, json};

fn adapter(kind: TaskKind) -> Adapter {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let model = Model::read(&fixtures.join("tiny-bert"), "tiny-bert").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let rows = match kind {
        TaskKind::Classification | TaskKind::MultiLabel => "text\tlabel\ngood\ta.b\nbad\tno\n",
        TaskKind::Regression => "text\tlabel\ngood\t4.5\nbad\t1.25\n",
        TaskKind::Entities => "good B-x\nbad I-x\n\nbad O\n",
        TaskKind::Tags => "good yes\nbad no\n\nbad no\n",
        TaskKind::MultipleChoice => "text\tchoice1\tchoice2\tlabel\ngood\ta\tb\t0\nbad\ta\tb\t1\n",
        TaskKind::QuestionAnswering => {
            "{\"question\":\"good\",\"context\":\"a bad day\",\"answers\":[{\"text\":\"day\",\"answer_start\":6}]}\n"
        }
    };
    let name = match kind {
        TaskKind::Entities | TaskKind::Tags => "rows.conll",
        TaskKind::QuestionAnswering => "rows.jsonl",
        _ => "rows.tsv",
    };
    let path = folder.path().join(name);
    std::fs::write(&path, rows).unwrap();
    let rows = Dataset::read_train(&Source::new(path), kind).unwrap();
    let mut options = GraftOptions { method: Method::Head, max_length: 16, ..GraftOptions::default() };
    options.train.max_steps = Some(1);
    graft(&model, &rows, &rows, &options, &mut ()).unwrap().adapter
}

fn written(tasks: &[(&str, &Adapter)], rows: &[Vec<Result<&Prediction, String>>]) -> Vec<u8> {
    let tasks: Vec<_> = tasks.iter().map(|(name, adapter)| (*name, adapter.manifest())).collect();
    let mut table = AnswerTable::new(Vec::new(), &tasks).unwrap();
    rows.iter().for_each(|row| table.push(row).unwrap());
    table.finish().unwrap()
}

fn json_of(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Str(text) => json!(text),
        Field::Double(number) => json!(number),
        Field::Float(number) => json!(number),
        Field::Long(number) => json!(number),
        Field::Bool(truth) => json!(truth),
        Field::ListInternal(list) => list.elements().iter().map(json_of).collect(),
        Field::Group(row) => object(row),
        other => panic!("{other:?}"),
    }
}

fn object(row: &Row) -> Value {
    row.get_column_iter()
        .map(|(name, field)| (name.clone(), json_of(field)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn read(bytes: &[u8]) -> (Vec<Value>, usize, String) {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes.to_vec())).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(|row| object(&row.unwrap())).collect();
    let mut schema = Vec::new();
    parquet::schema::printer::print_schema(&mut schema, reader.metadata().file_metadata().schema());
    (rows, reader.num_row_groups(), String::from_utf8(schema).unwrap())
}

#[test]
fn choices_and_answers_have_columns_of_their_own() {
    let (choice, question) = (adapter(TaskKind::MultipleChoice), adapter(TaskKind::QuestionAnswering));
    let chosen =
        Prediction::Choice { choice: 1, text: "b".to_owned(), score: 0.75, probabilities: vec![0.25, 0.75] };
    let found = Prediction::Answer { answer: "day".to_owned(), start: Some(6), end: Some(9), score: 0.5 };
    let none = Prediction::Answer { answer: String::new(), start: None, end: None, score: 0.9 };
    let rows = [vec![Ok(&chosen), Ok(&found)], vec![Err("no".to_owned()), Ok(&none)]];
    let (read, ..) = read(&written(&[("c", &choice), ("q", &question)], &rows));
    let expected = [
        json!({
            "c": {"choice": 1, "text": "b", "score": 0.75, "probabilities": [0.25, 0.75], "error": null},
            "q": {"answer": "day", "start": 6, "end": 9, "score": 0.5, "error": null},
        }),
        json!({
            "c": {"choice": null, "text": null, "score": null, "probabilities": null, "error": "no"},
            "q": {"answer": "", "start": null, "end": null, "score": 0.9, "error": null},
        }),
    ];
    assert_eq!(read, expected);
}

/// What JSON leaves out is a null here, and what was not cut says so.
fn filled(mut value: Value, names: &[&str]) -> Value {
    let object = value.as_object_mut().unwrap();
    for name in names {
        let absent =
            if *name == "truncated" && !object.contains_key("error") { json!(false) } else { Value::Null };
        object.entry(*name).or_insert(absent);
    }
    // `Map`s are compared whatever their order.
    value
}

fn assert_read(kind: TaskKind, names: &[&str], answers: &[Prediction]) -> String {
    let task = adapter(kind);
    let mut rows: Vec<Vec<Result<&Prediction, String>>> =
        answers.iter().map(|answer| vec![Ok(answer)]).collect();
    rows.insert(1, vec![Err("line 2: no".to_owned())]);
    let bytes = written(&[("", &task)], &rows);
    let (found, groups, schema) = read(&bytes);
    let expected = rows.iter().map(|row| match &row[0] {
        Ok(answer) => filled(serde_json::to_value(answer).unwrap(), names),
        Err(error) => filled(json!({"error": error}), names),
    });
    let mut expected: Vec<Value> = expected.collect();
    for entity in expected
        .iter_mut()
        .filter_map(|row| row.get_mut("entities"))
        .filter_map(Value::as_array_mut)
        .flatten()
    {
        *entity = filled(entity.take(), &["words"]);
    }
    assert_eq!((found, groups), (expected, 1));
    assert!(bytes == written(&[("", &task)], &rows), "the same answers are the same bytes");
    schema
}

fn class(probability: f64) -> Prediction {
    let label = if probability >= 0.5 { "a.b" } else { "no" }.to_owned();
    let probabilities = [("a.b".to_owned(), json!(probability)), ("no".to_owned(), json!(1.0 - probability))];
    Prediction::Class {
        label,
        score: probability.max(1.0 - probability),
        probabilities: probabilities.into_iter().collect(),
    }
}

#[test]
fn every_kind_of_answer_is_read_as_it_was_written() {
    let names = ["label", "score", "probabilities", "error"];
    let schema = assert_read(TaskKind::Classification, &names, &[class(0.1), class(1.0 / 3.0), class(0.75)]);
    let expected = "message answers {
  OPTIONAL BYTE_ARRAY label (STRING);
  OPTIONAL DOUBLE score;
  OPTIONAL group probabilities {
    OPTIONAL DOUBLE a.b;
    OPTIONAL DOUBLE no;
  }
  OPTIONAL BYTE_ARRAY error (STRING);
}
";
    assert_eq!(schema, expected);
    let labels = |labels: &[&str]| Prediction::Labels {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        probabilities: [("a.b".to_owned(), json!(0.25)), ("no".to_owned(), json!(0.5))].into_iter().collect(),
    };
    let several = [labels(&["a.b", "no"]), labels(&[]), labels(&["no"])];
    assert_read(TaskKind::MultiLabel, &["labels", "probabilities", "error"], &several);
    let scores = [0.1, -4.0, f32::MIN_POSITIVE].map(|score| Prediction::Score { score });
    let schema = assert_read(TaskKind::Regression, &["score", "error"], &scores);
    assert!(schema.contains("OPTIONAL FLOAT score;"), "{schema}");
    let entity = |kind: &str, words| Entity {
        kind: kind.to_owned(),
        text: "ä b".to_owned(),
        start: 3,
        end: 6,
        words,
        score: 0.5,
    };
    let entities = |entities, truncated| Prediction::Entities { entities, truncated };
    let found = [
        entities(vec![entity("x", Some([0, 2])), entity("y", None)], true),
        entities(Vec::new(), false),
        entities(vec![entity("x", None)], false),
    ];
    let schema = assert_read(TaskKind::Entities, &["entities", "truncated", "error"], &found);
    assert!(
        schema.contains(
            "OPTIONAL group entities (LIST) {\n    REPEATED group list {\n      OPTIONAL group element {"
        ),
        "{schema}"
    );
    let tags = |words: &[&str]| Prediction::Tags {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        tags: words.iter().map(|_| "yes".to_owned()).collect(),
        scores: words.iter().map(|_| 0.125).collect(),
        truncated: false,
    };
    let all = ["words", "tags", "scores", "truncated", "error"];
    assert_read(TaskKind::Tags, &all, &[tags(&["a", "b", "c"]), tags(&["d"])]);
}

#[test]
fn tasks_stand_beside_each_other_by_their_names() {
    let (one, two) = (adapter(TaskKind::Classification), adapter(TaskKind::Regression));
    let (answer, score) = (class(0.75), Prediction::Score { score: 2.5 });
    // A task may be called what a column is.
    let tasks = [("error", &one), ("b@0123", &two)];
    let no = || Err("no".to_owned());
    let bytes = written(&tasks, &[vec![Ok(&answer), Ok(&score)], vec![no(), Ok(&score)], vec![no(), no()]]);
    let answer = filled(serde_json::to_value(&answer).unwrap(), &["error"]);
    let nothing = json!({"label": null, "score": null, "probabilities": null, "error": "no"});
    let score = json!({"score": 2.5, "error": null});
    let expected = [
        json!({"error": answer, "b@0123": score}),
        json!({"error": nothing, "b@0123": score}),
        json!({"error": nothing, "b@0123": {"score": null, "error": "no"}}),
    ];
    assert_eq!(read(&bytes).0, expected);
}

#[test]
fn rows_are_written_in_groups() {
    let task = adapter(TaskKind::Classification);
    let answers: Vec<Prediction> = (0..70_000).map(|row| class(f64::from(row) / 70_000.0)).collect();
    let rows: Vec<_> = answers.iter().map(|answer| vec![Ok(answer)]).collect();
    let (found, groups, _) = read(&written(&[("", &task)], &rows));
    assert_eq!((found.len(), groups), (70_000, 2));
    for row in [0, 65_535, 65_536, 69_999] {
        assert_eq!(found[row]["probabilities"]["a.b"], json!(row as f64 / 70_000.0));
    }
    let long = vec![vec![Err("x".repeat(1 << 20))]; 40];
    let (found, groups, _) = read(&written(&[("", &task)], &long));
    assert_eq!((found.len(), groups), (40, 2));
    assert_eq!(read(&written(&[("", &task)], &[])).0.len(), 0);
}
