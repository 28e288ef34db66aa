//! Answers as a Parquet table, which other programs read: the last room answers pass through, where they are not lines of JSON.
//!
//! The columns are those that a reader of the JSON lines makes of them, with their types: a column for each field of an answer
//! ([`Prediction`]), the probabilities a struct with a field for each label, and `error`, where a row could not be answered. Of
//! several tasks each has a struct of these under its name. Rows are written in groups, so that what is in memory is bounded;
//! where a group ends depends on the answers alone, and the same answers are the same bytes.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};
use serde_json::Value;

use crate::adapter::Manifest;
use crate::data::TaskKind;
use crate::predict::Prediction;

/// A group of rows ends here.
const GROUP_ROWS: usize = 1 << 16;
/// Or when its values take about as much.
const GROUP_BYTES: usize = 32 << 20;

/// What a value takes but for its text: levels, and a number or a place.
const LEAF_BYTES: usize = 20;

const ERROR: &str = "error";
const TRUNCATED: &str = "truncated";

/// Writes answers as Parquet; it is a whole file only after [`finish`](Self::finish).
pub struct AnswerTable<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    tasks: Vec<(String, Vec<(String, Node)>)>,
    columns: Vec<Column>,
    rows: usize,
}

impl<W: Write + Send> AnswerTable<W> {
    /// A table of the answers of tasks, each under its name; those of a single task without a name have no name above them.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(out: W, tasks: &[(&str, &Manifest)]) -> io::Result<Self> {
        let tasks: Vec<(String, Vec<(String, Node)>)> =
            tasks.iter().map(|(name, manifest)| ((*name).to_owned(), fields_of(manifest))).collect();
        let mut columns = Vec::new();
        let mut top = Vec::new();
        for (name, fields) in &tasks {
            fields.iter().for_each(|(_, node)| node.columns(&mut columns));
            let fields = fields.iter().map(|(name, node)| node.schema(name)).collect::<Result<Vec<_>, _>>();
            let fields = fields.map_err(failed)?;
            match &name[..] {
                "" => top.extend(fields),
                name => top.push(group(name, Repetition::OPTIONAL, fields, None).map_err(failed)?),
            }
        }
        let schema = Type::group_type_builder("answers").with_fields(top).build().map_err(failed)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let writer =
            SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).map_err(failed)?;
        Ok(Self { writer, tasks, columns, rows: 0 })
    }

    /// Adds a row: the answer of each task, or why there is none.
    ///
    /// # Errors
    /// What the output says.
    ///
    /// # Panics
    /// If there are not as many answers as tasks.
    pub fn push(&mut self, answers: &[Result<&Prediction, String>]) -> io::Result<()> {
        assert_eq!(answers.len(), self.tasks.len(), "an answer of each task");
        let mut columns = &mut self.columns[..];
        for ((name, fields), answer) in self.tasks.iter().zip(answers) {
            let answer = value_of(answer);
            let level = i16::from(!name.is_empty());
            for (field, node) in fields {
                let found = match (answer.get(field), &field[..]) {
                    // In JSON it is left out where nothing was cut.
                    (None, TRUNCATED) if answer.get(ERROR).is_none() => Some(&Value::Bool(false)),
                    (found, _) => found,
                };
                let (own, later) = columns.split_at_mut(node.leaves());
                node.put(found, Levels { definition: level, repetition: 0, lists: 0 }, own);
                columns = later;
            }
        }
        self.rows += 1;
        let bytes: usize = self.columns.iter().map(|column| column.bytes).sum();
        if self.rows == GROUP_ROWS || bytes >= GROUP_BYTES { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left and the end of the file; gives back the output.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(mut self) -> io::Result<W> {
        self.write_group()?;
        self.writer.into_inner().map_err(failed)
    }

    fn write_group(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(failed)?;
        for column in &mut self.columns {
            let mut writer =
                group.next_column().map_err(failed)?.expect("a column for each leaf of the schema");
            let levels = (Some(&column.definitions[..]), Some(&column.repetitions[..]));
            match &column.values {
                Values::Text(values) => {
                    writer.typed::<ByteArrayType>().write_batch(values, levels.0, levels.1)
                }
                Values::Double(values) => {
                    writer.typed::<DoubleType>().write_batch(values, levels.0, levels.1)
                }
                Values::Float(values) => writer.typed::<FloatType>().write_batch(values, levels.0, levels.1),
                Values::Integer(values) => {
                    writer.typed::<Int64Type>().write_batch(values, levels.0, levels.1)
                }
                Values::Boolean(values) => writer.typed::<BoolType>().write_batch(values, levels.0, levels.1),
            }
            .map_err(failed)?;
            writer.close().map_err(failed)?;
            column.clear();
        }
        group.close().map_err(failed)?;
        self.rows = 0;
        Ok(())
    }
}

fn failed(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => *source,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}

/// An answer as the JSON lines have it.
fn value_of(answer: &Result<&Prediction, String>) -> Value {
    match answer {
        Ok(prediction) => serde_json::to_value(prediction).expect("answers are plain data"),
        Err(error) => serde_json::json!({ ERROR: error }),
    }
}

/// What an answer of a task is made of.
fn fields_of(manifest: &Manifest) -> Vec<(String, Node)> {
    let probabilities = || {
        let labels = manifest.task.labels.iter();
        ("probabilities", Node::Struct(labels.map(|label| (label.clone(), Node::Double)).collect()))
    };
    let list = |node| Node::List(Box::new(node));
    let mut fields = match manifest.task.kind {
        TaskKind::Classification => vec![("label", Node::Text), ("score", Node::Double), probabilities()],
        TaskKind::MultiLabel => vec![("labels", list(Node::Text)), probabilities()],
        TaskKind::Regression => vec![("score", Node::Float)],
        TaskKind::Entities => {
            let entity = [
                ("type", Node::Text),
                ("text", Node::Text),
                ("start", Node::Integer),
                ("end", Node::Integer),
                ("words", list(Node::Integer)),
                ("score", Node::Double),
            ];
            let entity = Node::Struct(entity.map(|(name, node)| (name.to_owned(), node)).into());
            vec![("entities", list(entity)), (TRUNCATED, Node::Boolean)]
        }
        TaskKind::Tags => vec![
            ("words", list(Node::Text)),
            ("tags", list(Node::Text)),
            ("scores", list(Node::Double)),
            (TRUNCATED, Node::Boolean),
        ],
        TaskKind::MultipleChoice => vec![
            ("choice", Node::Integer),
            ("text", Node::Text),
            ("score", Node::Double),
            ("probabilities", list(Node::Double)),
        ],
        TaskKind::QuestionAnswering => vec![
            ("answer", Node::Text),
            ("start", Node::Integer),
            ("end", Node::Integer),
            ("score", Node::Double),
        ],
    };
    fields.push((ERROR, Node::Text));
    fields.into_iter().map(|(name, node)| (name.to_owned(), node)).collect()
}

/// A column, or what columns are in; everything may be absent.
enum Node {
    Text,
    Double,
    Float,
    Integer,
    Boolean,
    Struct(Vec<(String, Node)>),
    List(Box<Node>),
}

/// Where in a nested value we are, as Parquet counts it: how much of a path is there, and which list goes on.
#[derive(Clone, Copy)]
struct Levels {
    definition: i16,
    repetition: i16,
    /// How many lists we are in.
    lists: i16,
}

impl Node {
    /// Adds an empty column for each leaf.
    fn columns(&self, columns: &mut Vec<Column>) {
        let values = match self {
            Self::Struct(fields) => return fields.iter().for_each(|(_, node)| node.columns(columns)),
            Self::List(node) => return node.columns(columns),
            Self::Text => Values::Text(Vec::new()),
            Self::Double => Values::Double(Vec::new()),
            Self::Float => Values::Float(Vec::new()),
            Self::Integer => Values::Integer(Vec::new()),
            Self::Boolean => Values::Boolean(Vec::new()),
        };
        columns.push(Column { values, definitions: Vec::new(), repetitions: Vec::new(), bytes: 0 });
    }

    fn schema(&self, name: &str) -> Result<TypePtr, ParquetError> {
        let (physical, logical) = match self {
            Self::Struct(fields) => {
                let fields = fields.iter().map(|(name, node)| node.schema(name)).collect::<Result<_, _>>()?;
                return group(name, Repetition::OPTIONAL, fields, None);
            }
            // The three levels that the format's own document asks for.
            Self::List(node) => {
                let items = group("list", Repetition::REPEATED, vec![node.schema("element")?], None)?;
                return group(name, Repetition::OPTIONAL, vec![items], Some(LogicalType::List));
            }
            Self::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Self::Double => (Physical::DOUBLE, None),
            Self::Float => (Physical::FLOAT, None),
            Self::Integer => (Physical::INT64, None),
            Self::Boolean => (Physical::BOOLEAN, None),
        };
        let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
        builder.with_logical_type(logical).build().map(Arc::new)
    }

    /// Adds a value to the columns of its leaves.
    fn put(&self, value: Option<&Value>, at: Levels, columns: &mut [Column]) {
        let inner = Levels { definition: at.definition + 1, ..at };
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return columns.iter_mut().for_each(|column| column.place(at));
        };
        match self {
            Self::Struct(fields) => {
                let mut rest = columns;
                for (name, node) in fields {
                    let (own, later) = rest.split_at_mut(node.leaves());
                    node.put(value.get(name), inner, own);
                    rest = later;
                }
            }
            Self::List(node) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                if items.is_empty() {
                    columns.iter_mut().for_each(|column| column.place(inner));
                }
                let of_items = Levels { definition: at.definition + 2, lists: at.lists + 1, ..at };
                for (place, item) in items.iter().enumerate() {
                    let repetition = if place == 0 { at.repetition } else { of_items.lists };
                    node.put(Some(item), Levels { repetition, ..of_items }, columns);
                }
            }
            _ => columns.iter_mut().for_each(|column| {
                let is_there = column.values.push(value);
                column.place(if is_there { inner } else { at });
                column.bytes += value.as_str().map_or(0, str::len);
            }),
        }
    }

    fn leaves(&self) -> usize {
        match self {
            Self::Struct(fields) => fields.iter().map(|(_, node)| node.leaves()).sum(),
            Self::List(node) => node.leaves(),
            _ => 1,
        }
    }
}

fn group(
    name: &str,
    repetition: Repetition,
    fields: Vec<TypePtr>,
    logical: Option<LogicalType>,
) -> Result<TypePtr, ParquetError> {
    let builder = Type::group_type_builder(name).with_repetition(repetition).with_fields(fields);
    builder.with_logical_type(logical).build().map(Arc::new)
}

/// What a leaf of the schema holds of the group that is not written yet.
struct Column {
    values: Values,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
    /// About what it takes.
    bytes: usize,
}

impl Column {
    fn place(&mut self, at: Levels) {
        self.definitions.push(at.definition);
        self.repetitions.push(at.repetition);
        self.bytes += LEAF_BYTES;
    }

    fn clear(&mut self) {
        self.definitions.clear();
        self.repetitions.clear();
        self.bytes = 0;
        match &mut self.values {
            Values::Text(values) => values.clear(),
            Values::Double(values) => values.clear(),
            Values::Float(values) => values.clear(),
            Values::Integer(values) => values.clear(),
            Values::Boolean(values) => values.clear(),
        }
    }
}

enum Values {
    Text(Vec<ByteArray>),
    Double(Vec<f64>),
    Float(Vec<f32>),
    Integer(Vec<i64>),
    Boolean(Vec<bool>),
}

impl Values {
    /// Whether a value is of the column's type, and then added.
    fn push(&mut self, value: &Value) -> bool {
        match self {
            Self::Text(values) => value.as_str().map(|text| values.push(text.into())),
            Self::Double(values) => value.as_f64().map(|number| values.push(number)),
            // It was one before it became JSON.
            Self::Float(values) => value.as_f64().map(|number| values.push(number as f32)),
            Self::Integer(values) => value.as_i64().map(|number| values.push(number)),
            Self::Boolean(values) => value.as_bool().map(|truth| values.push(truth)),
        }
        .is_some()
    }
}
