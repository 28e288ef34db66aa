//! Where two records of how something was made differ: what was begun in one way is not continued in another.

use serde::Serialize;
use serde_json::Value;

/// The first difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What differs; the path of the field in backticks.
    pub what: String,
    /// As it was.
    pub expected: String,
    /// As it is.
    pub found: String,
}

/// Compares two values, which are called `what`, or nothing where their fields speak for themselves.
/// # Errors
/// The first field that differs.
pub fn differ(what: &str, expected: &impl Serialize, found: &impl Serialize) -> Result<(), Difference> {
    let expected = serde_json::to_value(expected).expect("records are plain data");
    let found = serde_json::to_value(found).expect("records are plain data");
    first_difference(String::new(), &expected, &found).map_or(Ok(()), |(path, expected, found)| {
        let what = match (what, path.as_str()) {
            (what, "") => what.to_owned(),
            ("", path) => format!("`{path}`"),
            (what, path) => format!("{what}: `{path}`"),
        };
        Err(Difference { what, expected, found })
    })
}

/// The path of the first field that differs, and both values.
fn first_difference(path: String, expected: &Value, found: &Value) -> Option<(String, String, String)> {
    if expected == found {
        return None;
    }
    if let (Value::Object(expected), Value::Object(found)) = (expected, found) {
        let names = expected.keys().chain(found.keys().filter(|name| !expected.contains_key(*name)));
        return names.into_iter().find_map(|name| {
            let field = |of: &serde_json::Map<String, Value>| of.get(name).cloned().unwrap_or_default();
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            first_difference(path, &field(expected), &field(found))
        });
    }
    let shown = |value: &Value| match value {
        Value::Null => "none".to_owned(),
        Value::Object(_) => "some".to_owned(),
        value => format!("`{}`", crate::text::escape(&value.to_string().replace('"', ""), 70)),
    };
    Some((path, shown(expected), shown(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named_by_its_path() {
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let of = |a: &str, b: &str| first_difference(String::new(), &value(a), &value(b));
        assert_eq!(of(r#"{"a": 1, "b": [1]}"#, r#"{"a": 1, "b": [1]}"#), None);
        let told = |path: &str, a: &str, b: &str| Some((path.to_owned(), a.to_owned(), b.to_owned()));
        assert_eq!(of(r#"{"a": {"b": 1}}"#, r#"{"a": {"b": 2}}"#), told("a.b", "`1`", "`2`"));
        assert_eq!(of(r#"{"a": null}"#, r#"{"a": {"b": 2}}"#), told("a", "none", "some"));
        assert_eq!(of("{}", r#"{"c": "x"}"#), told("c", "none", "`x`"));
    }
}
