//! Texts of which one answers another text: one JSON object, or what a table holds of one, to one row, and which of them a label says.
//!
//! The texts are a list of strings; those of an object, `{"label": [..], "text": [..]}`, have names of their own (CommonsenseQA,
//! Talmor et al. 2019); or each has a field, such as `ending0` to `ending3` (SWAG, Zellers et al. 2018).

use serde_json::{Map, Value};

use super::columns::{find_choices, find_label, find_texts_for, not_twice};
use super::questions::{kind, object, text};
use super::reader::not_empty;
use super::{ColumnError, Columns, LabelUse, Row, RowErrorKind};

/// More texts to choose from than these are not read of a row.
pub const MAX_CHOICES: usize = 256;

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
    let names: Vec<String> = object.keys().cloned().collect();
    let found: Vec<&str> = names.iter().map(String::as_str).collect();
    let places =
        find_texts_for(&found, columns, LabelUse::Choices { needed }).map_err(RowErrorKind::Columns)?;
    let of_choices = find_choices(&found, columns).map_err(RowErrorKind::Columns)?;
    let texts = [Some(places.text), places.text_b];
    not_twice(&found, columns, (&texts, &of_choices)).map_err(RowErrorKind::Columns)?;
    let label = match find_label(&found, columns, LabelUse::Choices { needed }) {
        Err(ColumnError::NoLabel { .. }) => None,
        place => place.map_err(RowErrorKind::Columns)?,
    };
    let label = match label.map(|place| &object[found[place]]) {
        Some(Value::String(label)) => Some(label.trim().to_owned()).filter(|label| !label.is_empty()),
        Some(Value::Number(label)) => Some(label.to_string()),
        Some(Value::Null) | None => None,
        Some(_) if !needed => None,
        Some(value) => {
            let field = columns.label_name().to_owned();
            return Err(RowErrorKind::JsonType { field, expected: "a string or number", found: kind(value) });
        }
    };
    if needed && label.is_none() {
        return Err(RowErrorKind::MissingLabel { column: columns.label_name().to_owned() });
    }
    let (choices, label) = match of_choices[..] {
        [place] => list(object.remove(found[place]), found[place], (label, needed))?,
        _ => {
            let texts = of_choices.iter().map(|place| text(&mut object, found[*place]));
            (texts.collect::<Result<Vec<String>, _>>()?, label)
        }
    };
    check_count(choices.len())?;
    let first = text(&mut object, found[places.text])?;
    let text_b = places.text_b.map(|place| text(&mut object, found[place])).transpose()?;
    Ok(Row { text_b, choices, label, line: number, ..Row::single(first) })
}

/// That there are so many texts to choose from as can be.
pub(super) fn check_count(found: usize) -> Result<(), RowErrorKind> {
    let fits = (2..=MAX_CHOICES).contains(&found);
    if fits { Ok(()) } else { Err(RowErrorKind::ChoiceCount { found, limit: MAX_CHOICES }) }
}

/// The texts of a field, and the place of the one that a label names where they have names.
fn list(
    value: Option<Value>,
    name: &str,
    (label, needed): (Option<String>, bool),
) -> Result<(Vec<String>, Option<String>), RowErrorKind> {
    let wrong =
        |found| RowErrorKind::JsonType { field: name.to_owned(), expected: "a list of strings", found };
    let strings = |value: Option<Value>| match value {
        Some(Value::Array(values)) => values
            .into_iter()
            .map(|value| match value {
                Value::String(text) => not_empty(text, name),
                _ => Err(wrong("an array of other things")),
            })
            .collect::<Result<Vec<String>, _>>(),
        value => Err(wrong(value.as_ref().map_or("nothing", kind))),
    };
    let Some(Value::Object(mut named)) = value else { return Ok((strings(value)?, label)) };
    let texts = strings(take(&mut named, "text"))?;
    // Names say nothing but which text a label is.
    let Some(label) = label.filter(|_| needed) else { return Ok((texts, None)) };
    let names = strings(take(&mut named, "label"))?;
    match names.iter().position(|name| *name == label) {
        Some(place) if names.len() == texts.len() => Ok((texts, Some(place.to_string()))),
        _ => Err(RowErrorKind::UnknownLabel { label, known: names.into() }),
    }
}

fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    object.remove(name)
}

/// The place of the text that a label says: counted from 0, or as a letter, `A` for the first.
pub(super) fn place(label: &str, choices: usize) -> Result<usize, RowErrorKind> {
    let letter = match label.as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
        _ => None,
    };
    let place = letter.or_else(|| label.parse().ok()).filter(|place| *place < choices);
    place.ok_or_else(|| RowErrorKind::NoSuchChoice { label: label.to_owned(), choices })
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
    fn the_forms_in_use_are_read() {
        for (line, label) in [
            (r#"{"text": "t", "choices": ["a", "b", "c"], "label": 2}"#, "2"),
            (r#"{"question": "t", "options": ["a", "b", "c"], "label": "C"}"#, "C"),
            (
                r#"{"question": "t", "choices": {"label": ["x", "y", "z"], "text": ["a", "b", "c"]}, "label": "z"}"#,
                "2",
            ),
            (
                r#"{"label": 2, "sentence": "t", "ending0": "a", "ending1": "b", "ending2": "c", "ending4": "d"}"#,
                "2",
            ),
            (r#"{"text": "t", "choice1": "a", "choice2": "b", "choice3": "c", "label": 2}"#, "2"),
        ] {
            let row = read(line).unwrap();
            assert_eq!((row.text.as_str(), row.label.as_deref()), ("t", Some(label)), "{line}");
            assert_eq!(row.choices, ["a", "b", "c"], "{line}");
            assert_eq!(place(label, 3).unwrap(), 2);
        }
    }

    #[test]
    fn a_label_says_one_of_the_choices() {
        assert_eq!(place("0", 2).unwrap(), 0);
        assert_eq!(place("B", 2).unwrap(), 1);
        for label in ["2", "-1", "C", "a", "", "1.0"] {
            let error = place(label, 2).unwrap_err().to_string();
            assert_eq!(error, format!("label `{label}` is none of the 2 choices, counted from 0 or `A`"));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            message(r#"{"text": "t", "choices": ["a"], "label": 0}"#),
            "expected 2 to 256 choices, found 1"
        );
        assert_eq!(message(r#"{"text": "t", "choices": ["a", " "], "label": 0}"#), "`choices` is empty");
        assert_eq!(
            message(r#"{"text": "t", "choices": ["a", 1], "label": 0}"#),
            "`choices` must be a list of strings, found an array of other things"
        );
        assert_eq!(
            message(r#"{"text": "t", "choices": "a", "label": 0}"#),
            "`choices` must be a list of strings, found a string"
        );
        assert_eq!(
            message(r#"{"text": "t", "label": 0}"#),
            "cannot tell the columns of choices, found `text`, `label`"
        );
        assert_eq!(message(r#"{"text": "t", "choices": ["a", "b"]}"#), "label `label` is missing");
        assert_eq!(
            message(r#"{"text": "t", "choices": ["a", "b"], "label": true}"#),
            "`label` must be a string or number, found a Boolean"
        );
        let unnamed = r#"{"text": "t", "choices": {"label": ["A", "B"], "text": ["a", "b"]}, "label": "C"}"#;
        assert_eq!(message(unnamed), "unknown label `C`, expected one of `A`, `B`");
    }
}
