//! Rows out of a stream, one at a time.
//!
//! A row is yielded as soon as its line is complete, and no byte past it is waited for; what is held is bounded by
//! [`ReadOptions::max_row_bytes`]. A row that cannot be used is an error in its place, and the next call goes on with
//! the row after it. Nothing is decided here about the rows as a whole: that is `Dataset`'s.

use std::io::BufRead;
use std::sync::Arc;

use super::choices::check_count;
use super::columns::{find_choices, find_label, find_texts_for, not_twice};
use super::conll::{self, Sentence};
use super::csv::{Fed, Record, content};
use super::json::{self, Content, TextFields};
use super::labels::join;
use super::lines::{LineRead, Lines};
use super::tags::join_tags;
use super::{Columns, DataError, Format, LabelUse, ReadOptions, Row, RowError, RowErrorKind, TaskKind};
use super::{choices, questions};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// An iterator over the rows of any `BufRead`.
///
/// Lines that are entirely empty are skipped in JSON Lines, and in CSV and TSV with more than one column; with one
/// column, and in plain lines, they are rows with an empty text and so errors. Texts are kept as they are, white
/// space included; white space around column names and labels is not.
///
/// The iterator ends at the end of the input, or after an error of the input itself ([`RowErrorKind::Io`]).
pub struct RowReader<R> {
    lines: Lines<R>,
    file: Arc<str>,
    format: Format,
    options: ReadOptions,
    header: Header,
    line_buffer: Vec<u8>,
    record: Record,
    ended: bool,
}

/// What is known of the columns.
enum Header {
    Delimited {
        names: Vec<String>,
        text: usize,
        text_b: Option<usize>,
        choices: Vec<usize>,
        label: Option<usize>,
    },
    Json(Option<TextFields>),
    Lines,
}

impl<R: BufRead> RowReader<R> {
    /// Starts reading `input`, which messages call `name`; of CSV and TSV the header is read now.
    ///
    /// # Errors
    /// A header that is absent, cannot be read or does not name the columns that are needed; labels or columns
    /// asked of plain lines; Parquet, which is no text
    /// ([`ParquetRows`](super::ParquetRows)).
    pub fn new(
        input: R,
        name: impl Into<Arc<str>>,
        format: Format,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        let mut reader = Self {
            lines: Lines::new(input),
            file: name.into(),
            format,
            options: options.clone(),
            header: Header::Lines,
            line_buffer: Vec::new(),
            record: Record::default(),
            ended: false,
        };
        if matches!(options.labels, LabelUse::Tags { .. }) {
            check_words(format, &reader.file)?;
        }
        check_kind(format, options.labels, &reader.file)?;
        reader.header = match format {
            Format::Csv | Format::Tsv => reader.read_header()?,
            Format::Squad if !matches!(options.labels, LabelUse::Answers { .. }) => {
                return Err(DataError::OnlyQuestions { file: reader.file });
            }
            Format::Jsonl | Format::Squad => Header::Json(None),
            Format::Parquet => return Err(DataError::NoText { file: reader.file }),
            Format::Conll if !matches!(options.labels, LabelUse::Tags { .. } | LabelUse::Optional) => {
                return Err(DataError::OnlyTags { file: reader.file });
            }
            Format::Conll => {
                let named = Columns { tag_scheme: None, ..options.columns.clone() };
                reader.without_columns(&named)?
            }
            Format::Lines if options.labels != LabelUse::Optional => {
                return Err(DataError::LinesWithoutLabels { file: reader.file });
            }
            Format::Lines => reader.without_columns(&options.columns)?,
        };
        Ok(reader)
    }

    /// The name of the input, as messages give it.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// The format of the input.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether rows are pairs of texts; not known before the first good row of JSON Lines.
    pub fn is_pair(&self) -> Option<bool> {
        match &self.header {
            Header::Delimited { text_b, .. } => Some(text_b.is_some()),
            Header::Json(fields) => fields.as_ref().map(|fields| fields.text_b.is_some()),
            Header::Lines => Some(false),
        }
    }

    /// The names of the columns of the texts and of the labels; none where rows tell them.
    pub(super) fn columns(&self) -> (Vec<String>, Option<String>) {
        match &self.header {
            Header::Delimited { names, text, text_b, choices, label } => {
                let texts = [text].into_iter().chain(text_b).chain(choices);
                (texts.map(|place| names[*place].clone()).collect(), label.map(|place| names[place].clone()))
            }
            Header::Json(_) | Header::Lines => (Vec::new(), None),
        }
    }

    /// Holds the rows to the fields of the rows of `earlier`, where these told them.
    pub(super) fn follow(&mut self, earlier: &Self) {
        if let (Header::Json(fields), Header::Json(known @ Some(_))) = (&mut self.header, &earlier.header) {
            fields.clone_from(known);
        }
    }

    /// The header of a format without one; no column can be asked of it.
    fn without_columns(&self, named: &Columns) -> Result<Header, DataError> {
        let no_columns = |flag| super::ColumnError::NoColumns { flag, format: self.format };
        named.first_flag().map_or(Ok(Header::Lines), |flag| Err(self.column_error(no_columns(flag))))
    }

    fn read_header(&mut self) -> Result<Header, DataError> {
        match self.read_record() {
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error.into()),
            None => return Err(DataError::Empty { file: self.file.clone() }),
        }
        let names: Vec<String> = self.record.fields().map(|name| name.trim().to_owned()).collect();
        let found: Vec<&str> = names.iter().map(String::as_str).collect();
        let columns = &self.options.columns;
        let labels = self.options.labels;
        let places = find_texts_for(&found, columns, labels).and_then(|texts| {
            let choices = match labels {
                LabelUse::Choices { .. } => {
                    let choices = find_choices(&found, columns)?;
                    not_twice(&found, columns, (&[Some(texts.text), texts.text_b], &choices))?;
                    choices
                }
                _ => Vec::new(),
            };
            Ok((texts, choices, find_label(&found, columns, labels)?))
        });
        let (texts, choices, label) = places.map_err(|error| self.column_error(error))?;
        if let [only] = choices[..] {
            let error = super::ColumnError::NoList { name: names[only].clone(), format: self.format };
            return Err(self.column_error(error));
        }
        Ok(Header::Delimited { text: texts.text, text_b: texts.text_b, choices, label, names })
    }

    /// Reads one record of CSV or TSV and gives the line it starts on.
    fn read_record(&mut self) -> Option<Result<u64, RowError>> {
        self.record.clear();
        let mut start = None;
        let mut bytes = 0;
        // A line that is not UTF-8 may stand inside a quoted field: the record is read to its end all the same.
        let mut bad_line = None;
        loop {
            let limit_bytes = self.options.max_row_bytes;
            match self.read_line(limit_bytes - bytes) {
                Ok(LineRead::Line) => {}
                Ok(LineRead::TooLong) => {
                    let line = start.unwrap_or(self.lines.line());
                    return Some(Err(self.error(line, RowErrorKind::TooLong { limit_bytes })));
                }
                Ok(LineRead::End) => {
                    start?;
                    let last_line = self.lines.line();
                    let kind = RowErrorKind::UnterminatedQuote { last_line };
                    return Some(Err(self.error(self.record.quote_line(), kind)));
                }
                Err(kind) => return Some(Err(self.error(self.lines.line(), kind))),
            }
            bytes += self.line_buffer.len();
            let number = self.lines.line();
            let start = *start.get_or_insert(number);
            let line = match std::str::from_utf8(&self.line_buffer) {
                Ok(line) => line.into(),
                Err(error) => {
                    bad_line.get_or_insert((number, not_utf8(&self.line_buffer, &error)));
                    String::from_utf8_lossy(&self.line_buffer)
                }
            };
            let fed = if self.format == Format::Csv {
                self.record.feed_csv(&line, number)
            } else {
                self.record.feed_tsv(&line);
                Fed::Complete
            };
            drop(line);
            match (fed, bad_line.take()) {
                (Fed::Open, kept) => bad_line = kept,
                (_, Some((line, kind))) => return Some(Err(self.error(line, kind))),
                (Fed::Complete, None) => return Some(Ok(start)),
                (Fed::TextAfterQuote, None) => {
                    let kind = RowErrorKind::TextAfterQuote { closed_line: number };
                    return Some(Err(self.error(self.record.quote_line(), kind)));
                }
            }
        }
    }

    fn next_delimited(&mut self) -> Option<Result<Row, RowError>> {
        loop {
            let line = match self.read_record()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            match self.delimited_row(line) {
                Ok(None) => {}
                Ok(Some(row)) => return Some(Ok(row)),
                Err(kind) => return Some(Err(self.error(line, kind))),
            }
        }
    }

    /// The row of the record that was read, or nothing for a blank line.
    fn delimited_row(&self, line: u64) -> Result<Option<Row>, RowErrorKind> {
        let Header::Delimited { names, text, text_b, choices, label } = &self.header else {
            unreachable!("only CSV and TSV have records, and they have a header");
        };
        let (expected, found) = (names.len(), self.record.len());
        if expected != found {
            let error = RowErrorKind::FieldCount { expected, found, format: self.format };
            return if self.record.is_blank() { Ok(None) } else { Err(error) };
        }
        let text_at = |place: usize| {
            let text = self.record.field(place).unwrap_or_default();
            not_empty(text.to_owned(), &names[place])
        };
        let first = text_at(*text)?;
        let text_b = text_b.map(text_at).transpose()?;
        let choices = choices.iter().map(|place| text_at(*place)).collect::<Result<Vec<String>, _>>()?;
        if !choices.is_empty() {
            check_count(choices.len())?;
        }
        let label_text = label.and_then(|place| self.record.field(place)).map(str::to_owned);
        let label = match self.options.labels {
            LabelUse::Several { separator, .. } => {
                label_text.map_or(Ok(None), |cell| join(cell.split(separator)))?
            }
            _ => self.clean_label(label_text)?,
        };
        Ok(Some(Row { text_b, choices, label, line, ..Row::single(first) }))
    }

    fn next_json(&mut self) -> Option<Result<Row, RowError>> {
        loop {
            let (line, text) = match self.next_text()? {
                Ok(found) => found,
                Err(error) => return Some(Err(error)),
            };
            if !text.trim().is_empty() {
                return Some(self.json_row(text.trim_end(), line).map_err(|kind| self.error(line, kind)));
            }
        }
    }

    fn json_row(&mut self, text: &str, line: u64) -> Result<Row, RowErrorKind> {
        let Header::Json(fields) = &mut self.header else {
            unreachable!("only JSON Lines has objects");
        };
        let columns = &self.options.columns;
        match self.options.labels {
            LabelUse::Answers { needed } => return questions::parse(text, (columns, needed), line),
            LabelUse::Choices { needed } => return choices::parse(text, (columns, needed), line),
            _ => {}
        }
        let row = json::parse(text, columns, self.options.labels, fields)?;
        let (name, name_b) = match fields {
            Some(fields) => (fields.text.as_str(), fields.text_b.as_deref().unwrap_or_default()),
            None => ("", ""),
        };
        let (text, label) = match row.content {
            Content::Words { words, tags } => {
                if words.is_empty() {
                    return Err(RowErrorKind::EmptyText { column: name.to_owned() });
                }
                return words_row(&words, tags, (self.options.labels, line)).map_err(|(_, kind)| kind);
            }
            Content::Text { text, label } => (text, label),
        };
        let text = not_empty(text, name)?;
        let text_b = row.text_b.map(|text| not_empty(text, name_b)).transpose()?;
        let label = match self.options.labels {
            LabelUse::Several { .. } => label,
            _ => self.clean_label(label)?,
        };
        Ok(Row { text_b, label, line, ..Row::single(text) })
    }

    /// The next sentence; after a line that cannot be used, the rest of its sentence is left out.
    fn next_sentence(&mut self) -> Option<Result<Row, RowError>> {
        let limit_bytes = self.options.max_row_bytes;
        let tagged = self.options.labels.is_needed();
        let (mut sentence, mut bad) = (Sentence::default(), None);
        while let Some(read) = self.next_text() {
            let (line, text) = match read {
                Ok(read) => read,
                Err(error) if self.ended => return Some(Err(error)),
                Err(error) => {
                    bad.get_or_insert(error);
                    continue;
                }
            };
            let fed = match &bad {
                None => sentence.feed(&text, line, tagged),
                // What ends a sentence, and nothing else of it.
                Some(_) => Sentence::default().feed(&text, line, false),
            };
            match fed {
                Ok(conll::Fed::End) if sentence.is_empty() && bad.is_none() => {}
                Ok(conll::Fed::End) => break,
                Ok(conll::Fed::Word) if sentence.bytes > limit_bytes => {
                    sentence = Sentence::default();
                    bad.get_or_insert_with(|| self.error(line, RowErrorKind::TooLong { limit_bytes }));
                }
                Ok(conll::Fed::Word) => {}
                Err(kind) => drop(bad.get_or_insert_with(|| self.error(line, kind))),
            }
        }
        match bad {
            Some(error) => return Some(Err(error)),
            None if sentence.is_empty() => return None,
            None => {}
        }
        let tags: Vec<String> = sentence.tags().into_iter().map(str::to_owned).collect();
        let tags = (!tags.is_empty()).then_some(tags);
        let row = words_row(sentence.words(), tags, (self.options.labels, sentence.line));
        Some(row.map_err(|(word, kind)| self.error(sentence.line + word as u64, kind)))
    }

    fn next_plain(&mut self) -> Option<Result<Row, RowError>> {
        let (line, text) = match self.next_text()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let text = not_empty(content(&text).to_owned(), "text").map_err(|kind| self.error(line, kind));
        Some(text.map(|text| Row { line, ..Row::single(text) }))
    }

    /// The next line as text, with its number.
    fn next_text(&mut self) -> Option<Result<(u64, String), RowError>> {
        let limit_bytes = self.options.max_row_bytes;
        let read = self.read_line(limit_bytes);
        let line = self.lines.line();
        let kind = match read {
            Ok(LineRead::End) => return None,
            Ok(LineRead::Line) => match std::str::from_utf8(&self.line_buffer) {
                Ok(text) => return Some(Ok((line, text.to_owned()))),
                Err(error) => not_utf8(&self.line_buffer, &error),
            },
            Ok(LineRead::TooLong) => RowErrorKind::TooLong { limit_bytes },
            Err(kind) => kind,
        };
        Some(Err(self.error(line, kind)))
    }

    /// Reads a line into the buffer, without the byte order mark of the first.
    fn read_line(&mut self, limit: usize) -> Result<LineRead, RowErrorKind> {
        self.line_buffer.clear();
        let read = self.lines.read(&mut self.line_buffer, limit).map_err(|error| {
            self.ended = true;
            RowErrorKind::Io(error)
        })?;
        if self.lines.line() == 1 {
            if self.line_buffer.starts_with(b"\xFF\xFE") || self.line_buffer.starts_with(b"\xFE\xFF") {
                self.ended = true;
                return Err(RowErrorKind::Utf16);
            }
            if self.line_buffer.starts_with(BOM) {
                self.line_buffer.drain(..BOM.len());
            }
        }
        Ok(read)
    }

    fn clean_label(&self, label: Option<String>) -> Result<Option<String>, RowErrorKind> {
        let label = label.map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
        match (label, self.options.labels) {
            (None, LabelUse::Required | LabelUse::Choices { needed: true }) => {
                Err(RowErrorKind::MissingLabel { column: self.options.columns.label_name().to_owned() })
            }
            (label, _) => Ok(label),
        }
    }

    fn error(&self, line: u64, kind: RowErrorKind) -> RowError {
        RowError { file: self.file.clone(), line, kind }
    }

    fn column_error(&self, error: super::ColumnError) -> DataError {
        DataError::Columns { file: self.file.clone(), error }
    }
}

impl<R: BufRead> Iterator for RowReader<R> {
    type Item = Result<Row, RowError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        match self.format {
            Format::Csv | Format::Tsv => self.next_delimited(),
            Format::Jsonl | Format::Squad => self.next_json(),
            Format::Conll => self.next_sentence(),
            Format::Lines => self.next_plain(),
            Format::Parquet => None,
        }
    }
}

/// A row of words; an error comes with the place of the word that it is of.
pub(super) fn words_row(
    words: &[impl AsRef<str>],
    tags: Option<Vec<String>>,
    (labels, line): (LabelUse, u64),
) -> Result<Row, (usize, RowErrorKind)> {
    if let Some(word) = words.iter().position(|word| word.as_ref().trim().is_empty()) {
        return Err((word, RowErrorKind::EmptyWord { word: word + 1 }));
    }
    let label = match (labels, tags) {
        (LabelUse::Tags { scheme, .. }, Some(tags)) => {
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            Some(join_tags(&tags, words.len(), scheme)?)
        }
        (LabelUse::Tags { needed: true, .. }, None) => return Err((0, RowErrorKind::NoTag { word: 1 })),
        _ => None,
    };
    Ok(Row { label, line, ..Row::of_words(words.iter().map(|word| word.as_ref().trim())) })
}

/// That the format can have choices, or questions with their contexts; and answers, where these must be known.
fn check_kind(format: Format, labels: LabelUse, file: &Arc<str>) -> Result<(), DataError> {
    let (kind, read) = match labels {
        LabelUse::Answers { needed: true } => {
            (TaskKind::QuestionAnswering, matches!(format, Format::Jsonl | Format::Squad))
        }
        LabelUse::Answers { needed: false } => (TaskKind::QuestionAnswering, format != Format::Lines),
        LabelUse::Choices { .. } => (TaskKind::MultipleChoice, format != Format::Lines),
        _ => return Ok(()),
    };
    if read { Ok(()) } else { Err(DataError::NotOfKind { file: file.clone(), format, kind }) }
}

/// That a format can hold words with tags.
fn check_words(format: Format, file: &Arc<str>) -> Result<(), DataError> {
    match format {
        Format::Conll | Format::Jsonl | Format::Parquet => Ok(()),
        Format::Csv | Format::Tsv | Format::Lines | Format::Squad => {
            Err(DataError::NoWords { file: file.clone(), format })
        }
    }
}

pub(super) fn not_empty(text: String, column: &str) -> Result<String, RowErrorKind> {
    if text.trim().is_empty() { Err(RowErrorKind::EmptyText { column: column.to_owned() }) } else { Ok(text) }
}

fn not_utf8(line: &[u8], error: &std::str::Utf8Error) -> RowErrorKind {
    let offset = error.valid_up_to();
    RowErrorKind::NotUtf8 { offset: offset + 1, byte: line.get(offset).copied().unwrap_or_default() }
}
