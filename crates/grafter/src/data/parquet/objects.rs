//! Rows of a table that are more than texts and a label: their columns as one object, which is read as that of a line of JSON is.

use parquet::data_type::ByteArray;
use serde_json::{Map, Number, Value as Json};

use super::table::{Field, Table, Value};
use super::{Asked, ParquetError, utf8};
use crate::data::columns::{find_choices, find_label, find_texts_for};
use crate::data::{ColumnError, LabelUse, ReadOptions, Row, RowErrorKind, choices, questions};

/// A column that is a value of the object, or of an object in it.
pub(super) struct Part {
    /// The name of the value.
    name: String,
    /// Its name in the object that it is a part of.
    within: Option<String>,
}

/// The columns of questions or choices, each with what becomes of it.
pub(super) fn columns(table: &Table, options: &ReadOptions) -> Result<Vec<(Part, Asked)>, Unfit> {
    let names: Vec<&str> = table.fields.iter().map(|field| field.name.as_str()).collect();
    let (columns, labels) = (&options.columns, options.labels);
    let texts = find_texts_for(&names, columns, labels).map_err(Unfit::Columns)?;
    let mut places: Vec<usize> = [Some(texts.text), texts.text_b].into_iter().flatten().collect();
    if matches!(labels, LabelUse::Choices { .. }) {
        places.extend(find_choices(&names, columns).map_err(Unfit::Columns)?);
        match find_label(&names, columns, labels) {
            Err(ColumnError::NoLabel { .. }) if !labels.is_needed() => {}
            place => places.extend(place.map_err(Unfit::Columns)?),
        }
    } else {
        places.extend(names.iter().position(|name| *name == columns.answers_name()));
    }
    let mut asked = Vec::new();
    for field in places.into_iter().map(|place| &table.fields[place]) {
        let whole = field.leaf.is_some().then_some((None, field));
        let parts = field.parts.iter().map(|part| (Some(part.name.clone()), part));
        let mut found = 0;
        for (within, of) in whole.into_iter().chain(parts) {
            let Some((leaf, stored)) = of.leaf else { continue };
            table.check_codec(leaf).map_err(Unfit::Type)?;
            let name = field.name.clone();
            asked.push((Part { name: name.clone(), within }, Asked { name, leaf, stored }));
            found += 1;
        }
        if found == 0 {
            return Err(Unfit::Type(nested(field)));
        }
    }
    Ok(asked)
}

/// Whether rows with choices have a second text before these.
pub(super) fn is_pair(table: &Table, options: &ReadOptions) -> bool {
    let names: Vec<&str> = table.fields.iter().map(|field| field.name.as_str()).collect();
    find_texts_for(&names, &options.columns, options.labels).is_ok_and(|texts| texts.text_b.is_some())
}

/// Why the columns are not read.
pub(super) enum Unfit {
    /// They cannot be told from their names.
    Columns(ColumnError),
    /// They hold something else.
    Type(ParquetError),
}

fn nested(field: &Field) -> ParquetError {
    ParquetError::ColumnType {
        column: field.name.clone(),
        expected: "a value, a list of values or an object of these",
        found: field.held,
    }
}

/// The row of the values of its columns.
pub(super) fn row<'a>(
    values: impl Iterator<Item = (&'a Part, Option<Value>)>,
    options: &ReadOptions,
    place: u64,
) -> Result<Row, RowErrorKind> {
    let (mut object, mut bytes) = (Map::new(), 0);
    for (part, value) in values {
        let value = json(value, &part.name, &mut bytes)?;
        match &part.within {
            None => drop(object.insert(part.name.clone(), value)),
            // An object that is absent has no values.
            Some(_) if value.is_null() => {}
            Some(within) => {
                let of = object.entry(part.name.clone()).or_insert_with(|| Json::Object(Map::new()));
                of.as_object_mut().map(|of| of.insert(within.clone(), value));
            }
        }
    }
    let limit_bytes = options.max_row_bytes;
    if bytes > limit_bytes {
        return Err(RowErrorKind::TooLong { limit_bytes });
    }
    match options.labels {
        LabelUse::Choices { needed } => choices::row(object, (&options.columns, needed), place),
        labels => questions::row(object, (&options.columns, labels.is_needed()), place),
    }
}

/// A value as JSON has it; counts the bytes of texts.
fn json(value: Option<Value>, column: &str, bytes: &mut usize) -> Result<Json, RowErrorKind> {
    let mut text = |text: ByteArray| {
        *bytes += text.len();
        utf8(text.data(), column).map(|text| Json::String(text.to_owned()))
    };
    Ok(match value {
        None => Json::Null,
        Some(Value::Boolean(truth)) => Json::Bool(truth),
        Some(Value::Int(number)) => Json::Number(number.into()),
        Some(Value::Float(number)) => Number::from_f64(number.into()).map_or(Json::Null, Json::Number),
        Some(Value::Double(number)) => Number::from_f64(number).map_or(Json::Null, Json::Number),
        Some(Value::Bytes(value)) => text(value)?,
        Some(Value::List(list)) => {
            questions::check_length(list.len(), column)?;
            let values = list.into_iter().map(|value| json(value, column, bytes));
            Json::Array(values.collect::<Result<_, _>>()?)
        }
    })
}
