//! SQuAD's one JSON document as JSON Lines: articles of paragraphs, each a context with its questions (Rajpurkar et al. 2016,
//! 2018).
//!
//! It is read as it comes, so that one paragraph is in memory at a time.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DataError;

/// A context and its questions.
#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Asked>,
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    /// Checked where the line is read.
    answers: Option<Value>,
    is_impossible: Option<bool>,
}

/// A question as a line.
#[derive(Serialize)]
struct Line<'a> {
    question: &'a str,
    context: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<&'a Value>,
}

/// The questions of SQuAD's one document, each as an object of JSON Lines, in a temporary file at its beginning.
///
/// # Errors
/// [`DataError::Squad`] if the document is not one, with line and column; [`DataError::Open`] and [`DataError::Copy`] if it
/// cannot be read, or its lines not be written.
pub fn question_lines(path: &Path, document: impl Read) -> Result<File, DataError> {
    let (path, folder) = (path.to_owned(), tempfile::env::temp_dir());
    let copy = |source| DataError::Copy { path: path.clone(), folder: folder.clone(), source };
    let lines = tempfile::tempfile_in(&folder).map_err(copy)?;
    let mut output = Output { to: BufWriter::new(lines), failed: None };
    let read = to_lines(document, &mut output);
    let Output { to, failed } = output;
    if let Some(source) = failed {
        return Err(copy(source));
    }
    match read {
        Err(source) if source.is_io() => return Err(DataError::Open { path, source: source.into() }),
        read => read.map_err(|source| DataError::Squad { path: path.clone(), source })?,
    }
    let mut lines = to.into_inner().map_err(|error| copy(error.into_error()))?;
    lines.rewind().map_err(copy)?;
    Ok(lines)
}

/// Where lines go, and why no more do.
struct Output<W> {
    to: W,
    failed: Option<io::Error>,
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes);
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
fn to_lines(input: impl Read, output: &mut dyn Write) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_reader(std::io::BufReader::new(input));
    Part::Document(output).deserialize(&mut deserializer)?;
    deserializer.end()
}

/// A part of the document, from the outside to the inside, and where the lines go.
enum Part<'a> {
    /// An object with a list of articles.
    Document(&'a mut dyn Write),
    /// That list.
    Articles(&'a mut dyn Write),
    /// An object with a list of paragraphs.
    Article(&'a mut dyn Write),
    /// That list.
    Paragraphs(&'a mut dyn Write),
}

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match &self {
            Self::Document(_) | Self::Article(_) => deserializer.deserialize_map(self),
            Self::Articles(_) | Self::Paragraphs(_) => deserializer.deserialize_seq(self),
        }
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Document(_) => "an object with the field `data`",
            Self::Articles(_) => "a list of articles",
            Self::Article(_) => "an article with the field `paragraphs`",
            Self::Paragraphs(_) => "a list of paragraphs",
        })
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let field = if matches!(self, Self::Document(_)) { "data" } else { "paragraphs" };
        let mut found = false;
        while let Some(name) = map.next_key::<String>()? {
            if name != field {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            found = true;
            map.next_value_seed(match &mut self {
                Self::Document(output) => Part::Articles(&mut **output),
                Self::Article(output) | Self::Articles(output) | Self::Paragraphs(output) => {
                    Part::Paragraphs(&mut **output)
                }
            })?;
        }
        if found { Ok(()) } else { Err(serde::de::Error::missing_field(field)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        match &mut self {
            Self::Articles(output) => {
                while list.next_element_seed(Part::Article(&mut **output))?.is_some() {}
            }
            Self::Document(output) | Self::Article(output) | Self::Paragraphs(output) => {
                while let Some(paragraph) = list.next_element::<Paragraph>()? {
                    write(&paragraph, output).map_err(serde::de::Error::custom)?;
                }
            }
        }
        Ok(())
    }
}

/// Writes the questions of a paragraph.
fn write(paragraph: &Paragraph, output: &mut dyn Write) -> serde_json::Result<()> {
    let none = Value::Array(Vec::new());
    for asked in &paragraph.qas {
        let answers = if asked.is_impossible == Some(true) { Some(&none) } else { asked.answers.as_ref() };
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
        to_lines(document.as_bytes(), &mut output)?;
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
            r#"{"question":"q1","context":"c\nd","answers":[{"text":"c","answer_start":0}]}"#,
            "\n",
            r#"{"question":"q2","context":"c\nd","answers":[]}"#,
            "\n",
            r#"{"question":"q3","context":"e"}"#,
            "\n"
        );
        assert_eq!(lines(document).unwrap(), expected);
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
}
