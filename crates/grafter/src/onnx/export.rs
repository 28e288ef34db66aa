//! A whole model of ONNX from an adapter and its base, and the file that holds it.

use std::io::ErrorKind;
use std::path::Path;

use prost::Message;
use serde_json::Value;

use super::OnnxError;
use super::embeddings::Reads;
use super::graph::GraphBuilder;
use super::head::{Answer, BATCH, SEQUENCE};
use super::network::Network;
use super::proto::{
    Dimension, FLOAT, GraphProto, INT64, ModelProto, OperatorSetIdProto, StringStringEntryProto,
    ValueInfoProto,
};
use crate::adapter::{Adapter, Manifest};
use crate::data::TaskKind;
use crate::durable::{create_file, try_beside, write_file};
use crate::encoder::BasePrecision;
use crate::model::Model;

/// The version of ONNX's operators that is written, the first with `LayerNormalization`.
pub const OPSET: i64 = 17;
/// The version of the format that came with it.
const IR_VERSION: i64 = 8;
/// A message of protobuf can be no larger.
const LIMIT: u64 = i32::MAX as u64;

/// An adapter and its base as one model of ONNX.
#[derive(Clone, Debug)]
pub struct OnnxModel {
    bytes: Vec<u8>,
    inputs: Vec<&'static str>,
    outputs: Vec<&'static str>,
}

impl OnnxModel {
    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The names of what it is given, int64 `[batch, sequence]` each.
    pub fn inputs(&self) -> &[&'static str] {
        &self.inputs
    }

    /// The names of what it gives, float32 `[batch, outputs]` each, of a task that answers words `[batch, sequence, outputs]`.
    pub fn outputs(&self) -> &[&'static str] {
        &self.outputs
    }

    /// Writes the file, whole or not at all. A file that is there is replaced if `overwrite` says so, and nothing else ever is.
    /// # Errors
    /// If something is there that is not to be replaced, or the file cannot be written.
    pub fn write(&self, path: &Path, overwrite: bool) -> Result<(), OnnxError> {
        check_target(path, overwrite)?;
        let written = if overwrite { write_file(path, &self.bytes) } else { create_file(path, &self.bytes) };
        written.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => OnnxError::Exists { path: path.to_owned() },
            _ => OnnxError::Io { path: path.to_owned(), source },
        })
    }
}

/// Whether a file may and can be written there, tried before the work.
/// # Errors
/// If something is there that is not to be replaced, or nothing can be written beside it.
pub fn check_target(path: &Path, overwrite: bool) -> Result<(), OnnxError> {
    let there = path.symlink_metadata().ok();
    let path = path.to_owned();
    match there {
        // A link is none: `/dev/stdout` leads to a file where output is redirected, and must stay what it is.
        Some(found) if !found.is_file() => Err(OnnxError::NotAFile { path }),
        Some(_) if !overwrite => Err(OnnxError::Exists { path }),
        _ => try_beside(&path).map_err(|source| OnnxError::Io { path, source }),
    }
}

/// An adapter and its base as one model of ONNX. The same adapter gives the same bytes.
/// # Errors
/// If the adapter belongs to another model, or the model was read in 8 bits or is too large for the format.
pub fn export(adapter: &Adapter, model: &Model) -> Result<OnnxModel, OnnxError> {
    export_within(adapter, model, LIMIT)
}

fn export_within(adapter: &Adapter, model: &Model, limit: u64) -> Result<OnnxModel, OnnxError> {
    adapter.check_model(model)?;
    let encoder = model.encoder();
    if encoder.precision() != BasePrecision::F32 {
        return Err(OnnxError::Precision { found: encoder.precision().to_string() });
    }
    let reads = Reads::of(&encoder.config);
    let manifest = adapter.manifest();
    let graph = GraphBuilder::new(limit);
    let mut network = Network { graph, encoder, task: adapter.parameters(), reads };
    let (hidden, mask) = network.hidden_states();
    let answers = network.answers(&hidden, &mask, (&manifest.task, adapter.temperature()));
    let tensor_bytes = network.graph.bytes();
    if tensor_bytes > limit {
        return Err(OnnxError::TooLarge { bytes: tensor_bytes, limit });
    }
    let (node, initializer) = network.graph.finish();
    let (input, output) = (inputs(reads), answers.iter().map(output).collect());
    let message = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("grafter".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        doc_string: Some(description(manifest)),
        graph: Some(GraphProto { node, name: Some("grafter".to_owned()), initializer, input, output }),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: metadata(adapter),
    };
    let bytes = message.encoded_len() as u64;
    if bytes > limit {
        return Err(OnnxError::TooLarge { bytes, limit });
    }
    Ok(OnnxModel {
        bytes: encoded(message),
        inputs: reads.inputs().into_iter().map(|(name, _)| name).collect(),
        outputs: answers.iter().map(|answer| answer.name).collect(),
    })
}

/// Keys of fields that hold a message: the field's number and a length before it.
const GRAPH_KEY: u8 = 7 << 3 | 2;
const INITIALIZER_KEY: u8 = 5 << 3 | 2;

/// The bytes of a model. Its tensors, nearly all of it, come last, and each is let go once it is written, so that they are in
/// memory once: protobuf leaves the order of fields free.
fn encoded(mut model: ModelProto) -> Vec<u8> {
    let whole = model.encoded_len();
    let mut graph = model.graph.take().unwrap_or_default();
    let graph_bytes = graph.encoded_len();
    let tensors = std::mem::take(&mut graph.initializer);
    let mut bytes = model.encode_to_vec();
    bytes.reserve_exact(whole - bytes.len());
    bytes.push(GRAPH_KEY);
    prost::encode_length_delimiter(graph_bytes, &mut bytes).expect(GROWS);
    graph.encode(&mut bytes).expect(GROWS);
    for tensor in tensors {
        bytes.push(INITIALIZER_KEY);
        tensor.encode_length_delimited(&mut bytes).expect(GROWS);
    }
    assert_eq!(bytes.len(), whole, "the same fields in another order");
    bytes
}

const GROWS: &str = "a vector has room for all";

fn inputs(reads: Reads) -> Vec<ValueInfoProto> {
    let shape = [Dimension::Named(BATCH), Dimension::Named(SEQUENCE)];
    let value = |(name, description)| ValueInfoProto::tensor(name, INT64, &shape, description);
    reads.inputs().into_iter().map(value).collect()
}

fn output(answer: &Answer) -> ValueInfoProto {
    ValueInfoProto::tensor(answer.name, FLOAT, &answer.shape, answer.description)
}

/// What it is, for people who open the file.
fn description(manifest: &Manifest) -> String {
    let (adapted, base) = (&manifest.adapter, &manifest.base);
    let pair = if manifest.task.pair { "pairs of texts" } else { "texts" };
    format!(
        "A task on {pair} ({}): `{}` ({}) with what the method `{}` trained, {}. Rows are padded at their end; of the \
         tokenizer `grafter.base.tokenizer_sha256` is the digest. Texts are cut to {} tokens.",
        manifest.task.kind,
        base.name,
        base.config.model_type,
        adapted.method,
        adapted.reading(),
        manifest.max_length,
    )
}

/// What a program needs to make inputs and to read outputs, and what the model was made from.
fn metadata(adapter: &Adapter) -> Vec<StringStringEntryProto> {
    let manifest = adapter.manifest();
    let (task, base) = (&manifest.task, &manifest.base);
    let mut entries = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("task", task.kind.to_string()),
        ("pair", task.pair.to_string()),
        ("max_length", manifest.max_length.to_string()),
    ];
    let json = |value: Value| value.to_string();
    match task.kind {
        TaskKind::Classification | TaskKind::Entities | TaskKind::Tags => entries.extend([
            ("labels", json(task.labels.as_slice().into())),
            ("temperature", adapter.temperature().to_string()),
        ]),
        TaskKind::MultiLabel => entries.extend([
            ("labels", json(task.labels.as_slice().into())),
            ("thresholds", json(manifest.label_thresholds().unwrap_or_default().into())),
        ]),
        TaskKind::QuestionAnswering => {
            entries.extend(manifest.stride.map(|stride| ("stride", stride.to_string())));
            let threshold = manifest.no_answer_threshold();
            entries.extend(threshold.map(|threshold| ("no_answer_threshold", threshold.to_string())));
        }
        TaskKind::Regression | TaskKind::MultipleChoice => {}
    }
    entries.extend([
        ("method", manifest.adapter.method.to_string()),
        ("adapter_sha256", adapter.digest()),
        ("base", base.name.clone()),
        ("base.weights_sha256", base.weights_sha256.clone()),
        ("base.tokenizer_sha256", base.tokenizer_sha256.clone()),
    ]);
    let entry = |(key, value): (&str, String)| StringStringEntryProto {
        key: Some(format!("grafter.{key}")),
        value: Some(value),
    };
    entries.into_iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Source};
    use crate::graft::{GraftOptions, graft};

    #[test]
    fn what_is_too_large_for_the_format_is_refused_by_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("rows.tsv");
        std::fs::write(&data, "text\tlabel\na good day\tyes\na bad day\tno\n").unwrap();
        let rows = Dataset::read_train(&Source::new(data), TaskKind::Classification).unwrap();
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-bert");
        let model = Model::read(&base, "tiny-bert").unwrap();
        let mut options = GraftOptions { bottleneck: 4, max_length: 16, ..GraftOptions::default() };
        options.train.epochs = Some(1);
        let adapter = graft(&model, &rows, &rows, &options, &mut ()).unwrap().adapter;

        let whole = export(&adapter, &model).unwrap().bytes().len() as u64;
        assert_eq!(export_within(&adapter, &model, whole).unwrap().bytes().len() as u64, whole);
        let error = export_within(&adapter, &model, whole - 1).unwrap_err().to_string();
        let limit = whole - 1;
        assert_eq!(
            error,
            format!(
                "the ONNX model would have at least {whole} bytes, and a file of this format can have {limit}"
            )
        );
        // Where the numbers alone are too many, the rest is not built.
        let numbers = 4 * (model.encoder().parameter_count() + adapter.parameters().values().len()) as u64;
        let OnnxError::TooLarge { bytes, .. } = export_within(&adapter, &model, 1000).unwrap_err() else {
            panic!("another error");
        };
        // Without the pooler, the layer normalisations that the task replaces, and with some constants.
        assert!(bytes < numbers && bytes > numbers * 9 / 10, "{bytes} of {numbers}");
    }
}
