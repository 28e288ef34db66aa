//! Parquet files: rows as other programs wrote them, messages, and damaged files.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs::File;
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grafter::data::{
    Columns, DataError, Dataset, LabelScheme, LabelUse, LabelledFile, LabelledRows, ParquetRows, ReadOptions,
    Row, RowError, Source, Targets, TaskKind, Warning,
};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use tempfile::TempDir;

const CLASSES: TaskKind = TaskKind::Classification;
/// The names of the classes in the fixtures.
const NAMES: [&str; 3] = ["no", "yes", "maybe"];
const FIXTURE_ROWS: u64 = 60;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet").join(format!("{name}.parquet"))
}

fn columns(text: &str, text_b: Option<&str>, label: &str) -> Columns {
    Columns {
        text: Some(text.into()),
        text_b: text_b.map(str::to_owned),
        label: Some(label.into()),
        ..Columns::default()
    }
}

fn read(path: &Path, options: &ReadOptions) -> Result<Vec<Result<Row, RowError>>, DataError> {
    Ok(ParquetRows::new(&File::open(path).unwrap(), "f", options)?.collect())
}

fn rows(path: &Path, columns: Columns, labels: LabelUse) -> Vec<Result<Row, RowError>> {
    read(path, &ReadOptions { columns, labels, ..ReadOptions::default() }).unwrap()
}

/// What `reference/parquet_files.py` wrote in row `i`.
fn sentence(i: u64) -> Option<String> {
    (i % 16 != 3).then(|| format!("row {i} says ü {}", "ab".repeat((i % 5) as usize)))
}

/// The files that two other programs wrote, each with other settings, give the rows that were written.
#[test]
fn what_other_programs_wrote_is_read() {
    for name in ["snappy", "plain_pages", "lz4_v2", "gzip_delta", "split", "polars"] {
        let path = fixture(name);
        // What polars writes has no names of classes.
        let class =
            |i: u64| if name == "polars" { (i % 3).to_string() } else { NAMES[(i % 3) as usize].into() };
        for (column, label) in [
            ("label", &(|i| (i != 40).then(|| class(i))) as &dyn Fn(u64) -> Option<String>),
            ("name", &|i| Some(NAMES[(i * i % 3) as usize].to_owned())),
            ("score", &|i| Some((i as f32 / 5.0).to_string())),
            ("wide", &|i| (i % 7 != 5).then(|| (i as f64 / 3.0).to_string())),
            ("small", &|i| Some((i as i64 * 1_000_003 % 17 - 8).to_string())),
            ("truth", &|i| Some((i % 11 < 6).to_string())),
        ] {
            let read = rows(&path, columns("other", Some("sentence"), column), LabelUse::Optional);
            assert_eq!(read.len() as u64, FIXTURE_ROWS, "{name}");
            for (i, row) in (0..).zip(read) {
                let Some(sentence) = sentence(i) else {
                    let error = row.unwrap_err().to_string();
                    assert_eq!(error, format!("f:{}: `sentence` must be a string, found null", i + 1));
                    continue;
                };
                let label = if name == "polars" && column == "label" && i == 40 {
                    Some("-1".into())
                } else {
                    label(i)
                };
                let expected = Row { label, line: i + 1, ..Row::pair(format!("other {}", i % 4), sentence) };
                assert_eq!(row.unwrap(), expected, "{name}, {column}");
            }
        }
    }
}

/// A table that is written with the `parquet` crate.
struct Table {
    texts: Vec<Option<Vec<u8>>>,
    labels: Vec<Option<i64>>,
    class_names: Option<&'static str>,
}

impl Table {
    fn new(texts: &[&str], labels: &[i64]) -> Self {
        Self {
            texts: texts.iter().map(|text| Some(text.as_bytes().to_vec())).collect(),
            labels: labels.iter().copied().map(Some).collect(),
            class_names: None,
        }
    }

    fn with_classes(self, json: &'static str) -> Self {
        Self { class_names: Some(json), ..self }
    }

    fn write(&self, settings: &Settings) -> Vec<u8> {
        let schema = "message rows { optional binary sentence (UTF8); optional int64 label; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let told = |names| format!("{{\"info\":{{\"features\":{{\"label\":{{\"names\":{names}}}}}}}}}");
        let properties = WriterProperties::builder()
            .set_writer_version(settings.version)
            .set_compression(settings.compression)
            .set_dictionary_enabled(settings.dictionary)
            .set_data_page_row_count_limit(settings.page_rows)
            .set_write_batch_size(settings.page_rows)
            .set_key_value_metadata(
                self.class_names.map(|names| vec![KeyValue::new("huggingface".into(), told(names))]),
            )
            .build();
        let mut bytes = Vec::new();
        let mut file = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
        for (texts, labels) in
            self.texts.chunks(settings.group_rows).zip(self.labels.chunks(settings.group_rows))
        {
            let mut group = file.next_row_group().unwrap();
            let there = |there: bool| i16::from(there);
            let mut column = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = texts.iter().map(|text| there(text.is_some())).collect();
            let values: Vec<ByteArray> = texts.iter().flatten().map(|text| text.clone().into()).collect();
            column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
            let mut column = group.next_column().unwrap().unwrap();
            let levels: Vec<i16> = labels.iter().map(|label| there(label.is_some())).collect();
            let values: Vec<i64> = labels.iter().flatten().copied().collect();
            column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
            column.close().unwrap();
            group.close().unwrap();
        }
        file.close().unwrap();
        bytes
    }
}

#[derive(Debug, Clone)]
struct Settings {
    version: WriterVersion,
    compression: Compression,
    dictionary: bool,
    page_rows: usize,
    group_rows: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: WriterVersion::PARQUET_1_0,
            compression: Compression::SNAPPY,
            dictionary: true,
            page_rows: 1000,
            group_rows: 1000,
        }
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    let versions = prop::sample::select(vec![WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0]);
    let codecs = prop::sample::select(vec![
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(parquet::basic::GzipLevel::default()),
    ]);
    (versions, codecs, any::<bool>(), 1..20_usize, 1..50_usize).prop_map(
        |(version, compression, dictionary, page_rows, group_rows)| Settings {
            version,
            compression,
            dictionary,
            page_rows,
            group_rows,
        },
    )
}

/// Files in a folder of their own.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, content: &[u8]) -> Source {
        let path = self.0.path().join("rows.parquet");
        std::fs::write(&path, content).unwrap();
        Source::new(path)
    }

    fn message(&self, error: &DataError) -> String {
        let folder = format!("{}{}", self.0.path().display(), std::path::MAIN_SEPARATOR);
        error.to_string().replace(&folder, "")
    }
}

#[track_caller]
fn refused(table: &Table) -> (String, Option<String>) {
    let files = Files::new();
    let source = files.write(&table.write(&Settings::default()));
    let error = Dataset::read_train(&source, CLASSES).unwrap_err();
    assert_eq!(LabelledFile::read_train(&source, CLASSES).unwrap_err().to_string(), error.to_string());
    (files.message(&error), error.hint())
}

const OPINIONS: [&str; 4] = ["a good day", "a bad day", "so good", "so bad"];

#[test]
fn classes_have_the_names_and_the_order_of_the_file() {
    let table = Table::new(&OPINIONS, &[2, 0, 2, 0]).with_classes("[\"z\",\"never\",\" a \"]");
    let files = Files::new();
    let source = files.write(&table.write(&Settings::default()));
    let train = LabelledFile::read_train(&source, CLASSES).unwrap();
    let LabelScheme::Classes(set) = &train.task().scheme else { panic!("classes") };
    assert_eq!(set.names(), ["z", "a"], "in the order of the file, and those that occur");
    assert_eq!(*train.targets(), Targets::Classes(vec![1, 0, 1, 0]));
    let texts: Vec<String> = train.read().unwrap().map(|row| row.unwrap().text.clone()).collect();
    assert_eq!(texts, OPINIONS);
    let dev = Dataset::read_eval(&source, train.task()).unwrap();
    assert_eq!(dev.targets, *train.targets());
    // Without names the numbers are the labels.
    let numbers = files.write(&Table::new(&OPINIONS, &[10, 9, 10, 9]).write(&Settings::default()));
    let train = Dataset::read_train(&numbers, CLASSES).unwrap();
    let LabelScheme::Classes(set) = &train.task.scheme else { panic!("classes") };
    assert_eq!(set.names(), ["9", "10"]);
}

#[test]
fn rows_that_cannot_be_used_are_told_by_their_number() {
    let names = "[\"no\",\"yes\"]";
    let (message, hint) = refused(&Table::new(&OPINIONS, &[0, 1, -1, 0]).with_classes(names));
    assert_eq!(message, "rows.parquet:3: label `label` is -1: the row has no label");
    assert!(hint.unwrap().contains("hide their labels"));
    let (message, _) = refused(&Table::new(&OPINIONS, &[0, 1, 2, 0]).with_classes(names));
    assert_eq!(message, "rows.parquet:3: label `label` is 2, and the file names 2 classes, counted from 0");
    let mut table = Table::new(&OPINIONS, &[0, 1, 0, 1]);
    table.labels[1] = None;
    assert_eq!(refused(&table).0, "rows.parquet:2: label `label` is missing");
    table.texts[0] = None;
    assert_eq!(refused(&table).0, "rows.parquet:1: `sentence` must be a string, found null");
    table.texts[0] = Some(b" ".to_vec());
    assert_eq!(refused(&table).0, "rows.parquet:1: `sentence` is empty");
    table.texts[0] = Some(b"a\xffb".to_vec());
    assert_eq!(refused(&table).0, "rows.parquet:1: byte 2 of `sentence` (0xff) is not UTF-8");
    table.texts[0] = Some(vec![b'a'; (1 << 20) + 1]);
    assert_eq!(refused(&table).0, "rows.parquet:1: row is longer than 1048576 bytes");
    assert_eq!(refused(&Table::new(&[], &[])).0, "rows.parquet: no rows");
    for names in ["[\"a\",\"a\"]", "[\"a\",\" \"]", "[1]", "\"a\"", "["] {
        let (message, _) = refused(&Table::new(&OPINIONS, &[0, 1, 0, 1]).with_classes(names));
        let expected = "the names that the file gives the classes of `label` are no list of different texts";
        assert_eq!(message, format!("rows.parquet: {expected}"));
    }
}

#[test]
fn rows_with_an_empty_text_are_left_out_where_that_is_asked() {
    let table = Table::new(&["", "good", " ", "bad", "so"], &[0, 0, 1, 1, 0]);
    let files = Files::new();
    let source = files.write(&table.write(&Settings { page_rows: 2, ..Settings::default() }));
    let source = Source { skip_empty: true, ..source };
    let train = LabelledFile::read_train(&source, CLASSES).unwrap();
    assert_eq!(train.warnings(), [Warning::EmptyTexts { rows: 2 }]);
    assert_eq!(train.warnings()[0].to_string(), "rows with an empty text are left out: 2");
    assert_eq!(*train.targets(), Targets::Classes(vec![0, 1, 0]));
    let lines: Vec<u64> = train.read().unwrap().map(|row| row.unwrap().line).collect();
    assert_eq!(lines, [2, 4, 5]);
    assert_eq!(LabelledFile::read_eval(&source, train.task()).unwrap().warnings().len(), 1);
}

#[test]
fn without_a_need_for_labels_all_rows_are_given() {
    let table = Table::new(&OPINIONS, &[0, -1, 7, 1]).with_classes("[\"no\",\"yes\"]");
    let files = Files::new();
    let source = files.write(&table.write(&Settings::default()));
    let labels: Vec<Option<String>> =
        source.open(LabelUse::Optional).unwrap().map(|row| row.unwrap().label).collect();
    assert_eq!(labels, [Some("no".into()), None, None, Some("yes".into())]);
    // A column that can be no label is none.
    let read = rows(&fixture("snappy"), columns("other", None, "tokens"), LabelUse::Optional);
    assert!(read.into_iter().all(|row| row.unwrap().label.is_none()));
}

#[test]
fn columns_that_do_not_fit_are_told_with_those_that_there_are() {
    let message = |columns| {
        let options = ReadOptions { columns, ..ReadOptions::default() };
        ParquetRows::new(&File::open(fixture("snappy")).unwrap(), "f", &options).err().unwrap().to_string()
    };
    let all =
        "`idx`, `tokens`, `sentence`, `place`, `other`, `label`, `name`, `score`, `wide`, `small`, `truth`";
    let named = columns("review", None, "label");
    assert_eq!(message(named), format!("f: `--text-column`: no column `review`, found {all}"));
    assert_eq!(message(columns("idx", None, "label")), "f: `idx` must be a string, found a whole number");
    assert_eq!(
        message(columns("tokens", None, "label")),
        "f: `tokens` must be a string, found a list of strings"
    );
    let nested = message(columns("other", None, "place"));
    assert_eq!(nested, "f: `place` must be a string, number or Boolean, found a nested value");
}

#[test]
fn what_is_not_read_is_named() {
    let options = ReadOptions { columns: columns("other", None, "name"), ..ReadOptions::default() };
    let error = read(&fixture("zstd"), &options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "f: expected pages compressed with snappy, gzip, LZ4 or not at all, found ZSTD"
    );
    assert!(error.hint().unwrap().contains("snappy"));
    let files = Files::new();
    let refused = |content: &[u8]| {
        let error = files.write(content).open(LabelUse::Optional).err().unwrap();
        (files.message(&error), error.hint())
    };
    let text =
        "rows.parquet: expected a Parquet file, found none: `PAR1` is not at its beginning and its end";
    for content in [&b""[..], b"PAR1", b"text,label\na,1\nb,2\n"] {
        assert_eq!(refused(content).0, text);
    }
    assert_eq!(refused(b"PAR1PAR1\0\0\0\0PARE").0, "rows.parquet: the file is encrypted");
    let (message, hint) = refused(b"PAR1PAR1\xff\0\0\0PAR1");
    assert!(message.starts_with("rows.parquet: the Parquet file is damaged: "), "{message}");
    assert_eq!(hint.as_deref(), Some("fetch or write the file again"));
}

#[test]
fn a_file_that_changes_between_two_readings_is_told() {
    let files = Files::new();
    let table = Table::new(&OPINIONS, &[0, 1, 0, 1]);
    let source = files.write(&table.write(&Settings::default()));
    let train = LabelledFile::read_train(&source, CLASSES).unwrap();
    assert_eq!(train.read().unwrap().count(), 4);
    std::fs::OpenOptions::new().write(true).open(&source.files[0].path).unwrap().set_len(100).unwrap();
    let error = train.read().err().unwrap();
    assert_eq!(files.message(&error), "rows.parquet: the file changed while it was read");
}

#[test]
fn a_page_that_would_take_all_memory_is_refused() {
    let files = Files::new();
    let mut bytes = std::fs::read(fixture("glue-cola")).unwrap();
    // The header of the first page of texts: its type, then what it is when it is decompressed, which is made 2 GiB.
    assert_eq!(bytes[4..7], [0x15, 4, 0x15]);
    let end = 7 + bytes[7..].iter().position(|byte| byte & 0x80 == 0).unwrap();
    bytes.splice(7..=end, [0xfe, 0xff, 0xff, 0xff, 0x0f]);
    let error = Dataset::read_train(&files.write(&bytes), CLASSES).unwrap_err();
    assert_eq!(
        files.message(&error),
        "rows.parquet:1: the Parquet file is damaged: a page has no header that can be read, or is far more than its bytes can hold"
    );
}

/// A file without rows, whose schema has these elements in Thrift's compact protocol.
fn of_schema(elements: &[&[u8]]) -> Vec<u8> {
    let mut footer = vec![0x15, 2, 0x19, 0xfc];
    let mut left = elements.len();
    while left > 0x7f {
        footer.push(0x80 | (left & 0x7f) as u8);
        left >>= 7;
    }
    footer.push(left as u8);
    footer.extend(elements.concat());
    // No rows, no row groups.
    footer.extend([0x16, 0, 0x19, 0x0c, 0]);
    let length = (footer.len() as u32).to_le_bytes();
    [b"PAR1", &footer[..], &length, b"PAR1"].concat()
}

/// A column of texts without a name.
const COLUMN: &[u8] = &[0x15, 12, 0x25, 0, 0x18, 0, 0];

/// The crate calls itself for each level, until the stack is at its end, which ends the program.
#[test]
fn a_schema_that_is_too_deep_is_refused() {
    let files = Files::new();
    let opened = |groups: usize| {
        let group = &[0x35, 0, 0x18, 0, 0x15, 2, 0][..];
        let elements = [&vec![group; groups][..], &[COLUMN]].concat();
        files.message(&files.write(&of_schema(&elements)).open(LabelUse::Optional).err().unwrap())
    };
    assert_eq!(opened(64), "rows.parquet: no text column, found ``");
    for groups in [65, 15_000, 100_000] {
        assert_eq!(
            opened(groups),
            "rows.parquet: the Parquet file is damaged: its schema is broken, announces more than it has, or is more than 64 deep"
        );
    }
}

/// In a time that is not the square of their number.
#[test]
fn a_schema_may_have_many_columns() {
    const COLUMNS: usize = 400_000;
    let files = Files::new();
    // As many parts as columns, and the text is the last of them.
    let root = &[0x48, 0, 0x15, 0x80, 0xea, 0x30, 0][..];
    let text = &[0x15, 12, 0x25, 0, 0x18, 4, b't', b'e', b'x', b't', 0][..];
    let elements = [&[root], &vec![COLUMN; COLUMNS - 1][..], &[text]].concat();
    let rows = files.write(&of_schema(&elements)).open(LabelUse::Optional).unwrap();
    assert_eq!(rows.count(), 0);
}

#[test]
fn lists_of_a_row_have_no_more_elements_than_it_may_have() {
    let schema = "message rows { required binary text (UTF8); required group choices (LIST) \
                  { repeated group list { required binary element (UTF8); } } }";
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let files = Files::new();
    let message = |elements: usize| {
        let mut bytes = Vec::new();
        let mut file = SerializedFileWriter::new(&mut bytes, schema.clone(), Arc::default()).unwrap();
        let mut group = file.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&["t".into()], None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let (values, levels) = (vec![ByteArray::from("c"); elements], vec![1; elements]);
        let begins: Vec<i16> = (0..elements).map(|element| i16::from(element > 0)).collect();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), Some(&begins)).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        file.close().unwrap();
        let mut rows = files.write(&bytes).open(LabelUse::Choices { needed: false }).unwrap();
        rows.next().unwrap().unwrap_err().to_string().rsplit_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(message(16_384), "expected 2 to 256 choices, found 16384");
    assert_eq!(message(16_385), "`choices` has more than 16384 elements");
}

/// Reads all that can be read of a damaged file, in a file that is used again.
fn read_damaged(mut file: &File, bytes: &[u8]) -> usize {
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(bytes)).unwrap();
    // A few bytes may claim two billion rows, which is true of a file that says so with as few.
    let count = |rows: ParquetRows| rows.take(10_000).filter(|row| row.is_ok()).count();
    let options = ReadOptions { labels: LabelUse::Optional, ..ReadOptions::default() };
    ParquetRows::new(file, "f", &options).map_or(0, count)
}

/// Small files with all that is read of the format.
fn all_kinds() -> Vec<Vec<u8>> {
    let texts: Vec<String> = (0..40).map(|i| format!("text {}", i % 7)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let labels: Vec<i64> = (0..40).map(|i| i % 2).collect();
    let mut table = Table::new(&texts, &labels).with_classes("[\"no\",\"yes\"]");
    table.texts[5] = None;
    let mut files = Vec::new();
    for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
            for dictionary in [false, true] {
                let settings = Settings { version, compression, dictionary, page_rows: 16, group_rows: 25 };
                files.push(table.write(&settings));
            }
        }
    }
    files
}

#[test]
fn no_damaged_byte_is_a_panic() {
    let file = tempfile::tempfile().unwrap();
    for good in all_kinds() {
        assert_eq!(read_damaged(&file, &good), 39);
        for place in 0..good.len() {
            for value in [0, 0xff, good[place] ^ 1, good[place].wrapping_add(2)] {
                let mut bytes = good.clone();
                bytes[place] = value;
                read_damaged(&file, &bytes);
            }
        }
        for length in 0..good.len() {
            read_damaged(&file, &good[..length]);
        }
    }
}

/// 34,359,738,367 as the format writes counts and sizes: for so many values there is no memory.
#[test]
fn no_count_takes_all_memory_wherever_it_is() {
    let file = tempfile::tempfile().unwrap();
    for good in all_kinds() {
        for place in 0..good.len() - 5 {
            let mut bytes = good.clone();
            bytes[place..place + 5].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x7f]);
            read_damaged(&file, &bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_written_is_read_back(
        rows in prop::collection::vec((prop::option::weighted(0.8, "[a-cäöü ]{0,6}"), prop::option::weighted(0.8, any::<i64>())), 0..120),
        settings in settings(),
    ) {
        let table = Table {
            texts: rows.iter().map(|(text, _)| text.as_ref().map(|text| text.as_bytes().to_vec())).collect(),
            labels: rows.iter().map(|(_, label)| *label).collect(),
            class_names: None,
        };
        let files = Files::new();
        let source = files.write(&table.write(&settings));
        let read: Vec<_> = source.open(LabelUse::Optional).unwrap().collect();
        prop_assert_eq!(read.len(), rows.len());
        for (place, (row, (text, label))) in (1..).zip(read.into_iter().zip(rows)) {
            match text.filter(|text| !text.trim().is_empty()) {
                Some(text) => {
                    let label = label.map(|label| label.to_string());
                    prop_assert_eq!(row.unwrap(), Row { label, line: place, ..Row::single(text) });
                }
                None => prop_assert_eq!(row.unwrap_err().line, place),
            }
        }
    }

    #[test]
    fn no_damage_is_a_panic(
        kind in 0..8_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 1..6)), 1..4),
    ) {
        let mut bytes = all_kinds().swap_remove(kind);
        for (place, values) in damage {
            let place = place.index(bytes.len());
            let until = bytes.len().min(place + values.len());
            bytes[place..until].copy_from_slice(&values[..until - place]);
        }
        read_damaged(&tempfile::tempfile().unwrap(), &bytes);
    }
}
