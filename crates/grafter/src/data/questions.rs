//! Questions on a context that are answered with a part of it: one JSON object, or what a table holds of one, to one row.
//!
//! The answers of an object are lists, `{"text": [..], "answer_start": [..]}`, or a list of objects with these two, as in SQuAD
//! (Rajpurkar et al. 2016). A start counts characters. An answer that does not stand where it should is refused: where
//! else it may be meant is not known.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::columns::find_texts_for;
use super::json::bad_json;
use super::reader::not_empty;
use super::{Columns, LabelUse, MAX_CLASSES, Row, RowErrorKind};

/// A question's context and its right answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What the answers are parts of; questions one after another on the same context share it.
    pub context: Arc<str>,
    /// The bytes of each right answer; none of them where the context does not answer the question.
    pub answers: Vec<Range<usize>>,
}

impl Question {
    /// The right answers as texts.
    pub fn right(&self) -> impl Iterator<Item = &str> {
        self.answers.iter().map(|answer| &self.context[answer.clone()])
    }
}

/// The answers of an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Lists { text: Vec<String>, answer_start: Vec<u64> },
    Each(Vec<Answer>),
}

/// One answer.
#[derive(Deserialize)]
struct Answer {
    text: String,
    answer_start: u64,
}

/// Reads the object on a line.
pub(super) fn parse(line: &str, how: (&Columns, bool), number: u64) -> Result<Row, RowErrorKind> {
    row(object(line)?, how, number)
}

/// The row of an object, with its line or place.
pub(super) fn row(
    mut object: Map<String, Value>,
    (columns, needed): (&Columns, bool),
    number: u64,
) -> Result<Row, RowErrorKind> {
    let found: Vec<&str> = object.keys().map(String::as_str).collect();
    let labels = LabelUse::Answers { needed };
    let places = find_texts_for(&found, columns, labels).map_err(RowErrorKind::Columns)?;
    let names: Vec<String> = [Some(places.text), places.text_b]
        .into_iter()
        .flatten()
        .map(|place| found[place].to_owned())
        .collect();
    let mut texts = names.iter().map(|name| text(&mut object, name));
    let question = texts.next().unwrap_or_else(|| Ok(String::new()))?;
    let context = texts.next().unwrap_or_else(|| Ok(String::new()))?;
    drop(texts);
    let name = columns.answers_name();
    let answers = match object.remove(name) {
        None | Some(Value::Null) if needed => {
            return Err(RowErrorKind::NoAnswers { column: name.to_owned() });
        }
        None | Some(Value::Null) => None,
        // What is beside a question that is only to be answered decides nothing.
        Some(value) => match said(value, name).and_then(|said| ranges(&said, &context)) {
            Err(_) if !needed => None,
            answers => Some(answers?),
        },
    };
    Ok(Row { text_b: Some(context), answers, line: number, ..Row::single(question) })
}

/// The fields of an object.
pub(super) fn object(line: &str) -> Result<Map<String, Value>, RowErrorKind> {
    serde_json::from_str(line).map_err(|error| bad_json(&error))
}

/// A field that must be a text.
pub(super) fn text(object: &mut Map<String, Value>, name: &str) -> Result<String, RowErrorKind> {
    match object.remove(name) {
        Some(Value::String(text)) => not_empty(text, name),
        found => {
            let found = found.as_ref().map_or("nothing", kind);
            Err(RowErrorKind::JsonType { field: name.to_owned(), expected: "a string", found })
        }
    }
}

/// What a value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a Boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn said(value: Value, name: &str) -> Result<Vec<Answer>, RowErrorKind> {
    let found = kind(&value);
    let wrong = || RowErrorKind::JsonType {
        field: name.to_owned(),
        expected: "`{\"text\": [..], \"answer_start\": [..]}` or a list of objects with these",
        found,
    };
    let answers: Vec<Answer> = match serde_json::from_value(value).map_err(|_| wrong())? {
        Said::Each(answers) => answers,
        Said::Lists { text, answer_start } if text.len() == answer_start.len() => {
            let answers = text.into_iter().zip(answer_start);
            answers.map(|(text, answer_start)| Answer { text, answer_start }).collect()
        }
        Said::Lists { .. } => return Err(wrong()),
    };
    check_length(answers.len(), name)?;
    Ok(answers)
}

/// That a list of a row has no more elements than it may have.
pub(super) fn check_length(elements: usize, column: &str) -> Result<(), RowErrorKind> {
    let limit = MAX_CLASSES;
    if elements <= limit {
        Ok(())
    } else {
        Err(RowErrorKind::TooManyElements { column: column.to_owned(), limit })
    }
}

/// The bytes of each answer in the context, each once.
fn ranges(answers: &[Answer], context: &str) -> Result<Vec<Range<usize>>, RowErrorKind> {
    let (mut ranges, mut seen) = (Vec::with_capacity(answers.len()), HashSet::new());
    // Of several the characters are counted once.
    let places: Vec<usize> = context.char_indices().map(|(place, _)| place).collect();
    for Answer { text, answer_start } in answers {
        let start = usize::try_from(*answer_start).ok().and_then(|start| places.get(start).copied());
        let start =
            start.filter(|start| !text.trim().is_empty() && context[*start..].starts_with(text.as_str()));
        let Some(start) = start else {
            return Err(RowErrorKind::NotInContext { answer: text.clone(), start: *answer_start });
        };
        // White space around it is none of the answer.
        let begin = start + (text.len() - text.trim_start().len());
        let range = begin..begin + text.trim().len();
        if seen.insert(range.clone()) {
            ranges.push(range);
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Row, RowErrorKind> {
        parse(line, (&Columns::default(), true), 1)
    }

    fn message(line: &str) -> String {
        read(line).unwrap_err().to_string()
    }

    #[test]
    fn answers_are_found_by_characters() {
        let lists = r#"{"id": 7, "question": "Wer?", "context": "Bär Änne, Änne", "answers": {"text": ["Änne", "Änne", "Änne"], "answer_start": [4, 10, 4]}}"#;
        let each = r#"{"question": "Wer?", "context": "Bär Änne, Änne", "answers": [{"text": "Änne", "answer_start": 4}, {"answer_start": 10, "text": "Änne"}]}"#;
        for line in [lists, each] {
            let row = read(line).unwrap();
            assert_eq!(row.answers.as_deref(), Some(&[5..10, 12..17][..]), "{line}");
            let context = row.text_b.unwrap();
            assert_eq!((&context[5..10], &row.text[..]), ("Änne", "Wer?"));
        }
        let none = read(r#"{"question": "Wer?", "context": "Bär", "answers": []}"#).unwrap();
        assert_eq!(none.answers, Some(Vec::new()));
    }

    #[test]
    fn an_answer_stands_where_it_should() {
        let line = |text: &str, start: &str| {
            message(&format!(
                r#"{{"question": "q", "context": "a bcd", "answers": {{"text": ["{text}"], "answer_start": [{start}]}}}}"#
            ))
        };
        assert_eq!(line("bc", "1"), "answer `bc` does not stand at character 1 of its context");
        assert_eq!(line("bcde", "2"), "answer `bcde` does not stand at character 2 of its context");
        assert_eq!(line("x", "99"), "answer `x` does not stand at character 99 of its context");
        assert_eq!(line("", "0"), "answer `` does not stand at character 0 of its context");
        assert!(line("a", "-1").starts_with("`answers` must be "));
    }

    #[test]
    fn there_are_no_more_answers_than_a_row_may_have() {
        let (most, context) = (MAX_CLASSES, "a".repeat(MAX_CLASSES));
        let lists = |answers: usize| {
            let (texts, starts) = (vec!["a"; answers], (0..answers).collect::<Vec<usize>>());
            let answers = serde_json::json!({ "text": texts, "answer_start": starts });
            serde_json::json!({ "question": "q", "context": context, "answers": answers }).to_string()
        };
        let each = |answers: usize| {
            let answers = vec![serde_json::json!({ "text": "a", "answer_start": 0 }); answers];
            serde_json::json!({ "question": "q", "context": context, "answers": answers }).to_string()
        };
        assert_eq!(read(&lists(most)).unwrap().answers.unwrap().len(), most);
        assert_eq!(read(&each(most)).unwrap().answers.unwrap().len(), 1);
        for line in [lists(most + 1), each(most + 1)] {
            assert_eq!(message(&line), "`answers` has more than 16384 elements");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(
            message(r#"{"question": "q"}"#),
            "`--text-b-column`: no column `context`, found `question`"
        );
        assert_eq!(message(r#"{"question": "q", "context": "c"}"#), "answers `answers` are missing");
        assert_eq!(message(r#"{"question": "q", "context": "  ", "answers": []}"#), "`context` is empty");
        assert_eq!(
            message(r#"{"question": 1, "context": "c", "answers": []}"#),
            "`question` must be a string, found a number"
        );
        assert!(message(r#"{"question": "q", "context": "c", "answers": "c"}"#).ends_with("found a string"));
        assert!(message("{").starts_with("not a JSON object"));
        let asked =
            parse(r#"{"question": "q", "context": "c", "answers": 1}"#, (&Columns::default(), false), 3)
                .unwrap();
        assert_eq!((asked.answers, asked.line), (None, 3));
    }
}
