//! SQuAD's one JSON document as JSON Lines: articles of paragraphs, each a context with its questions (Rajpurkar et al. 2016,
//! 2018).
//!
//! It is read as it comes, so that one paragraph is in memory at a time. Each question repeats its context, so what is written
//! may be far more than what is read: both have limits.

use std::cell::Cell;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::DataError;
use super::compressed::most_bytes;

/// Bytes of a paragraph with its questions, or of anything else that the document consists of. A context has less than
/// `MAX_ROW_BYTES`, or its questions are no rows; in memory a paragraph takes some five times its bytes.
const MOST_PART_BYTES: u64 = 8 << 20;

/// A context and its questions.
#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    /// As they are written, for values take up to 36 times as much. Checked where the line is read.
    answers: Option<Box<RawValue>>,
    is_impossible: Option<bool>,
}

/// A question as a line.
#[derive(Serialize)]
struct Line<'a> {
    question: &'a str,
    context: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Box<RawValue>>,
}

/// The questions of SQuAD's one document, each as an object of JSON Lines, in a temporary file at its beginning.
///
/// # Errors
/// [`DataError::Squad`] if the document is not one, with line and column; [`DataError::Open`] and [`DataError::Copy`] if it
/// cannot be read, or its lines not be written; [`DataError::SquadGrows`] if they would be far more than the document.
pub fn question_lines(path: &Path, document: impl Read) -> Result<File, DataError> {
    lines_within(path, document, most_bytes)
}

/// The same, with what may come of a file of a size.
fn lines_within(path: &Path, document: impl Read, most_of: fn(u64) -> u64) -> Result<File, DataError> {
    let (path, folder) = (path.to_owned(), tempfile::env::temp_dir());
    let copy = |source| DataError::Copy { path: path.clone(), folder: folder.clone(), source };
    let lines = tempfile::tempfile_in(&folder).map_err(copy)?;
    let input = Input::default();
    // What is compressed has the size of its file; of a pipe it is known as it comes.
    let size = fs::metadata(&path).ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len());
    let most = || most_of(size.unwrap_or(input.bytes.get()));
    let mut output = Output { to: BufWriter::new(lines), bytes: 0, most: &most, failed: None };
    let read = to_lines(document, &input, &mut output);
    let Output { to, bytes, failed, .. } = output;
    if let Some(source) = failed {
        let grows = bytes > most();
        return Err(if grows {
            DataError::SquadGrows { path: path.clone(), most: most() }
        } else {
            copy(source)
        });
    }
    match read {
        Err(source) if source.is_io() => return Err(DataError::Open { path, source: source.into() }),
        read => read.map_err(|source| DataError::Squad { path: path.clone(), source })?,
    }
    let mut lines = to.into_inner().map_err(|error| copy(error.into_error()))?;
    lines.rewind().map_err(copy)?;
    Ok(lines)
}

/// How much of the document was read.
#[derive(Default)]
struct Input {
    bytes: Cell<u64>,
    /// How much there was of it when the part began that is being read.
    part: Cell<u64>,
}

impl Input {
    /// Another part begins, up to what the reader holds ready.
    fn begin_part(&self) {
        self.part.set(self.bytes.get());
    }
}

struct Counted<'a, R> {
    document: R,
    input: &'a Input,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.document.read(buffer)?;
        let bytes = self.input.bytes.get() + read as u64;
        self.input.bytes.set(bytes);
        if bytes - self.input.part.get() > MOST_PART_BYTES {
            let reason = format!("a paragraph, or another part of it, has more than {MOST_PART_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(read)
    }
}

/// Where lines go, and why no more do.
struct Output<'a, W> {
    to: W,
    bytes: u64,
    /// Bytes that may be written by now.
    most: &'a dyn Fn() -> u64,
    failed: Option<io::Error>,
}

impl<W: Write> Write for Output<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes += bytes.len() as u64;
        let fits = self.bytes <= (self.most)();
        let written =
            if fits { self.to.write(bytes) } else { Err(io::Error::from(io::ErrorKind::FileTooLarge)) };
        written.map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.failed.get_or_insert(error);
            }
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes each question as an object of its own on a line.
///
/// # Errors
/// If the document is no JSON, or not of this form, with line and column; if `output` takes no more.
fn to_lines(document: impl Read, input: &Input, output: &mut dyn Write) -> serde_json::Result<()> {
    let reader = std::io::BufReader::new(Counted { document, input });
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    Part { form: Form::Document, input, output }.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// A part of the document, how much was read, and where the lines go.
struct Part<'a> {
    form: Form,
    input: &'a Input,
    output: &'a mut dyn Write,
}

/// What a part is, from the outside to the inside.
#[derive(Clone, Copy)]
enum Form {
    /// An object with a list of articles.
    Document,
    /// That list.
    Articles,
    /// An object with a list of paragraphs.
    Article,
    /// That list.
    Paragraphs,
}

impl Part<'_> {
    fn inner(&mut self, form: Form) -> Part<'_> {
        Part { form, input: self.input, output: &mut *self.output }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.form {
            Form::Document | Form::Article => deserializer.deserialize_map(self),
            Form::Articles | Form::Paragraphs => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.form {
            Form::Document => "an object with the field `data`",
            Form::Articles => "a list of articles",
            Form::Article => "an article with the field `paragraphs`",
            Form::Paragraphs => "a list of paragraphs",
        })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let (field, form) = match self.form {
            Form::Document => ("data", Form::Articles),
            Form::Article | Form::Articles | Form::Paragraphs => ("paragraphs", Form::Paragraphs),
        };
        let mut found = false;
        while let Some(name) = map.next_key::<String>()? {
            self.input.begin_part();
            if name != field {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            found = true;
            map.next_value_seed(self.inner(form))?;
        }
        if found { Ok(()) } else { Err(serde::de::Error::missing_field(field)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        match self.form {
            Form::Articles => while list.next_element_seed(self.inner(Form::Article))?.is_some() {},
            Form::Document | Form::Article | Form::Paragraphs => {
                while let Some(paragraph) = list.next_element::<Paragraph>()? {
                    self.input.begin_part();
                    write(&paragraph, self.output).map_err(serde::de::Error::custom)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes the questions of a paragraph.
fn write(paragraph: &Paragraph, output: &mut dyn Write) -> serde_json::Result<()> {
    for asked in &paragraph.qas {
        let said = if asked.is_impossible == Some(true) {
            Some("[]")
        } else {
            asked.answers.as_deref().map(RawValue::get)
        };
        // Texts have no line ends but as escapes: those between values become spaces.
        let answers = said.map(|said| RawValue::from_string(said.replace(['\r', '\n'], " "))).transpose()?;
        let line = Line { question: &asked.question, context: &paragraph.context, answers };
        serde_json::to_writer(&mut *output, &line)?;
        output.write_all(b"\n").map_err(serde_json::Error::io)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(document: &str) -> serde_json::Result<String> {
        let mut output = Vec::new();
        to_lines(document.as_bytes(), &Input::default(), &mut output)?;
        Ok(String::from_utf8(output).unwrap())
    }

    #[test]
    fn each_question_is_a_line() {
        let document = r#"{"version": "v2.0", "data": [
            {"title": "t", "paragraphs": [
                {"qas": [{"id": 1, "question": "q1", "answers": [{"text": "c", "answer_start": 0}], "is_impossible": false},
                         {"id": 2, "question": "q2", "answers": [], "plausible_answers": [{"text": "c", "answer_start": 0}], "is_impossible": true}],
                 "context": "c\nd"}]},
            {"paragraphs": []},
            {"paragraphs": [{"context": "e", "qas": [{"question": "q3"}]}]}]}"#;
        let expected = concat!(
            r#"{"question":"q1","context":"c\nd","answers":[{"text": "c", "answer_start": 0}]}"#,
            "\n",
            r#"{"question":"q2","context":"c\nd","answers":[]}"#,
            "\n",
            r#"{"question":"q3","context":"e"}"#,
            "\n"
        );
        assert_eq!(lines(document).unwrap(), expected);
    }

    /// However they are written, they are on the line of their question, and what is wrong with them is wrong with that row alone.
    #[test]
    fn answers_are_taken_as_they_are_written() {
        let document = "{\"data\": [{\"paragraphs\": [{\"context\": \"c\", \"qas\": [\
             {\"question\": \"q1\", \"answers\": [\n\t{\r\n\"text\": \"c\\n\",\n\"answer_start\": 0}\n]},\
             {\"question\": \"q2\", \"answers\": 1e999}, {\"question\": \"q3\", \"answers\": null}]}]}]}";
        let expected = [
            "{\"question\":\"q1\",\"context\":\"c\",\"answers\":[ \t{  \"text\": \"c\\n\", \"answer_start\": 0} ]}",
            "{\"question\":\"q2\",\"context\":\"c\",\"answers\":1e999}",
            "{\"question\":\"q3\",\"context\":\"c\"}",
        ];
        assert!(lines(document).unwrap().lines().eq(expected));
    }

    #[test]
    fn another_document_is_refused_with_its_place() {
        for (document, expected) in [
            ("[]", "invalid type: sequence, expected an object with the field `data` at line 1 column 1"),
            ("{}", "missing field `data` at line 1 column 2"),
            (r#"{"data": [{"title": "t"}]}"#, "missing field `paragraphs` at line 1 column 24"),
            (r#"{"data": [{"paragraphs": [{"context": "c"}]}]}"#, "missing field `qas` at line 1 column 42"),
            (r#"{"data": []} x"#, "trailing characters at line 1 column 14"),
        ] {
            assert_eq!(lines(document).unwrap_err().to_string(), expected);
        }
    }
    /// Each question has the whole context: the lines may be as many bytes as the square of the document's.
    #[test]
    fn questions_that_repeat_a_long_context_are_bounded_by_the_file() {
        let document = |questions: usize| {
            let questions = vec![r#"{"question":"q"}"#; questions].join(",");
            let context = "c".repeat(1000);
            format!(r#"{{"data":[{{"paragraphs":[{{"context":"{context}","qas":[{questions}]}}]}}]}}"#)
        };
        let (small, large) = (document(10), document(100));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.json");
        std::fs::write(&path, &large).unwrap();
        // A pipe is no file.
        for path in [&path, Path::new("-")] {
            let read = |document: &str| lines_within(path, document.as_bytes(), |size| 20 * size);
            assert_eq!(read(&small).unwrap().metadata().unwrap().len(), 10 * 1030);
            let error = read(&large).unwrap_err();
            let DataError::SquadGrows { most, .. } = error else { panic!("{error}") };
            assert_eq!(most, 20 * large.len() as u64);
        }
        assert_eq!(most_bytes(3), (16 << 20) + 3000);
    }

    /// However the document came to be as long, a part of it is in memory as a whole.
    #[test]
    fn a_part_has_a_limit() {
        let begin = &br#"{"data":[{"paragraphs":[{"context":""#[..];
        let document = || begin.chain(io::repeat(b'c'));
        let error = question_lines(Path::new("-"), document()).unwrap_err();
        let DataError::Open { source, .. } = error else { panic!("{error}") };
        assert!(source.to_string().ends_with("has more than 8388608 bytes"), "{source}");
    }
}
