//! Reading rows: what is read, each error with its message, and how much input is asked for.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, BufReader, Read};

use grafter::data::{
    Columns, DataError, Format, LabelUse, ReadOptions, Row, RowError, RowErrorKind, RowReader,
};
use proptest::prelude::*;

fn options(labels: LabelUse) -> ReadOptions {
    ReadOptions { labels, ..ReadOptions::default() }
}

fn open(format: Format, input: &[u8]) -> Result<RowReader<&[u8]>, DataError> {
    RowReader::new(input, "f", format, &options(LabelUse::Required))
}

fn read(format: Format, input: &[u8]) -> Vec<Result<Row, RowError>> {
    open(format, input).unwrap().collect()
}

/// Each row as `line text|text_b=label`, each error as its message.
fn shown(rows: impl IntoIterator<Item = Result<Row, RowError>>) -> Vec<String> {
    rows.into_iter()
        .map(|row| match row {
            Ok(Row { text, text_b, label, line, .. }) => {
                let text_b = text_b.map(|text| format!("|{text}")).unwrap_or_default();
                format!("{line} {text}{text_b}={}", label.unwrap_or_default())
            }
            Err(error) => error.to_string(),
        })
        .collect()
}

#[track_caller]
fn assert_rows(format: Format, input: &[u8], expected: &[&str]) {
    assert_eq!(shown(read(format, input)), expected);
}

#[track_caller]
fn assert_refused(format: Format, input: &[u8], message: &str, hint: &str) {
    let error = open(format, input).err().expect("the header cannot be used");
    assert_eq!(error.to_string(), message);
    assert!(error.hint().unwrap_or_default().contains(hint), "{:?}", error.hint());
}

#[test]
fn byte_order_mark_and_line_ends_are_not_data() {
    for input in
        ["sentence\tlabel\na b\t1\n", "\u{feff}sentence\tlabel\r\na b\t1\r\n", "sentence\tlabel\r\na b\t1"]
    {
        assert_rows(Format::Tsv, input.as_bytes(), &["2 a b=1"]);
    }
    assert_rows(Format::Csv, "\u{feff}\"text\",label\r\n\"a,b\",1".as_bytes(), &["2 a,b=1"]);
    assert_rows(Format::Jsonl, "\u{feff}{\"text\":\"a\",\"label\":true}\r\n".as_bytes(), &["1 a=true"]);
}

#[test]
fn tsv_quotes_are_plain_characters() {
    assert_rows(Format::Tsv, b"sentence\tlabel\n\"a\tx\nb\"\"\ty\n", &["2 \"a=x", "3 b\"\"=y"]);
}

#[test]
fn pairs_and_other_columns() {
    let input = b"id,sentence2,label,sentence1\n7,b,x,a\n";
    assert_rows(Format::Csv, input, &["2 a|b=x"]);
    assert_eq!(open(Format::Csv, input).unwrap().is_pair(), Some(true));
}

#[test]
fn a_csv_row_has_the_line_it_starts_on() {
    let input = b"text,label\n\"a\n\nb\",x\nc,y\n";
    assert_rows(Format::Csv, input, &["2 a\n\nb=x", "5 c=y"]);
}

#[test]
fn labels_and_column_names_are_trimmed_and_texts_are_not() {
    assert_rows(Format::Csv, b"text, label\n a , x \n", &["2  a =x"]);
}

#[test]
fn blank_lines_are_skipped_where_they_cannot_be_a_text() {
    assert_rows(Format::Tsv, b"text\tlabel\n\na\tx\n\n", &["3 a=x"]);
    assert_rows(Format::Jsonl, b"\n{\"text\":\"a\",\"label\":1}\n \n", &["2 a=1"]);
    let one_column = RowReader::new(&b"text\na\n\n"[..], "f", Format::Tsv, &options(LabelUse::Optional));
    assert_eq!(shown(one_column.unwrap()), ["2 a=", "f:3: `text` is empty"]);
    let lines = RowReader::new(&b"a\n\nb"[..], "f", Format::Lines, &options(LabelUse::Optional));
    assert_eq!(shown(lines.unwrap()), ["1 a=", "f:2: `text` is empty", "3 b="]);
}

#[test]
fn a_bad_row_is_an_error_and_reading_goes_on() {
    let input = b"sentence\tlabel\na\nb\t1\tc\n \t1\nd\t \n\xff\t1\ne\t1\n";
    let expected = [
        "f:2: expected 2 fields, found 1",
        "f:3: expected 2 fields, found 3",
        "f:4: `sentence` is empty",
        "f:5: label `label` is missing",
        "f:6: byte 1 of the line (0xff) is not UTF-8",
        "7 e=1",
    ];
    assert_rows(Format::Tsv, input, &expected);
    let input =
        b"{\"text\":\"a\"}\n{\"text\":\"\",\"label\":1}\n{\"text\":\nx\n{\"text\":\"b\",\"label\":null}\n\
                  {\"text\":\"c\",\"label\":0.5}\n";
    let expected = [
        "f:1: label `label` is missing",
        "f:2: `text` is empty",
        "f:3: not a JSON object, at byte 8: EOF while parsing a value",
        "f:4: not a JSON object, at byte 1: expected value",
        "f:5: `label` must be a string, number or Boolean, found null",
        "6 c=0.5",
    ];
    let shown: Vec<String> = shown(read(Format::Jsonl, input));
    assert_eq!(shown.len(), expected.len());
    for (found, expected) in shown.iter().zip(expected) {
        assert_eq!(found, expected);
    }
}

#[test]
fn damaged_quotes_are_never_read_as_one_long_text() {
    let input = b"text,label\n\"a,1\n\"b\",1\nc,2\n\"d\" e,3\n\"f\n";
    let expected = [
        "f:2: a quote opened on this line is closed on line 3 with text after it",
        "4 c=2",
        "f:5: a quote opened on this line is closed on line 5 with text after it",
        "f:6: a quote opened on this line is never closed: all to line 6 is one unfinished row",
    ];
    assert_rows(Format::Csv, input, &expected);
    let hints: Vec<_> = read(Format::Csv, input).into_iter().filter_map(|row| row.err()?.hint()).collect();
    assert!(hints.len() == 3 && hints.iter().all(|hint| hint.contains("--format tsv")), "{hints:?}");
}

#[test]
fn a_bad_byte_in_a_quoted_field_rejects_the_whole_row() {
    let input = b"text,label\n\"a\n\xe9\nb\",1\nc,2\n";
    assert_rows(Format::Csv, input, &["f:3: byte 1 of the line (0xe9) is not UTF-8", "5 c=2"]);
}

#[test]
fn field_count_hints_at_the_other_format() {
    let hint = |format, input| read(format, input).remove(0).unwrap_err().hint().unwrap();
    assert!(hint(Format::Csv, b"text,label\na,b,1\n").contains("between quotes"));
    assert!(hint(Format::Tsv, b"text\tlabel\na\tb\t1\n").contains("cannot hold a tab"));
}

#[test]
fn a_header_that_cannot_be_used_ends_it() {
    assert_refused(Format::Csv, b"", "f: no rows", "");
    let columns = "f:1: no text column, found `review`, `label`";
    assert_refused(Format::Csv, b"review,label\na,1\n", columns, "--text-column");
    let columns = "f:1: no label column `label`, found `text`, `stars`";
    assert_refused(Format::Csv, b"text,stars\na,1\n", columns, "--label-column");
    let columns = "f:1: cannot tell the text column, found `text`, `sentence`, `label`";
    assert_refused(Format::Tsv, b"text\tsentence\tlabel\n", columns, "--text-column");
    assert_refused(Format::Tsv, b"t\xffxt\n", "f:1: byte 2 of the line (0xff) is not UTF-8", "iconv");
    assert_refused(Format::Tsv, b"\xff\xfet\0e\0", "f:1: expected UTF-8, found UTF-16", "iconv");
    assert_refused(
        Format::Csv,
        b"\"text",
        "f:1: a quote opened on this line is never closed: all to line 1 is one unfinished row",
        "written twice",
    );
    assert_refused(Format::Lines, b"a\n", "f: the format `lines` has no labels", "--format csv");
    let named = ReadOptions {
        columns: Columns { text: Some("t".into()), ..Columns::default() },
        ..options(LabelUse::Optional)
    };
    let error = RowReader::new(&b"a\n"[..], "f", Format::Lines, &named).err().unwrap();
    assert_eq!(error.to_string(), "f:1: `--text-column`: the format `lines` has no named columns");
}

#[test]
fn what_a_message_quotes_is_short_and_printable() {
    let long = format!("a\u{1b}[31m{}\n", "x".repeat(1000));
    let message = open(Format::Csv, long.as_bytes()).err().unwrap().to_string();
    assert!(
        message.contains("\\u{1b}[31mxxx") && message.ends_with("…`") && message.len() < 200,
        "{message}"
    );
    let many: Vec<String> = (0..100).map(|number| format!("c{number}")).collect();
    let message = open(Format::Csv, many.join(",").as_bytes()).err().unwrap().to_string();
    assert!(message.ends_with("`c10`, `c11` and 88 more"), "{message}");
}

#[test]
fn labels_are_optional_in_prediction() {
    let optional =
        |format, input| shown(RowReader::new(input, "f", format, &options(LabelUse::Optional)).unwrap());
    assert_eq!(optional(Format::Tsv, &b"text\tlabel\na\t\nb\tx\n"[..]), ["2 a=", "3 b=x"]);
    assert_eq!(optional(Format::Csv, &b"sentence1,sentence2\na,b\n"[..]), ["2 a|b="]);
    assert_eq!(
        optional(Format::Jsonl, &b"{\"text\":\"a\",\"label\":[1]}\n{\"text\":\"b\"}"[..]),
        ["1 a=", "2 b="]
    );
}

#[test]
fn a_row_over_the_limit_is_an_error_and_reading_goes_on() {
    let limited = |format, input: &'static [u8]| {
        let options = ReadOptions { max_row_bytes: 12, ..options(LabelUse::Required) };
        shown(RowReader::new(input, "f", format, &options).unwrap())
    };
    let too_long = "f:2: row is longer than 12 bytes";
    assert_eq!(limited(Format::Tsv, b"text\tlabel\n1234567890123\t1\nab\t1\n"), [too_long, "3 ab=1"]);
    // A quote that stays open is cut off by the limit and not by the end of the input.
    assert_eq!(limited(Format::Csv, b"text,label\n\"1234567\n890123\nab,1\n"), [too_long, "4 ab=1"]);
}

#[test]
fn an_endless_line_is_an_error_and_not_endless_memory() {
    let options = ReadOptions { max_row_bytes: 1000, ..options(LabelUse::Optional) };
    for format in [Format::Lines, Format::Jsonl] {
        let input = BufReader::new(io::repeat(b'a'));
        let error = RowReader::new(input, "-", format, &options).unwrap().next().unwrap().unwrap_err();
        assert_eq!(error.to_string(), "-:1: row is longer than 1000 bytes");
    }
}

/// Gives its parts one by one, and fails when asked for more.
struct Parts(std::vec::IntoIter<&'static [u8]>);

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self.0.next().ok_or_else(|| io::Error::other("asked for more than needed"))?;
        buffer[..part.len()].copy_from_slice(part);
        Ok(part.len())
    }
}

#[test]
fn a_row_is_yielded_when_its_line_is_complete() {
    let cases: [(Format, Vec<&'static [u8]>); 4] = [
        (Format::Csv, vec![b"text\n", b"a\r\n", b"\"b", b"\n\"\n"]),
        (Format::Tsv, vec![b"text\r", b"\n", b"a\n", b"b\n"]),
        (Format::Jsonl, vec![b"{\"text\":", b"\"a\"}\n", b"{\"text\":\"b\"}\n"]),
        (Format::Lines, vec![b"a\n", b"b", b"\n"]),
    ];
    for (format, parts) in cases {
        let input = BufReader::new(Parts(parts.into_iter()));
        let mut reader = RowReader::new(input, "-", format, &options(LabelUse::Optional)).unwrap();
        assert_eq!(reader.next().unwrap().unwrap().text, "a", "{format}");
        assert_eq!(reader.next().unwrap().unwrap().text.trim_end(), "b", "{format}");
        let error = reader.next().unwrap().unwrap_err();
        assert!(matches!(error.kind, RowErrorKind::Io(_)), "{error}");
        assert!(reader.next().is_none(), "nothing is read after the input failed");
    }
}

/// Text that is not blank; any characters but those that a format cannot hold.
fn text(without: &'static [char]) -> impl Strategy<Value = String> {
    let any_text = prop_oneof![any::<String>(), "[\",\n\r\t a\\\\é]{1,12}"];
    any_text
        .prop_map(move |text| text.replace(without, ""))
        .prop_filter("a blank text is an error", |text| !text.trim().is_empty())
}

type TextRow = (String, String, String);

fn rows(without: &'static [char]) -> impl Strategy<Value = Vec<TextRow>> {
    let label = text(without).prop_map(|label| label.trim().to_owned());
    prop::collection::vec((text(without), text(without), label), 1..6)
}

fn read_back(format: Format, bytes: &[u8]) -> Vec<TextRow> {
    let whole = read(format, bytes).into_iter().map(Result::unwrap);
    whole.map(|row| (row.text, row.text_b.unwrap(), row.label.unwrap())).collect()
}

proptest! {
    #[test]
    fn csv_written_by_the_csv_crate_is_read_back(rows in rows(&[]), crlf in any::<bool>()) {
        let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().terminator(terminator).from_writer(Vec::new());
        writer.write_record(["sentence1", "sentence2", "label"]).unwrap();
        for (a, b, label) in &rows {
            writer.write_record([a, b, label]).unwrap();
        }
        prop_assert_eq!(read_back(Format::Csv, &writer.into_inner().unwrap()), rows);
    }

    #[test]
    fn what_is_read_as_csv_is_what_the_csv_crate_reads(input in "[ab\",\n]{0,30}") {
        // Where the strict reader has no objection, the crate must agree, blank lines and their like aside.
        let input = format!("text,label\n{input}\n");
        let ours: Result<Vec<Row>, _> = read(Format::Csv, input.as_bytes()).into_iter().collect();
        if let Ok(ours) = ours {
            let mut theirs = csv::Reader::from_reader(input.as_bytes());
            let theirs: Vec<_> = theirs.records().map(|record| record.unwrap()).collect();
            prop_assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                prop_assert_eq!(&ours.text, &theirs[0]);
                prop_assert_eq!(ours.label.as_deref(), Some(theirs[1].trim()));
            }
        }
    }

    #[test]
    fn tsv_is_read_back(rows in rows(&['\t', '\n', '\r']), crlf in any::<bool>()) {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut input = format!("sentence1\tsentence2\tlabel{end}");
        for (a, b, label) in &rows {
            input.push_str(&format!("{a}\t{b}\t{label}{end}"));
        }
        prop_assert_eq!(read_back(Format::Tsv, input.as_bytes()), rows);
    }

    #[test]
    fn json_lines_are_read_back(rows in rows(&[])) {
        let mut input = String::new();
        for (a, b, label) in &rows {
            let object = serde_json::json!({"text_a": a, "text_b": b, "label": label});
            input.push_str(&format!("{object}\n"));
        }
        prop_assert_eq!(read_back(Format::Jsonl, input.as_bytes()), rows);
    }

    #[test]
    fn plain_lines_are_read_back(rows in prop::collection::vec(text(&['\n', '\r', '\u{feff}']), 1..6)) {
        let reader = RowReader::new(BufReader::new(io::Cursor::new(rows.join("\n"))), "f", Format::Lines,
            &options(LabelUse::Optional)).unwrap();
        let texts: Vec<String> = reader.map(|row| row.unwrap().text).collect();
        prop_assert_eq!(texts, rows);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic_whatever_the_buffer(
        format in prop::sample::select(vec![Format::Csv, Format::Tsv, Format::Jsonl, Format::Lines]),
        header in any::<bool>(),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "[ab\",\n\r\té{}:\\[\\]]{0,200}".prop_map(String::into_bytes),
            "(\\{\"text\":[\"a1n]{0,4}(,\"label\":[\"a1]{0,3})?\\}\n){0,6}".prop_map(String::into_bytes),
        ],
        capacity in 1_usize..9,
    ) {
        let mut input = match (header, format) {
            (true, Format::Csv) => b"text,label\n".to_vec(),
            (true, Format::Tsv) => b"text\tlabel\n".to_vec(),
            _ => Vec::new(),
        };
        input.extend(body);
        let options = ReadOptions { max_row_bytes: 60, ..options(LabelUse::Optional) };
        let outcome = |capacity| {
            let input = BufReader::with_capacity(capacity, input.as_slice());
            match RowReader::new(input, "f", format, &options) {
                Ok(reader) => reader.map(|row| format!("{row:?}")).collect(),
                Err(error) => vec![format!("{error:?}")],
            }
        };
        let found: Vec<String> = outcome(capacity);
        prop_assert!(found.len() <= input.split(|byte| *byte == b'\n').count());
        prop_assert_eq!(found, outcome(4096));
    }
}
