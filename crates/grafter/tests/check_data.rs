//! The report of `check-data` on small files with known faults.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use grafter::data::{
    CheckFiles, CheckOptions, CheckReport, DataError, Dataset, LabelCount, LengthStats, RepeatedText, Row,
    Source, Split, TaskKind, check_data,
};
use tempfile::TempDir;

const OPTIONS: CheckOptions = CheckOptions { kind: TaskKind::Classification, max_length: 3, max_listed: 100 };

fn words(row: &Row) -> usize {
    row.text.split_whitespace().count()
        + row.text_b.as_deref().map_or(0, |text| text.split_whitespace().count())
}

/// Checks up to three TSV files.
fn check(contents: &[&str], options: &CheckOptions) -> Result<CheckReport, DataError> {
    let folder = TempDir::new().unwrap();
    let mut sources = ["train.tsv", "dev.tsv", "test.tsv"].iter().zip(contents).map(|(name, content)| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Source::new(path)
    });
    let files = CheckFiles { train: sources.next().unwrap(), dev: sources.next(), test: sources.next() };
    check_data(&files, options, &words)
}

fn counts(labels: &[LabelCount]) -> Vec<(&str, u64)> {
    labels.iter().map(|count| (count.label.as_str(), count.rows)).collect()
}

#[test]
fn good_files_are_usable() {
    let train = "text\tlabel\na b c d\tyes\nb\tno\nc c\tyes\n";
    let report = check(&[train, "text\tlabel\nd\tno\n", "text\ne\n"], &OPTIONS).unwrap();
    assert!(report.is_usable(), "{report:?}");
    let train = &report.splits[0];
    assert_eq!((train.split, train.rows, train.pair), (Split::Train, 3, Some(false)));
    assert_eq!(counts(&train.labels), [("no", 1), ("yes", 2)]);
    assert_eq!(train.tokens, LengthStats { min: 1, mean: 7.0 / 3.0, median: 2, p95: 4, max: 4 });
    assert_eq!(train.chars, LengthStats { min: 1, mean: 11.0 / 3.0, median: 3, p95: 7, max: 7 });
    assert_eq!((train.truncated.rows, train.truncated.share), (1, 1.0 / 3.0));
    assert_eq!(counts(&report.splits[1].labels), [("no", 1), ("yes", 0)]);
    assert_eq!((report.splits[2].rows, report.splits[2].unlabelled), (1, 1));
    assert!(report.splits[2].labels.is_empty());
    let overlaps: Vec<_> = report.overlaps.iter().map(|overlap| (overlap.split, overlap.also_in)).collect();
    assert_eq!(
        overlaps,
        [(Split::Dev, Split::Train), (Split::Test, Split::Train), (Split::Test, Split::Dev)]
    );
}

#[test]
fn labels_of_every_kind_are_as_long_as_in_training() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("train.jsonl");
    for (kind, long) in [
        (TaskKind::Classification, "x".repeat(1_025)),
        (TaskKind::MultiLabel, "x".repeat(1_025)),
        (TaskKind::Tags, "x".repeat(1_025)),
        // With its prefix one byte too long, without it none.
        (TaskKind::Entities, format!("B-{}", "x".repeat(1_023))),
    ] {
        let row = |label: &str| match kind {
            TaskKind::Classification => serde_json::json!({"text": "a b", "label": label}),
            TaskKind::MultiLabel => serde_json::json!({"text": "a b", "label": [label, "other"]}),
            _ => serde_json::json!({"tokens": ["a", "b"], "tags": ["O", label]}),
        };
        let rows = [row("B-place"), row("O"), row(&long)];
        std::fs::write(&path, rows.map(|row| row.to_string() + "\n").concat()).unwrap();
        let files = CheckFiles { train: Source::new(&path), dev: None, test: None };
        let report = check_data(&files, &CheckOptions { kind, ..OPTIONS }, &words).unwrap();
        let error = Dataset::read_train(&Source::new(&path), kind).unwrap_err();
        let [rejected] = &report.splits[0].rejected_rows[..] else { panic!("{kind}: {report:?}") };
        assert_eq!((rejected.line, report.splits[0].rows), (3, 2), "{kind}");
        assert!(rejected.reason.ends_with("` has 1025 bytes, the most is 1024"), "{kind}: {rejected:?}");
        assert!(error.to_string().ends_with(&rejected.reason), "{kind}: {error}");
    }
}

#[test]
fn every_rejected_row_is_listed_with_its_reason() {
    let train = "text\tlabel\na\tyes\nb\n\tno\nc\tno\n";
    let dev = "text\tlabel\nd\tmaybe\ne\tno\nf\t\n";
    let report = check(&[train, dev], &OPTIONS).unwrap();
    assert!(!report.is_usable() && report.problems.is_empty());
    let rejected = |split: usize| -> Vec<String> {
        let rows = report.splits[split].rejected_rows.iter();
        rows.map(|row| format!("{} {}", row.line, row.reason)).collect()
    };
    assert_eq!(rejected(0), ["3 expected 2 fields, found 1", "4 `text` is empty"]);
    assert_eq!(
        rejected(1),
        ["2 unknown label `maybe`, expected one of `no`, `yes`", "4 label `label` is missing"]
    );
    assert_eq!((report.splits[0].rows, report.splits[0].rejected), (2, 2));
    assert_eq!((report.splits[1].rows, report.splits[1].rejected), (1, 2));
    let short = check(&[train], &CheckOptions { max_listed: 1, ..OPTIONS }).unwrap();
    assert_eq!((short.splits[0].rejected, short.splits[0].rejected_rows.len()), (2, 1));
}

#[test]
fn repeated_texts_are_found_within_and_across_files() {
    let train = "text\tlabel\na\tyes\nb\tno\na\tyes\na\tno\n";
    let dev = "text\tlabel\nb\tyes\nc\tno\nb\tno\n";
    let report = check(&[train, dev], &OPTIONS).unwrap();
    let repeated = |line, first_line, conflicting| RepeatedText {
        file: None,
        line,
        first_file: None,
        first_line,
        conflicting,
    };
    let within = &report.splits[0].duplicates;
    assert_eq!((within.rows, within.conflicting), (2, 1));
    assert_eq!(within.listed, [repeated(4, 2, false), repeated(5, 2, true)]);
    let across = &report.overlaps[0].repeats;
    assert_eq!((across.rows, across.conflicting), (2, 1));
    assert_eq!(across.listed, [repeated(2, 3, true), repeated(4, 3, false)]);
    assert!(report.is_usable(), "a repeated text does not stop training");
    let pairs = "sentence1\tsentence2\tlabel\nab\tc\tyes\na\tbc\tno\n";
    assert_eq!(check(&[pairs], &OPTIONS).unwrap().splits[0].duplicates.rows, 0);
}

#[test]
fn what_stops_training_is_a_problem() {
    let problems = |contents: &[&str], options: &CheckOptions| -> Vec<String> {
        let report = check(contents, options).unwrap();
        assert!(!report.is_usable());
        let name = |message: &str| message.rsplit(std::path::MAIN_SEPARATOR).next().unwrap().to_owned();
        report.problems.iter().map(|problem| name(&problem.message)).collect()
    };
    let one = "train.tsv: expected at least two labels, found only `yes`";
    assert_eq!(problems(&["text\tlabel\na\tyes\nb\tyes\n"], &OPTIONS), [one]);
    assert_eq!(problems(&["text\tlabel\n"], &OPTIONS), ["train.tsv: no rows"]);
    let pair = "dev.tsv: expected single texts, found pairs of texts";
    let train = "text\tlabel\na\tyes\nb\tno\n";
    assert_eq!(problems(&[train, "sentence1\tsentence2\tlabel\na\tb\tno\n"], &OPTIONS), [pair]);
    let scores = CheckOptions { kind: TaskKind::Regression, ..OPTIONS };
    let one = "train.tsv: expected at least two labels, found only `5`";
    assert_eq!(problems(&["text\tlabel\na\t5\nb\t5.0\n"], &scores), [one]);
    let close = "train.tsv: scores around 1.70000015e9 with a standard deviation of 1.5e2 cannot be computed with in single precision";
    assert_eq!(problems(&["text\tlabel\na\t1700000000\nb\t1700000300\n"], &scores), [close]);
    assert!(check(&["review\tlabel\n"], &OPTIONS).is_err(), "the header cannot be used");
}

#[test]
fn scores_are_summed_up_and_warned_about() {
    let scores = CheckOptions { kind: TaskKind::Regression, ..OPTIONS };
    let report = check(&["text\tlabel\na\t1\nb\t2.5\na\t1.0\nc\tx\n"], &scores).unwrap();
    let train = &report.splits[0];
    let stats = train.scores.unwrap();
    assert_eq!((stats.min, stats.max, stats.mean), (1.0, 2.5, 1.5));
    assert_eq!((train.rejected, train.duplicates.rows, train.duplicates.conflicting), (1, 1, 0));
    let rows: String = (0..40).map(|row| format!("t{row}\t{row}.5\n")).collect();
    let report = check(&[&format!("text\tlabel\n{rows}")], &OPTIONS).unwrap();
    assert_eq!(report.warnings.len(), 1);
    assert!(report.warnings[0].hint.as_ref().unwrap().contains("regression"));
}

#[test]
fn the_report_can_be_serialised() {
    let report = check(&["text\tlabel\na\tyes\na\tno\n", "text\tlabel\na\tno\n"], &OPTIONS).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["splits"][0]["split"], "train");
    assert_eq!(json["splits"][0]["duplicates"]["conflicting"], 1);
    assert_eq!(json["overlaps"][0]["rows"], 1);
}

/// What training refuses of questions, `check-data` refuses too.
#[test]
fn questions_without_answers_are_problems_where_training_refuses_them() {
    let folder = TempDir::new().unwrap();
    let source = |name: &str, answers: &[&str]| {
        let path = folder.path().join(name);
        let line =
            |answers: &&str| format!("{{\"question\":\"q\",\"context\":\"a b\",\"answers\":[{answers}]}}\n");
        std::fs::write(&path, answers.iter().map(line).collect::<String>()).unwrap();
        Source::new(path)
    };
    let answer = "{\"text\":\"b\",\"answer_start\":2}";
    let options = CheckOptions { kind: TaskKind::QuestionAnswering, ..OPTIONS };
    let check = |train: &[&str], dev: &[&str]| {
        let (train, dev) = (source("train.jsonl", train), source("dev.jsonl", dev));
        let refused = Dataset::read_train(&train, options.kind)
            .and_then(|read| Dataset::read_eval(&dev, &read.task))
            .is_err();
        let report = check_data(&CheckFiles { train, dev: Some(dev), test: None }, &options, &words).unwrap();
        assert_eq!(report.is_usable(), !refused, "{report:?}");
        report
    };
    assert!(check(&[answer, ""], &[answer, ""]).is_usable());
    assert!(check(&[answer, answer], &[answer]).is_usable());
    let unanswerable = check(&[answer, answer], &[answer, ""]);
    let rejected = &unanswerable.splits[1].rejected_rows[0];
    assert_eq!((rejected.line, unanswerable.splits[1].rejected), (2, 1));
    assert_eq!(rejected.reason, "the question has no answer, and all of the training rows have one");
    let none = check(&["", ""], &[""]);
    assert!(none.problems[0].message.ends_with("no row has a label"), "{none:?}");
}
