//! `grafter export --onnx`: an adapter and its model as one ONNX model.

use std::path::{Path, PathBuf};

use grafter::adapter::read_manifest;
use grafter::digest::sha256_hex;
use grafter::encoder::BasePrecision;
use grafter::hub;
use grafter::onnx::{OPSET, check_target, export};
use grafter::text::escape;
use serde::Serialize;

use super::super::{field, open_adapter, print, print_json, refuse_output};
use crate::Outcome;
use crate::args::Export;
use crate::failure::Failure;
use crate::terminal::bytes;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a Path,
    bytes: usize,
    sha256: String,
    opset: i64,
    inputs: &'a [&'static str],
    outputs: &'a [&'static str],
}

pub fn run(arguments: &Export, file: &Path) -> Result<Outcome, Failure> {
    let manifest = read_manifest(&arguments.adapter)?;
    check_target(file, arguments.overwrite)?;
    let read = model_files(&arguments.model.model);
    refuse_output(file, "--onnx", read.iter().map(PathBuf::as_path))?;
    // The file holds the model in f32, whatever the adapter was trained on: this warns where that is another one.
    let base = Some(BasePrecision::F32);
    let (model, adapter) = open_adapter(&arguments.adapter, &manifest, &arguments.model.model, base)?;
    let exported = export(&adapter, &model)?;
    exported.write(file, arguments.overwrite)?;
    let (inputs, outputs) = (exported.inputs(), exported.outputs());
    if arguments.json {
        print_json(&Report {
            file,
            bytes: exported.bytes().len(),
            sha256: sha256_hex(exported.bytes()),
            opset: OPSET,
            inputs,
            outputs,
        })?;
    } else {
        let mut text = field("file", escape(&file.display().to_string(), usize::MAX));
        text += &field("size", bytes(exported.bytes().len() as u64));
        text += &field("operators", format!("ONNX, version {OPSET}"));
        text += &field("inputs", inputs.join(", "));
        text += &field("outputs", outputs.join(", "));
        print(&text)?;
    }
    Ok(Outcome::Done)
}

/// The files of a model that is a folder; of one by name they lie in the cache.
fn model_files(model: &str) -> Vec<PathBuf> {
    let folder = hub::cached(model).unwrap_or_else(|| PathBuf::from(model));
    std::fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}
