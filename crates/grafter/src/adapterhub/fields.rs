//! The fields of a JSON object from a description, read one by one so that none is passed over.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::AdapterHubError;
use crate::encoder::EncoderConfig;

/// Descriptions are a page of text.
const MAX_BYTES: u64 = 1 << 20;

/// Reads a description, which is an object.
pub(super) fn read(path: &Path) -> Result<Map<String, Value>, AdapterHubError> {
    let io = |source| AdapterHubError::Io { action: "read", path: path.to_owned(), source };
    let wrong = |reason: String| AdapterHubError::Description { path: path.to_owned(), reason };
    let text = crate::regular::read_at_most(MAX_BYTES, path).map_err(io)?;
    match serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))? {
        Value::Object(map) => Ok(map),
        _ => Err(wrong("it is no object".to_owned())),
    }
}

/// An object of a description.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub path: &'a Path,
    pub map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Checks what both descriptions say beside their `config`: that there is nothing else, and that they are for this encoder.
    pub(super) fn check_base(self, encoder: &EncoderConfig) -> Result<(), AdapterHubError> {
        self.only(&[&[
            "config",
            "hidden_size",
            "label2id",
            "model_class",
            "model_name",
            "model_type",
            "name",
            "num_labels",
            "type",
            "version",
        ]])?;
        let other = |field, found: &str, expected: String| {
            let found = found.to_owned();
            Err(AdapterHubError::OtherBase { path: self.path.to_owned(), field, found, expected })
        };
        if let Some(hidden) = self.count("hidden_size")?.filter(|hidden| *hidden != encoder.hidden_size) {
            return other("hidden_size", &hidden.to_string(), encoder.hidden_size.to_string());
        }
        match self.text("model_type")?.filter(|kind| *kind != encoder.family.name()) {
            Some(kind) => other("model_type", kind, encoder.family.name().to_owned()),
            None => Ok(()),
        }
    }

    /// An object inside.
    pub(super) fn object(self, name: &str) -> Result<Fields<'a>, AdapterHubError> {
        match self.value(name) {
            Some(Value::Object(map)) => Ok(Self { map, ..self }),
            found => Err(self.unsupported(name, found, "an object")),
        }
    }

    /// A field that is there and not null.
    pub(super) fn value(self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// What the adapter or the head is called, which stands between dots in the names of its tensors.
    pub(super) fn name(self) -> Result<String, AdapterHubError> {
        match self.text("name")? {
            Some(name) if !name.is_empty() && !name.contains('.') => Ok(name.to_owned()),
            _ => Err(self.unsupported("name", self.value("name"), "a text without dots")),
        }
    }

    /// A truth value, by default `default`.
    pub(super) fn flag(self, name: &str, default: bool) -> Result<bool, AdapterHubError> {
        match self.value(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            found => Err(self.unsupported(name, found, "true or false")),
        }
    }

    /// Checks that a field has the only supported value, or is absent where that is the default.
    pub(super) fn must_be(self, name: &str, only: bool) -> Result<(), AdapterHubError> {
        match self.flag(name, only)? {
            flag if flag == only => Ok(()),
            _ => Err(self.unsupported(name, self.value(name), if only { "true" } else { "false" })),
        }
    }

    /// A text.
    pub(super) fn text(self, name: &str) -> Result<Option<&'a str>, AdapterHubError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            found => Err(self.unsupported(name, found, "a text")),
        }
    }

    /// A count.
    pub(super) fn count(self, name: &str) -> Result<Option<usize>, AdapterHubError> {
        let found = self.value(name);
        match found.map(|value| value.as_u64().and_then(|count| usize::try_from(count).ok())) {
            None => Ok(None),
            Some(Some(count)) => Ok(Some(count)),
            Some(None) => Err(self.unsupported(name, found, "a whole number")),
        }
    }

    /// That a field says what is not supported.
    pub(super) fn unsupported(
        self,
        name: &str,
        found: Option<&Value>,
        supported: impl Into<String>,
    ) -> AdapterHubError {
        let found = found.map_or("absent".to_owned(), |value| {
            format!("`{}`", crate::text::escape(&value.to_string(), 70))
        });
        AdapterHubError::Unsupported {
            path: self.path.to_owned(),
            field: name.to_owned(),
            found,
            supported: supported.into(),
        }
    }

    /// Refuses fields that are not known: what they mean cannot be known either.
    pub(super) fn only(self, known: &[&[&str]]) -> Result<(), AdapterHubError> {
        match self.map.iter().find(|(name, _)| !known.iter().any(|some| some.contains(&name.as_str()))) {
            None => Ok(()),
            Some((name, value)) => Err(self.unsupported(name, Some(value), "no such field")),
        }
    }
}
