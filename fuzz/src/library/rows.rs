//! Data files in every format, and what is compressed.

use std::io::{Cursor, Read, Write};
use std::path::Path;

use grafter::data::{
    CheckFiles, CheckOptions, Compression, Compressor, Dataset, FileRows, Format, LabelUse, LabelledFile,
    LabelledRows, ReadOptions, Row, Source, TagScheme, TaskKind, check_data,
};

use super::base::{Folder, tell};

macro_rules! formats {
    ($($name:ident $format:ident),+) => {
        $(#[doc = concat!("Rows in the form of [`Format::", stringify!($format), "`]; the first byte picks what they are read for.")]
        pub fn $name(bytes: &[u8]) {
            read(Format::$format, bytes);
        })+
    };
}

formats!(
    rows_csv Csv, rows_tsv Tsv, rows_jsonl Jsonl, rows_conll Conll, rows_squad Squad, rows_parquet Parquet,
    rows_lines Lines
);

const KINDS: [TaskKind; 7] = [
    TaskKind::Classification,
    TaskKind::MultiLabel,
    TaskKind::Regression,
    TaskKind::Entities,
    TaskKind::Tags,
    TaskKind::MultipleChoice,
    TaskKind::QuestionAnswering,
];

/// A few bytes of a table may stand for billions of rows without a text, which would only take time.
const MOST_ROWS: usize = 10_000;

/// Every way in which the program reads a data file.
fn read(format: Format, bytes: &[u8]) {
    let Some((choice, file)) = bytes.split_first() else { return };
    let kind = KINDS[usize::from(choice % 8) % KINDS.len()];
    let folder = Folder::new();
    let path = folder.write("rows", file);
    let mut source =
        Source { format: Some(format), skip_empty: choice & 8 != 0, ..Source::new(path.clone()) };
    source.columns.tag_scheme = (kind == TaskKind::Entities && choice & 16 != 0).then_some(TagScheme::Iobes);
    source.columns.label_separator = (kind == TaskKind::MultiLabel && choice & 16 != 0).then_some(';');

    let whole = Source { skip_empty: false, ..source.clone() };
    for labels in [LabelUse::Optional, answered_with(kind)] {
        let rows = tell(whole.open(labels)).into_iter().flatten();
        let read = rows.take(MOST_ROWS).map(|row| tell(row).iter().for_each(check)).count();
        if read == MOST_ROWS {
            return;
        }
    }
    short(format, &path, file);
    check_all(&source, kind);
    let Some(train) = tell(LabelledFile::read_train(&source, kind)) else {
        assert!(Dataset::read_train(&source, kind).is_err());
        return;
    };
    let rows: Vec<Row> = tell(train.read())
        .expect("the file is as it was")
        .map(|row| row.expect("the file is as it was").into_owned())
        .collect();
    assert_eq!(rows.len(), train.targets().len());
    rows.iter().for_each(check);
    let dataset = Dataset::read_train(&source, kind).expect("both read alike");
    assert_eq!((&dataset.rows, &dataset.task), (&rows, train.task()));
    // What a file tells of its own task holds for it.
    tell(LabelledFile::read_eval(&source, train.task())).expect("it is of its own task");
}

/// How the rows are read to be answered.
fn answered_with(kind: TaskKind) -> LabelUse {
    match kind {
        TaskKind::MultiLabel => LabelUse::Several { separator: ',', needed: false },
        TaskKind::Entities => LabelUse::Tags { scheme: Some(TagScheme::Iob2), needed: false },
        TaskKind::Tags => LabelUse::Tags { scheme: None, needed: false },
        TaskKind::MultipleChoice => LabelUse::Choices { needed: false },
        TaskKind::QuestionAnswering => LabelUse::Answers { needed: false },
        TaskKind::Classification | TaskKind::Regression => LabelUse::Required,
    }
}

/// Rows of a stream, of which few bytes are taken.
fn short(format: Format, path: &Path, file: &[u8]) {
    let options = ReadOptions { max_row_bytes: 24, labels: LabelUse::Optional, ..ReadOptions::default() };
    let rows = match format {
        Format::Parquet => {
            let file = std::fs::File::open(path).expect("it was written");
            FileRows::<&[u8]>::parquet(&file, "rows", &options)
        }
        Format::Squad => return,
        format => FileRows::text(file, "rows", format, &options),
    };
    for row in tell(rows).into_iter().flatten().take(MOST_ROWS).filter_map(tell) {
        assert!(row.text.len() <= 24, "{row:?}");
    }
}

fn check_all(source: &Source, kind: TaskKind) {
    let files = CheckFiles { train: source.clone(), dev: Some(source.clone()), test: Some(source.clone()) };
    let options = CheckOptions { kind, max_length: 4, max_listed: 2 };
    tell(check_data(&files, &options, &|row| row.text.len()));
}

/// What the documentation of [`Row`] says of every row.
fn check(row: &Row) {
    let texts = [&row.text].into_iter().chain(&row.text_b).chain(&row.choices).chain(&row.label);
    assert!(texts.into_iter().all(|text| !text.trim().is_empty()), "{row:?}");
    assert!(row.choices.is_empty() || row.choices.len() >= 2, "{row:?}");
    assert!(row.line > 0, "{row:?}");
    let mut words = row.words.iter().flatten();
    assert!(
        words.all(|word| row.text.get(word.clone()).is_some_and(|word| !word.trim().is_empty())),
        "{row:?}"
    );
    let context = row.text_b.as_deref().unwrap_or_default();
    let mut answers = row.answers.iter().flatten();
    assert!(
        answers.all(|answer| context.get(answer.clone()).is_some_and(|text| !text.is_empty())),
        "{row:?}"
    );
}

/// What is compressed by gzip.
pub fn gzip(bytes: &[u8]) {
    compressed(Compression::Gzip, bytes);
}

/// What is compressed by zstd.
pub fn zstd(bytes: &[u8]) {
    compressed(Compression::Zstd, bytes);
}

/// What comes out is bounded by what goes in, and what is written is read.
fn compressed(compression: Compression, bytes: &[u8]) {
    let (mut reader, mut piece, mut grown) = (compression.read(Cursor::new(bytes.to_vec())), [0; 1 << 16], 0);
    loop {
        match reader.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => grown += read,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                break;
            }
        }
    }
    assert!(grown <= (16 << 20) + 1000 * bytes.len() + piece.len(), "{grown}");
    let mut compressor = Compressor::new(compression, Vec::new());
    compressor.write_all(bytes).expect("in memory");
    let whole = compressor.finish().expect("in memory");
    let mut again = Vec::new();
    compression.read(Cursor::new(whole)).read_to_end(&mut again).expect("what was written can be read");
    assert!(again == bytes);
}
