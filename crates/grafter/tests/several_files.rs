//! Several files and patterns of names as one source: the order, what must be alike, and that an error names its own file.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write;
use std::path::Path;

use grafter::data::{
    CheckFiles, CheckOptions, Columns, DataError, Dataset, LabelUse, LabelledFile, LabelledRows, Row, Source,
    TaskKind, check_data, find_files,
};
use tempfile::TempDir;

const CLASSES: TaskKind = TaskKind::Classification;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    folder
}

fn source(folder: &TempDir, names: &[&str]) -> Result<Source, DataError> {
    let names: Vec<_> = names.iter().map(|name| folder.path().join(name)).collect();
    find_files(&names).map(Source::of)
}

/// Without the folder.
fn told(folder: &TempDir, text: &str) -> String {
    text.replace(&format!("{}{}", folder.path().display(), std::path::MAIN_SEPARATOR), "")
}

fn found(folder: &TempDir, names: &[&str]) -> String {
    match source(folder, names) {
        Ok(source) => {
            source.files.iter().map(|file| told(folder, &file.name())).collect::<Vec<_>>().join(" ")
        }
        Err(error) => told(folder, &error.to_string()),
    }
}

#[test]
fn patterns_find_files_by_the_bytes_of_their_names() {
    let folder = folder(&[
        ("part-2.csv", ""),
        ("part-10.csv", ""),
        ("part-Z.csv", ""),
        ("part-a.csv", ""),
        ("part-ä.csv", ""),
        (".part-0.csv", ""),
        ("deep/er/part-1.csv", ""),
        ("folder-1.csv/x", ""),
        ("[x].csv", ""),
    ]);
    assert_eq!(found(&folder, &["part-*.csv"]), "part-10.csv part-2.csv part-Z.csv part-a.csv part-ä.csv");
    assert_eq!(found(&folder, &["part-?.csv"]), "part-2.csv part-Z.csv part-a.csv part-ä.csv");
    assert_eq!(found(&folder, &["part-[0-9]*.csv"]), "part-10.csv part-2.csv");
    assert_eq!(found(&folder, &["**/part-[12].csv"]), "deep/er/part-1.csv part-2.csv");
    // Each in its place, and a file of just that name before a pattern.
    assert_eq!(found(&folder, &["part-Z.csv", "part-1*.csv", "[x].csv"]), "part-Z.csv part-10.csv [x].csv");
    assert_eq!(found(&folder, &["folder-*.csv"]), "no file matches `folder-*.csv`");
    assert_eq!(found(&folder, &["*.tsv"]), "no file matches `*.tsv`");
    assert!(found(&folder, &["part-[.csv"]).starts_with("`part-[.csv` is no pattern of file names: "));
    for twice in [&["part-2.csv", "part-*.csv"][..], &["part-2.csv", "deep/../part-2.csv"]] {
        let message = found(&folder, twice);
        assert!(message.ends_with("part-2.csv: the same file is named twice"), "{message}");
    }
}

/// Every format, compressed or not, gives the rows of the whole.
#[test]
fn the_rows_of_parts_are_those_of_the_whole() {
    let csv = ["text,label\n\"a\nb\",1\nc,0\n", "text,label\n", "label,text\n1,d\n"];
    let jsonl = [
        "{\"text\":\"a\\nb\",\"label\":1}\n{\"text\":\"c\",\"label\":0}",
        "",
        "{\"label\":1,\"text\":\"d\"}\n",
    ];
    let rows = [("a\nb", "1", 2), ("c", "0", 4), ("d", "1", 2)];
    for (end, parts, lines) in [("csv", csv, [2, 4, 2]), ("jsonl", jsonl, [1, 2, 1])] {
        let folder = folder(&[]);
        for (place, content) in parts.iter().enumerate() {
            let path = folder.path().join(format!("p{place}.{end}"));
            if place == 2 {
                let file = std::fs::File::create(path.with_extension(format!("{end}.gz"))).unwrap();
                let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
                encoder.write_all(content.as_bytes()).unwrap();
                encoder.finish().unwrap();
            } else {
                std::fs::write(path, content).unwrap();
            }
        }
        let source = source(&folder, &["p*"]).unwrap();
        assert_eq!(source.files.len(), 3);
        assert_eq!(told(&folder, &source.name()), format!("p0.{end} and 2 more files"));
        let data = Dataset::read_train(&source, CLASSES).unwrap();
        let expected: Vec<Row> = rows
            .iter()
            .zip(lines)
            .map(|((text, label, _), line)| Row {
                label: Some((*label).to_owned()),
                line,
                ..Row::single(*text)
            })
            .collect();
        assert_eq!(data.rows, expected, "{end}");
        let file = LabelledFile::read_train(&source, CLASSES).unwrap();
        assert_eq!(file.targets(), &data.targets);
        for _ in 0..2 {
            let read: Vec<Row> = file.read().unwrap().map(|row| row.unwrap().into_owned()).collect();
            assert_eq!(read, expected, "{end}");
        }
    }
}

#[test]
fn parquet_and_conll_come_in_parts_too() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet");
    let copies = folder(&[("1.conll", "a O\nb B-x\n"), ("2.conll", "\n\nc O\nd B-y\n")]);
    let one = std::fs::read_dir(&fixtures).unwrap().map(|entry| entry.unwrap().path()).find(|path| {
        path.extension().is_some_and(|end| end == "parquet")
            && Dataset::read_train(&Source::new(path), CLASSES).is_ok()
    });
    let whole = Dataset::read_train(&Source::new(one.as_ref().unwrap()), CLASSES).unwrap();
    for name in ["1.parquet", "2.parquet"] {
        std::fs::copy(one.as_ref().unwrap(), copies.path().join(name)).unwrap();
    }
    let twice = Dataset::read_train(&source(&copies, &["*.parquet"]).unwrap(), CLASSES).unwrap();
    assert_eq!(twice.rows, [whole.rows.clone(), whole.rows].concat());
    let sentences = Dataset::read_train(&source(&copies, &["*.conll"]).unwrap(), TaskKind::Entities).unwrap();
    let texts: Vec<_> = sentences.rows.iter().map(|row| (row.text.as_str(), row.line)).collect();
    assert_eq!(texts, [("a b", 1), ("c d", 3)]);
}

#[test]
fn an_error_names_its_own_file() {
    let good = "text,label\na,1\nb,0\n";
    for (second, content, message) in [
        ("2.csv", "text,label\na\n", "2.csv:2: expected 2 fields, found 1"),
        ("2.csv", "text,label\na,\n", "2.csv:2: `label` is empty or missing"),
        ("2.csv", "", "2.csv: no rows"),
        (
            "2.csv",
            "sentence,label\na,1\n",
            "2.csv: expected the columns `text`, `label`, as in 1.csv, found `sentence`, `label`",
        ),
        ("2.tsv", "text\tlabel\na\t1\n", "2.tsv: expected the format `csv`, as of 1.csv, found `tsv`"),
    ] {
        let folder = folder(&[("1.csv", good), (second, content)]);
        let source = source(&folder, &["1.csv", "2.*"]).unwrap();
        for error in [
            Dataset::read_train(&source, CLASSES).unwrap_err(),
            LabelledFile::read_train(&source, CLASSES).unwrap_err(),
        ] {
            let found = told(&folder, &error.to_string());
            assert!(
                found == message || (message.contains("label` is") && found.starts_with("2.csv:2: ")),
                "{found}"
            );
        }
    }
    // Of JSON Lines the rows tell the columns, and those of the next file are held to them.
    let lines = folder(&[
        ("1.jsonl", "{\"text\":\"a\",\"label\":1}"),
        ("2.jsonl", "{\"sentence\":\"a\",\"label\":0}"),
    ]);
    let error = Dataset::read_train(&source(&lines, &["*"]).unwrap(), CLASSES).unwrap_err();
    let expected = "2.jsonl:1: expected fields `text`, as in the rows before, found `sentence`, `label`";
    assert_eq!(told(&lines, &error.to_string()), expected);
    // A label that the task does not know, behind rows of another file.
    let eval = folder(&[("t.csv", good), ("1.csv", good), ("2.csv", "text,label\na,1\nb,2\n")]);
    let task = Dataset::read_train(&source(&eval, &["t.csv"]).unwrap(), CLASSES).unwrap().task;
    let error = LabelledFile::read_eval(&source(&eval, &["1.csv", "2.csv"]).unwrap(), &task).unwrap_err();
    assert!(told(&eval, &error.to_string()).starts_with("2.csv:3: "), "{error}");
    let one = folder(&[("1.csv", "text,label\na,1\n"), ("2.csv", "text,label\nb,1\n")]);
    let error = Dataset::read_train(&source(&one, &["*"]).unwrap(), CLASSES).unwrap_err();
    let expected = "1.csv and 1 more file: expected at least two labels, found only `1`";
    assert_eq!(told(&one, &error.to_string()), expected);
}

#[test]
fn a_part_that_changes_or_goes_is_told() {
    let good = "text,label\na,1\nb,0\n";
    let files = folder(&[("1.csv", good), ("2.csv", good)]);
    let source = source(&files, &["*"]).unwrap();
    let file = LabelledFile::read_train(&source, CLASSES).unwrap();
    std::fs::write(files.path().join("2.csv"), "text,label\nc,1\nd,0\n\n").unwrap();
    let error = file.read().unwrap().find_map(Result::err).unwrap();
    assert_eq!(told(&files, &error.to_string()), "2.csv: the file changed while it was read");
    std::fs::remove_file(files.path().join("2.csv")).unwrap();
    let error = file.read().err().unwrap();
    assert_eq!(told(&files, &error.to_string()), "2.csv: the file changed while it was read");
}

/// More files than a process can usually have open.
#[test]
fn one_of_many_files_is_open_at_a_time() {
    let files = folder(&[]);
    for number in 0..1500 {
        let content = format!("text,label\nrow {number},{}\n", number % 2);
        std::fs::write(files.path().join(format!("{number:04}.csv")), content).unwrap();
    }
    let file = LabelledFile::read_train(&source(&files, &["*.csv"]).unwrap(), CLASSES).unwrap();
    assert_eq!((file.targets().len(), file.read().unwrap().count()), (1500, 1500));
    #[cfg(target_os = "linux")]
    {
        let ours = std::fs::read_dir("/proc/self/fd").unwrap().filter(|entry| {
            let target = std::fs::read_link(entry.as_ref().unwrap().path());
            target.is_ok_and(|target| target.starts_with(files.path()))
        });
        assert_eq!(ours.count(), 0);
    }
}

#[test]
fn check_data_names_the_files_of_its_findings() {
    let files = folder(&[
        ("1.csv", "text,label\na,1\nb,0\n"),
        ("2.csv", "text,label\n,1\na,0\n"),
        ("dev.csv", "text,label\na,1\n"),
    ]);
    let check = CheckFiles {
        train: source(&files, &["[12].csv"]).unwrap(),
        dev: Some(source(&files, &["dev.csv"]).unwrap()),
        test: None,
    };
    let options = CheckOptions { kind: CLASSES, max_length: 9, max_listed: 9 };
    let report = check_data(&check, &options, &|_| 1).unwrap();
    let train = &report.splits[0];
    let own = |name: &Option<String>| name.as_ref().map(|name| told(&files, name));
    assert_eq!(
        (own(&train.rejected_rows[0].file).as_deref(), train.rejected_rows[0].line),
        (Some("2.csv"), 2)
    );
    let repeat = &train.duplicates.listed[0];
    assert_eq!((own(&repeat.file).as_deref(), repeat.line), (Some("2.csv"), 3));
    assert_eq!((own(&repeat.first_file).as_deref(), repeat.first_line), (Some("1.csv"), 2));
    assert!(repeat.conflicting);
    let shared = &report.overlaps[0].repeats.listed[0];
    assert_eq!((&shared.file, own(&shared.first_file).as_deref()), (&None, Some("1.csv")));
}

#[test]
fn columns_that_are_named_or_not_asked_for_may_differ() {
    let files = folder(&[("1.csv", "text,label,id\na,1,7\n"), ("2.csv", "text,other\nb,x\n")]);
    let source = source(&files, &["*"]).unwrap();
    let rows = source.open(LabelUse::Optional).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(rows.iter().map(|row| row.text.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let named = Source { columns: Columns { label: Some("id".into()), ..Columns::default() }, ..source };
    let error = named.open(LabelUse::Required).err().unwrap();
    assert!(told(&files, &error.to_string()).starts_with("2.csv:1: "), "{error}");
}
