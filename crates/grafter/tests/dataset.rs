//! Whole labelled files: targets, label order, and each error that ends the reading of a file.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write;
use std::path::{Path, PathBuf};

use grafter::data::{
    Columns, DataError, Dataset, Format, LabelScheme, LabelUse, LabelledFile, LabelledRows, Source, Targets,
    TaskKind, TaskSpec, Warning, blocks,
};
use tempfile::TempDir;

/// Files in a folder of their own; messages are compared without the folder.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Source {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        Source::new(path)
    }

    fn message(&self, error: &DataError) -> String {
        let folder = format!("{}{}", self.0.path().display(), std::path::MAIN_SEPARATOR);
        error.to_string().replace(&folder, "")
    }

    #[track_caller]
    fn assert_train_error(&self, source: &Source, kind: TaskKind, message: &str) -> Option<String> {
        let error = Dataset::read_train(source, kind).unwrap_err();
        assert_eq!(self.message(&error), message);
        let streamed = LabelledFile::read_train(source, kind).unwrap_err();
        assert_eq!(self.message(&streamed), message);
        error.hint()
    }

    #[track_caller]
    fn assert_eval_error(&self, source: &Source, task: &TaskSpec, message: &str) -> Option<String> {
        let error = Dataset::read_eval(source, task).unwrap_err();
        assert_eq!(self.message(&error), message);
        let streamed = LabelledFile::read_eval(source, task).unwrap_err();
        assert_eq!(self.message(&streamed), message);
        error.hint()
    }
}

const CLASSES: TaskKind = TaskKind::Classification;
const SCORES: TaskKind = TaskKind::Regression;

fn label_names(dataset: &Dataset) -> Vec<String> {
    match &dataset.task.scheme {
        LabelScheme::Classes(set) => set.names().to_vec(),
        LabelScheme::Scores => Vec::new(),
        other => panic!("expected classes, got {other:?}"),
    }
}

/// A compressed file is what it holds, wherever files are read.
#[test]
fn compressed_files_are_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let rows = b"text,label\ngood film,1\nbad film,0\n";
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(rows).unwrap();
    let gzip = encoder.finish().unwrap();
    let zstd = ruzstd::encoding::compress_to_vec(&rows[..], ruzstd::encoding::CompressionLevel::Fastest);
    let plain = folder.path().join("rows.csv");
    std::fs::write(&plain, rows).unwrap();
    let expected = Dataset::read_train(&Source::new(&plain), CLASSES).unwrap();
    for (name, bytes) in [("rows.csv.gz", gzip.clone()), ("rows.CSV.zst", zstd)] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Format::for_path(&path).unwrap(), Format::Csv);
        let found = Dataset::read_train(&Source::new(&path), CLASSES).unwrap();
        assert_eq!((found.rows, found.targets), (expected.rows.clone(), expected.targets.clone()), "{name}");
        let file = LabelledFile::read_eval(&Source::new(&path), &expected.task).unwrap();
        assert_eq!(file.read().unwrap().count(), 2, "{name}");
        assert_eq!(Source::new(&path).open(LabelUse::Optional).unwrap().count(), 2, "{name}");
    }
    let broken = folder.path().join("broken.csv.gz");
    std::fs::write(&broken, &gzip[..gzip.len() - 9]).unwrap();
    let error = Dataset::read_train(&Source::new(&broken), CLASSES).unwrap_err();
    assert!(matches!(error, DataError::Compressed { .. }), "{error}");
    let unknown = Format::for_path(Path::new("rows.gz")).unwrap_err();
    assert_eq!(unknown.to_string(), "rows.gz: cannot tell the format from the file name");
}

/// The same rows with several labels in every format, their order and repetitions of no matter.
#[test]
fn several_labels_in_every_format() {
    let rows = [
        ("csv", "text,label\na,\"new, good\"\nb,good\nc,\nd,\"good,new,good\"\n"),
        ("tsv", "text\tlabel\na\tnew, good\nb\tgood\nc\t\nd\tgood,new,good\n"),
        (
            "jsonl",
            "{\"text\":\"a\",\"label\":[\"new\",\"good\"]}\n{\"text\":\"b\",\"label\":\"good\"}\n\
             {\"text\":\"c\",\"label\":[]}\n{\"text\":\"d\",\"label\":\"good,new\"}\n",
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (extension, content) in rows {
        let path = folder.path().join(format!("rows.{extension}"));
        std::fs::write(&path, content).unwrap();
        let data = Dataset::read_train(&Source::new(&path), TaskKind::MultiLabel).unwrap();
        let LabelScheme::Sets(labels) = &data.task.scheme else { panic!("{extension}: {:?}", data.task) };
        assert_eq!(labels.names(), ["good", "new"], "{extension}");
        let expected = Targets::Sets(vec![vec![0, 1], vec![0], vec![], vec![0, 1]]);
        assert_eq!(data.targets, expected, "{extension}");
        let again = Dataset::read_eval(&Source::new(&path), &data.task).unwrap();
        assert_eq!(again.targets, expected, "{extension}");
        let file = LabelledFile::read_eval(&Source::new(&path), &data.task).unwrap();
        assert_eq!(file.read().unwrap().count(), 4, "{extension}");
    }
    let path = folder.path().join("rows.csv");
    std::fs::write(&path, "text,label\na,new|good\nb,good\n").unwrap();
    let mut source = Source::new(&path);
    source.columns.label_separator = Some('|');
    let data = Dataset::read_train(&source, TaskKind::MultiLabel).unwrap();
    assert_eq!(data.targets, Targets::Sets(vec![vec![0, 1], vec![0]]));
    let comma = Dataset::read_train(&Source::new(&path), TaskKind::MultiLabel).unwrap();
    assert_eq!(comma.task.scheme.labels().unwrap().names(), ["good", "new|good"]);

    let refused = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = Dataset::read_train(&Source::new(&path), TaskKind::MultiLabel).unwrap_err();
        error.to_string().replace(&folder.path().display().to_string(), "DIR")
    };
    for (name, content, expected) in [
        ("one.csv", "text,label\na,good\nb,\n", "DIR/one.csv"),
        ("none.csv", "text,label\na,\nb,\n", "DIR/none.csv: no row has a label"),
        ("column.csv", "text,other\na,b\n", "label"),
        (
            "null.jsonl",
            "{\"text\":\"a\",\"label\":null}\n",
            "DIR/null.jsonl:1: `label` must be a string, number or Boolean, or a list of them, found null",
        ),
        ("object.jsonl", "{\"text\":\"a\",\"label\":[{}]}\n", "found an array of other things"),
        ("absent.jsonl", "{\"text\":\"a\"}\n", "DIR/absent.jsonl:1"),
        ("joint.jsonl", "{\"text\":\"a\",\"label\":[\"a\\u001fb\"]}\n", "U+001F"),
    ] {
        let message = refused(name, content);
        assert!(message.contains(expected), "{name}: {message}");
    }
    // A list is a label of nothing else.
    let path = folder.path().join("list.jsonl");
    std::fs::write(&path, "{\"text\":\"a\",\"label\":[\"x\"]}\n").unwrap();
    let error = Dataset::read_train(&Source::new(&path), TaskKind::Classification).unwrap_err();
    assert!(error.to_string().contains("must be a string, number or Boolean, found an array"), "{error}");
    // Labels that training did not see are an error with its place.
    std::fs::write(&path, "{\"text\":\"a\",\"label\":[\"good\",\"old\"]}\n").unwrap();
    let error = Dataset::read_eval(&Source::new(&path), &data.task).unwrap_err();
    assert!(error.to_string().contains(":1: ") && error.to_string().contains("old"), "{error}");
}

#[test]
fn classes_have_an_order_of_their_own() {
    let files = Files::new();
    for content in ["text,label\na,10\nb,9\nc,10\n", "text,label\na,9\nb,10\nc,9\n"] {
        let train = Dataset::read_train(&files.write("train.csv", content), CLASSES).unwrap();
        assert_eq!(label_names(&train), ["9", "10"]);
        assert!(!train.task.pair && train.warnings.is_empty() && train.rows.len() == 3);
    }
    let train = files.write("train.csv", "text,label\na,yes\nb,no\n");
    let train = Dataset::read_train(&train, CLASSES).unwrap();
    assert_eq!(train.targets, Targets::Classes(vec![1, 0]));
    let dev = files.write("dev.jsonl", "{\"text\":\"c\",\"label\":\"yes\"}\n");
    let dev = Dataset::read_eval(&dev, &train.task).unwrap();
    assert_eq!((dev.targets.len(), &dev.targets), (1, &Targets::Classes(vec![1])));
    assert_eq!(dev.task, train.task);
}

#[test]
fn scores_are_numbers() {
    let files = Files::new();
    let train = files.write("train.tsv", "sentence1\tsentence2\tlabel\na\tb\t4.750\nc\td\t-1\n");
    let train = Dataset::read_train(&train, SCORES).unwrap();
    assert_eq!(train.targets, Targets::Scores(vec![4.75, -1.0]));
    assert!(train.task.pair);
    assert_eq!(train.task.scheme.kind(), SCORES);
    for label in ["high", "nan", "inf", "1e40"] {
        let bad = files.write("train.tsv", format!("text\tlabel\na\t1\nb\t{label}\n"));
        let message = format!("train.tsv:3: label `{label}` is not a finite number");
        let hint = files.assert_train_error(&bad, SCORES, &message);
        assert!(hint.unwrap().contains("classification"));
    }
}

#[test]
fn a_row_of_more_than_a_megabyte_is_refused() {
    let files = Files::new();
    let train = files.write("train.csv", format!("text,label\na,x\n{},y\n", "a ".repeat(1 << 19)));
    let hint = files.assert_train_error(&train, CLASSES, "train.csv:3: row is longer than 1048576 bytes");
    assert!(hint.unwrap().contains("--max-length"));
}

#[test]
fn scores_that_single_precision_cannot_hold_are_refused() {
    let files = Files::new();
    let file = |scores: &[&str]| {
        let rows: String = scores.iter().map(|score| format!("text\t{score}\n")).collect();
        files.write("train.tsv", format!("text\tlabel\n{rows}"))
    };
    // Answers would lie 128 apart; both would be 1700000000; answers would overflow; differences would be denormal.
    for (scores, mean, std) in [
        (["1700000000", "1700000300"], "1.70000015e9", "1.5e2"),
        (["1700000000", "1700000002"], "1.700000001e9", "1.0e0"),
        (["2e38", "-2e38"], "0e0", "2.0e38"),
        (["0", "4e-42"], "2e-42", "2.0e-42"),
    ] {
        let message = format!(
            "train.tsv: scores around {mean} with a standard deviation of {std} cannot be computed with in single precision"
        );
        let hint = files.assert_train_error(&file(&scores), SCORES, &message);
        assert!(hint.unwrap().contains("subtract"));
    }
    for scores in [["1900", "2020"], ["1700000000", "1700010000"], ["-1e-9", "1e-9"], ["1e9", "1e12"]] {
        Dataset::read_train(&file(&scores), SCORES).unwrap();
    }
}

#[test]
fn the_first_bad_row_is_the_error() {
    let files = Files::new();
    let train = files.write("train.csv", "text,label\na,x\nb\nc,d,e\n");
    files.assert_train_error(&train, CLASSES, "train.csv:3: expected 2 fields, found 1");
}

#[test]
fn the_first_label_too_many_is_named_and_no_more_are_gathered() {
    let files = Files::new();
    let rows: String = (0..20_000).map(|row| format!("text,label{}\n", row % 19_999)).collect();
    let train = files.write("train.csv", format!("text,label\n{rows}"));
    let hint = files.assert_train_error(&train, CLASSES, "train.csv:16386: more than 16384 different labels");
    assert!(hint.unwrap().contains("--label-column"));
    let rows: String = (0..20_000).map(|row| format!("text,label{}\n", row % 16_384)).collect();
    let train = files.write("train.csv", format!("text,label\n{rows}"));
    assert_eq!(Dataset::read_train(&train, CLASSES).unwrap().targets.len(), 20_000);
}

#[test]
fn a_label_that_is_a_text_is_refused() {
    let files = Files::new();
    let of =
        |bytes: usize| files.write("train.csv", format!("text,label\na,x\nb,{}\n", "é".repeat(bytes / 2)));
    Dataset::read_train(&of(1024), CLASSES).unwrap();
    let error = Dataset::read_train(&of(1026), CLASSES).unwrap_err();
    let message = files.message(&error);
    assert!(message.starts_with("train.csv:3: label `éé"), "{message}");
    assert!(message.ends_with("` has 1026 bytes, the most is 1024") && message.len() < 300, "{message}");
    assert!(error.hint().unwrap().contains("--label-column"));
}

#[test]
fn training_needs_rows_and_two_labels() {
    let files = Files::new();
    files.assert_train_error(&files.write("a.csv", ""), CLASSES, "a.csv: no rows");
    files.assert_train_error(&files.write("a.csv", "text,label\n"), CLASSES, "a.csv: no rows");
    files.assert_train_error(&files.write("a.jsonl", ""), CLASSES, "a.jsonl: no rows");
    let one = files.write("a.csv", "text,label\na,x\nb,x\n");
    files.assert_train_error(&one, CLASSES, "a.csv: expected at least two labels, found only `x`");
    let one = files.write("a.csv", "text,label\na,5.0\nb,5\n");
    files.assert_train_error(&one, SCORES, "a.csv: expected at least two labels, found only `5.0`");
    let not_numbers = files.write("a.csv", "text,label\na,x\nb,x\n");
    files.assert_train_error(&not_numbers, SCORES, "a.csv:2: label `x` is not a finite number");
}

#[test]
fn other_files_are_held_to_the_task() {
    let files = Files::new();
    let train = files.write("train.csv", "text,label\na,no\nb,yes\n");
    let task = Dataset::read_train(&train, CLASSES).unwrap().task;
    let dev = files.write("dev.csv", "text,label\na,no\nb,maybe\n");
    let message = "dev.csv:3: unknown label `maybe`, expected one of `no`, `yes`";
    assert!(files.assert_eval_error(&dev, &task, message).is_some());
    let message = "dev.csv: expected single texts, found pairs of texts";
    let pairs = files.write("dev.csv", "sentence1,sentence2,label\na,b,no\n");
    assert!(files.assert_eval_error(&pairs, &task, message).unwrap().contains("--text-b-column"));
    let pairs = files.write("dev.jsonl", "{\"text_a\":\"a\",\"text_b\":\"b\",\"label\":\"no\"}");
    files.assert_eval_error(&pairs, &task, "dev.jsonl: expected single texts, found pairs of texts");
    let train = files.write("train.csv", "sentence1,sentence2,label\na,b,no\nc,d,yes\n");
    let pair_task = Dataset::read_train(&train, CLASSES).unwrap().task;
    let dev = files.write("dev.csv", "text,label\na,no\n");
    files.assert_eval_error(&dev, &pair_task, "dev.csv: expected pairs of texts, found single texts");
    let one_class = files.write("dev.csv", "text,label\na,no\n");
    assert!(Dataset::read_eval(&one_class, &task).is_ok(), "only training needs two labels");
}

#[test]
fn many_numeric_labels_are_warned_about_and_not_guessed() {
    let files = Files::new();
    let rows = |label: &dyn Fn(usize) -> String| {
        let rows: String = (0..100).map(|row| format!("t{row}\t{}\n", label(row))).collect();
        files.write("train.tsv", format!("text\tlabel\n{rows}"))
    };
    let scores = Dataset::read_train(&rows(&|row| format!("{}.5", row % 20)), CLASSES).unwrap();
    assert_eq!(scores.warnings, [Warning::LooksLikeRegression { labels: 20, rows: 100 }]);
    let warning = scores.warnings[0].to_string();
    assert_eq!(warning, "20 different numeric labels in 100 rows are taken as classes");
    let distinct = Dataset::read_train(&rows(&|row| row.to_string()), CLASSES).unwrap();
    assert_eq!(distinct.warnings.len(), 1);
    let classes = Dataset::read_train(&rows(&|row| (row % 20).to_string()), CLASSES).unwrap();
    assert!(classes.warnings.is_empty());
    assert!(Dataset::read_train(&rows(&|row| row.to_string()), SCORES).unwrap().warnings.is_empty());
}

#[test]
fn the_format_comes_from_the_name_or_the_caller() {
    let formats = [("a.CSV", Format::Csv), ("a.tsv", Format::Tsv), ("a.tab", Format::Tsv)];
    let more = [("a.jsonl", Format::Jsonl), ("a.ndjson", Format::Jsonl), ("a.txt", Format::Lines)];
    for (name, format) in formats.into_iter().chain(more) {
        assert_eq!(Format::for_path(Path::new(name)).unwrap(), format);
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("xml".parse::<Format>().unwrap_err().contains("`tsv`"));
    let files = Files::new();
    let mut source = files.write("train.data", "review;stars\n");
    let hint =
        files.assert_train_error(&source, CLASSES, "train.data: cannot tell the format from the file name");
    assert!(hint.unwrap().contains("--format"));
    source = files.write("train.data", "review\tstars\na\t1\nb\t2\n");
    source.format = Some(Format::Tsv);
    source.columns =
        Columns { text: Some("review".into()), label: Some("stars".into()), ..Columns::default() };
    assert_eq!(Dataset::read_train(&source, CLASSES).unwrap().rows.len(), 2);
    let lines = files.write("train.txt", "a\nb\n");
    let hint = files.assert_train_error(&lines, CLASSES, "train.txt: the format `lines` has no labels");
    assert!(hint.unwrap().contains("--format"));
    let missing = Source::new(files.0.path().join("none.csv"));
    let error = Dataset::read_train(&missing, CLASSES).unwrap_err();
    assert!(files.message(&error).starts_with("cannot open `none.csv`: "), "{error}");
}

#[test]
fn an_unreadable_row_goes_before_a_label_that_is_none_of_the_task() {
    let files = Files::new();
    let train = files.write("train.csv", "text,label\na,high\nb,1\nc\n");
    files.assert_train_error(&train, SCORES, "train.csv:4: expected 2 fields, found 1");
    let task =
        Dataset::read_train(&files.write("train.csv", "text,label\na,no\nb,yes\n"), CLASSES).unwrap().task;
    let dev = files.write("dev.csv", "text,label\na,maybe\nb,never\nc\n");
    files.assert_eval_error(&dev, &task, "dev.csv:4: expected 2 fields, found 1");
    let dev = files.write("dev.csv", "text,label\na,maybe\nb,never\n");
    files.assert_eval_error(&dev, &task, "dev.csv:2: unknown label `maybe`, expected one of `no`, `yes`");
}

#[test]
fn a_file_is_read_again_and_again_as_it_is_in_memory() {
    let files = Files::new();
    let rows: String = (0..2500).map(|row| format!("text {row}\t{}\n", ["c", "a", "b"][row % 3])).collect();
    let source = files.write("train.tsv", format!("text\tlabel\n{rows}"));
    let held = Dataset::read_train(&source, CLASSES).unwrap();
    let file = LabelledFile::read_train(&source, CLASSES).unwrap();
    assert_eq!((file.task(), file.targets()), (&held.task, &held.targets));
    assert!(matches!(file.targets(), Targets::Classes(classes) if classes[..4] == [2, 0, 1, 2]));
    for _ in 0..2 {
        let blocks: Vec<_> = blocks(file.read().unwrap()).collect::<Result<_, _>>().unwrap();
        assert_eq!(blocks.iter().map(Vec::len).collect::<Vec<_>>(), [1024, 1024, 452]);
        let read: Vec<_> = blocks.into_iter().flatten().map(|row| row.into_owned()).collect();
        assert_eq!(read, held.rows);
    }
}

#[test]
fn two_readers_of_one_file_are_not_in_each_others_way() {
    let files = Files::new();
    // More than one reader holds ahead.
    let rows: String =
        (0..9_000).map(|row| format!("the text of row {row}\t{}\n", ["a", "b"][row % 2])).collect();
    let file = LabelledFile::read_train(&files.write("train.tsv", format!("text\tlabel\n{rows}")), CLASSES);
    let file = file.unwrap();
    let (first, second) = (file.read().unwrap(), file.read().unwrap());
    let mut count = 0;
    for (row, (first, second)) in first.zip(second.skip(1)).enumerate() {
        assert_eq!(first.unwrap().text, format!("the text of row {row}"));
        assert_eq!(second.unwrap().text, format!("the text of row {}", row + 1));
        count += 1;
    }
    assert_eq!(count, 8_999);
}

#[test]
fn a_file_that_changes_between_two_readings_is_an_error() {
    let files = Files::new();
    let source = files.write("train.csv", "text,label\na,no\nb,yes\n");
    let file = LabelledFile::read_train(&source, CLASSES).unwrap();
    assert_eq!(file.read().unwrap().count(), 2);
    files.write("train.csv", "text,label\na,no\nb,yes\nc,no\n");
    let error = file.read().unwrap().collect::<Result<Vec<_>, _>>().unwrap_err();
    assert_eq!(files.message(&error), "train.csv: the file changed while it was read");
}

#[test]
fn a_file_that_was_cut_has_changed_and_no_bad_row() {
    let files = Files::new();
    let source = files.write("train.csv", "text,label\na,no\nb,yes\n");
    let file = LabelledFile::read_train(&source, CLASSES).unwrap();
    for cut in ["text,label\na,no\nb", "tex", ""] {
        files.write("train.csv", cut);
        let rows = file.read().and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assert_eq!(files.message(&rows.unwrap_err()), "train.csv: the file changed while it was read");
    }
}

#[test]
#[cfg(unix)]
fn a_pipe_is_read_twice_too() {
    let files = Files::new();
    let source = files.write("train.csv", "");
    std::fs::remove_file(&source.files[0].path).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&source.files[0].path).status().unwrap().success());
    let path = source.files[0].path.clone();
    let writer = std::thread::spawn(move || std::fs::write(path, "text,label\na,no\nb,yes\n").unwrap());
    let file = LabelledFile::read_train(&source, CLASSES).unwrap();
    writer.join().unwrap();
    for _ in 0..2 {
        let texts: Vec<String> = file.read().unwrap().map(|row| row.unwrap().text.clone()).collect();
        assert_eq!(texts, ["a", "b"]);
    }
}

/// Every TSV file of the shared data sets, if the folder is there: beside the repository, outside of it.
fn shared_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let Ok(sets) = std::fs::read_dir(&folder) else {
        println!("skipped: there is no folder {}", folder.display());
        return Vec::new();
    };
    let files = sets.flat_map(|set| std::fs::read_dir(set.unwrap().path()).into_iter().flatten());
    let paths = files.map(|file| file.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "tsv")).collect()
}

#[test]
fn real_data_is_read_without_an_error() {
    for path in shared_files() {
        let lines = std::fs::read(&path).unwrap().split(|byte| *byte == b'\n').count() - 2;
        let reader = Source::new(&path).open(LabelUse::Optional).unwrap();
        let rows = reader.collect::<Result<Vec<_>, _>>().unwrap();
        assert!(!rows.is_empty());
        assert_eq!(rows.len(), lines, "{}", path.display());
        let name = path.file_stem().unwrap().to_str().unwrap();
        if name == "train" {
            let kind = if path.parent().unwrap().ends_with("stsb") { SCORES } else { CLASSES };
            let train = Dataset::read_train(&Source::new(&path), kind).unwrap();
            let dev = Source::new(path.with_file_name("dev.tsv"));
            let dev = Dataset::read_eval(&dev, &train.task).unwrap();
            assert_eq!((train.targets.len(), train.warnings.len()), (lines, 0));
            assert!(!dev.targets.is_empty());
        }
    }
}
