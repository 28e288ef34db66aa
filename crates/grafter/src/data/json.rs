//! One JSON object to one row.
//!
//! Which fields are the texts is decided by the first object that names them; a later object with other text fields
//! is rejected, so that a file never mixes single texts and pairs.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::columns::{find_label, find_tags, find_text_or_words, owned};
use super::labels::join;
use super::{ColumnError, Columns, LabelUse, MAX_CLASSES, RowErrorKind};

/// The texts and the label of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct JsonRow {
    pub content: Content,
    pub text_b: Option<String>,
}

/// What an object says of its text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The text, and its label.
    Text { text: String, label: Option<String> },
    /// Its words, and their tags where these are wanted.
    Words { words: Vec<String>, tags: Option<Vec<String>> },
}

/// More elements of a list than these are not read.
const MAX_LIST: usize = MAX_CLASSES;

/// The names of the text fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TextFields {
    pub text: String,
    pub text_b: Option<String>,
}

impl TextFields {
    fn names(&self) -> Vec<String> {
        [Some(self.text.clone()), self.text_b.clone()].into_iter().flatten().collect()
    }
}

/// Reads the object on `line`; `fields` are those of the objects before, and are set by the first.
pub(super) fn parse(
    line: &str,
    columns: &Columns,
    labels: LabelUse,
    fields: &mut Option<TextFields>,
) -> Result<JsonRow, RowErrorKind> {
    let Object(mut object) = serde_json::from_str(line).map_err(|error| bad_json(&error))?;
    let found: Vec<&str> = object.iter().map(|(name, _)| name.as_str()).collect();
    let texts = match find_text_or_words(&found, columns, labels) {
        Ok(places) => TextFields {
            text: found[places.text].to_owned(),
            text_b: places.text_b.map(|place| found[place].to_owned()),
        },
        Err(error) => {
            return Err(match fields {
                Some(fields) => {
                    RowErrorKind::FieldsChanged { expected: fields.names(), found: owned(&found) }
                }
                None => RowErrorKind::Columns(error),
            });
        }
    };
    let expected = fields.get_or_insert_with(|| texts.clone());
    if *expected != texts {
        return Err(RowErrorKind::FieldsChanged { expected: expected.names(), found: owned(&found) });
    }
    let place = found.iter().position(|name| *name == texts.text).filter(|_| texts.text_b.is_none());
    if let Some(words) = place.map(|place| words(&object[place], labels)).transpose()?.flatten() {
        let tags = match labels {
            LabelUse::Tags { needed, .. } => tags(&object, columns, needed)?,
            _ => None,
        };
        return Ok(JsonRow { content: Content::Words { words, tags }, text_b: None });
    }
    let label = match find_label(&found, columns, LabelUse::Optional) {
        Ok(place) => label(place.map(|place| &object[place].1), columns.label_name(), labels)?,
        Err(ColumnError::NotFound { .. }) => label(None, columns.label_name(), labels)?,
        Err(error) => return Err(RowErrorKind::Columns(error)),
    };
    let text = text(&mut object, &texts.text)?;
    let text_b = texts.text_b.map(|name| self::text(&mut object, &name)).transpose()?;
    Ok(JsonRow { content: Content::Text { text, label }, text_b })
}

/// The words of a field, where it may hold words and does.
fn words((name, value): &(String, Scalar), labels: LabelUse) -> Result<Option<Vec<String>>, RowErrorKind> {
    let needed = matches!(labels, LabelUse::Tags { .. });
    if !needed && labels != LabelUse::Optional {
        return Ok(None);
    }
    match value {
        Scalar::List(words) => Ok(Some(words.clone())),
        Scalar::LongList => Err(RowErrorKind::TooManyWords { limit: MAX_LIST }),
        value if needed => {
            let expected = "a list of strings";
            Err(RowErrorKind::JsonType { field: name.clone(), expected, found: value.kind() })
        }
        _ => Ok(None),
    }
}

/// The tags of the words.
fn tags(
    object: &[(String, Scalar)],
    columns: &Columns,
    needed: bool,
) -> Result<Option<Vec<String>>, RowErrorKind> {
    let found: Vec<&str> = object.iter().map(|(name, _)| name.as_str()).collect();
    let place = find_tags(&found, columns, needed).map_err(RowErrorKind::Columns)?;
    match place.map(|place| &object[place]) {
        None => Ok(None),
        Some((_, Scalar::Other("null"))) if !needed => Ok(None),
        Some((_, Scalar::List(tags))) => Ok(Some(tags.iter().map(|tag| tag.trim().to_owned()).collect())),
        Some((_, Scalar::LongList)) => Err(RowErrorKind::TooManyWords { limit: MAX_LIST }),
        Some((name, value)) => Err(RowErrorKind::JsonType {
            field: name.clone(),
            expected: "a list of strings",
            found: value.kind(),
        }),
    }
}

/// The canonical text of a label: a string as it is, a number or Boolean as JSON writes it.
fn label(value: Option<&Scalar>, name: &str, labels: LabelUse) -> Result<Option<String>, RowErrorKind> {
    let wrong = |expected, found| Err(RowErrorKind::JsonType { field: name.to_owned(), expected, found });
    match (value, labels) {
        (Some(Scalar::String(cell)), LabelUse::Several { separator, .. }) => join(cell.split(separator)),
        (Some(Scalar::String(label) | Scalar::Plain(label, _)), _) => Ok(Some(label.clone())),
        (
            _,
            LabelUse::Optional | LabelUse::Tags { .. } | LabelUse::Choices { .. } | LabelUse::Answers { .. },
        ) => Ok(None),
        (Some(Scalar::List(list)), LabelUse::Several { .. }) => join(list.iter().map(String::as_str)),
        (Some(Scalar::LongList), LabelUse::Several { .. }) => {
            Err(RowErrorKind::TooManyLabels { limit: MAX_CLASSES })
        }
        (None, LabelUse::Several { needed: false, .. }) => Ok(None),
        (None, _) => Err(RowErrorKind::MissingLabel { column: name.to_owned() }),
        (Some(Scalar::Other(found)), LabelUse::Several { .. }) => {
            wrong("a string, number or Boolean, or a list of them", found)
        }
        (Some(Scalar::List(_) | Scalar::LongList), LabelUse::Required) => {
            wrong("a string, number or Boolean", "an array")
        }
        (Some(Scalar::Other(found)), LabelUse::Required) => wrong("a string, number or Boolean", found),
    }
}

fn text(object: &mut [(String, Scalar)], name: &str) -> Result<String, RowErrorKind> {
    let found = match object.iter_mut().find(|(field, _)| field == name).map(|(_, value)| value) {
        Some(Scalar::String(text)) => return Ok(std::mem::take(text)),
        Some(value) => value.kind(),
        None => "nothing",
    };
    Err(RowErrorKind::JsonType { field: name.to_owned(), expected: "a string", found })
}

/// The fields of an object in their order, repeated ones included.
struct Object(Vec<(String, Scalar)>);

/// A value, as far as it can be a text, a label or a list of labels; what else is in an array or object is dropped as it is
/// read, so that a line needs little more memory than its length.
enum Scalar {
    String(String),
    /// A number or Boolean in JSON's spelling, and what it is.
    Plain(String, &'static str),
    /// An array of strings, numbers and Booleans, not more than there can be labels.
    List(Vec<String>),
    /// An array of more of them.
    LongList,
    Other(&'static str),
}

impl Scalar {
    /// What it is, for messages.
    fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Plain(_, found) | Self::Other(found) => found,
            Self::List(_) | Self::LongList => "an array",
        }
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Object(fields))
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
        Ok(Scalar::String(value))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Plain(value.to_string(), "a Boolean"))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar::Plain(value.to_string(), "a number"))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Plain(value.to_string(), "a number"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Plain(serde_json::Value::from(value).to_string(), "a number"))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other("null"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Scalar, A::Error> {
        let mut list = Scalar::List(Vec::new());
        while let Some(element) = array.next_element()? {
            list = match (list, element) {
                (Scalar::List(mut labels), Scalar::String(label) | Scalar::Plain(label, _)) => {
                    labels.push(label);
                    if labels.len() > MAX_LIST { Scalar::LongList } else { Scalar::List(labels) }
                }
                (Scalar::LongList, Scalar::String(_) | Scalar::Plain(..)) => Scalar::LongList,
                _ => Scalar::Other("an array of other things"),
            };
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other("an object"))
    }
}

pub(super) fn bad_json(error: &serde_json::Error) -> RowErrorKind {
    let message = error.to_string();
    // `serde_json` counts lines from the start of what it was given, which is always one line here.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = message.strip_suffix(&place).unwrap_or(&message).to_owned();
    RowErrorKind::BadJson { column: error.column().max(1), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str, labels: LabelUse) -> Result<JsonRow, RowErrorKind> {
        parse(line, &Columns::default(), labels, &mut None)
    }

    fn message(line: &str) -> String {
        read(line, LabelUse::Required).unwrap_err().to_string()
    }

    #[test]
    fn labels_keep_a_canonical_text() {
        for (label, expected) in
            [("\"a b\"", "a b"), ("1", "1"), ("-3", "-3"), ("true", "true"), ("0.5", "0.5"), ("5.0", "5.0")]
        {
            let row = read(&format!("{{\"text\":\"x\",\"label\":{label}}}"), LabelUse::Required).unwrap();
            let Content::Text { label, .. } = row.content else { panic!("{expected}") };
            assert_eq!(label.as_deref(), Some(expected));
        }
    }

    #[test]
    fn wrong_types_are_named() {
        assert_eq!(message("{\"text\":1,\"label\":1}"), "`text` must be a string, found a number");
        assert_eq!(message("{\"text\":null,\"label\":1}"), "`text` must be a string, found null");
        let list = "{\"text\":\"x\",\"label\":[1]}";
        assert_eq!(message(list), "`label` must be a string, number or Boolean, found an array");
        let row = read(list, LabelUse::Optional).unwrap();
        assert_eq!(row.content, Content::Text { text: "x".to_owned(), label: None });
        assert_eq!(message("{\"text\":\"x\"}"), "label `label` is missing");
    }

    #[test]
    fn bad_json_says_where() {
        assert_eq!(message("{\"text\": x}"), "not a JSON object, at byte 10: expected value");
        assert_eq!(message("[]"), "not a JSON object, at byte 1: invalid type: sequence, expected an object");
        assert!(message("{\"text\":\"a\"} {}").contains("trailing characters"));
        assert!(message("{\"text\":\"\\ud800\"}").contains("not a JSON object"));
        let twice = message("{\"text\":\"a\",\"text\":\"b\",\"label\":1}");
        assert_eq!(twice, "column `text` occurs more than once, found `text`, `text`, `label`");
        assert!(message(&"[".repeat(100_000)).contains("not a JSON object"));
    }

    #[test]
    fn text_fields_stay_those_of_the_first_object() {
        let mut fields = None;
        let mut read = |line| parse(line, &Columns::default(), LabelUse::Optional, &mut fields);
        assert_eq!(read("{\"id\":1}").unwrap_err().to_string(), "no text column, found `id`");
        assert!(read("{\"sentence1\":\"a\",\"sentence2\":\"b\"}").is_ok());
        for other in ["{\"sentence1\":\"a\"}", "{\"text\":\"a\"}"] {
            let error = read(other).unwrap_err().to_string();
            assert!(
                error.starts_with("expected fields `sentence1`, `sentence2`, as in the rows before"),
                "{error}"
            );
        }
        assert!(read("{\"sentence2\":\"a\",\"sentence1\":\"b\"}").is_ok());
    }
}
