//! `grafter export`: an adapter as AdapterHub's library for Python reads it, or with its model as one ONNX model.

mod onnx;

use std::path::{Path, PathBuf};

use grafter::adapter::read_manifest;
use grafter::adapterhub::{Loss, export};
use grafter::encoder::BasePrecision;
use grafter::text::escape;
use serde::Serialize;

use super::{field, open_adapter, print, print_json};
use crate::Outcome;
use crate::args::Export;
use crate::failure::Failure;
use crate::terminal::tell;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    folder: &'a Path,
    name: &'a str,
    files: Vec<&'static str>,
    lost: Vec<String>,
}

pub fn run(arguments: &Export) -> Result<Outcome, Failure> {
    match (&arguments.target.out, &arguments.target.onnx) {
        (_, Some(file)) => onnx::run(arguments, file),
        (Some(folder), None) => adapterhub(arguments, folder),
        (None, None) => unreachable!("clap asks for one of them"),
    }
}

fn adapterhub(arguments: &Export, out: &Path) -> Result<Outcome, Failure> {
    let manifest = read_manifest(&arguments.adapter)?;
    let (model, adapter) = open_adapter(&arguments.adapter, &manifest, &arguments.model.model, None)?;
    let name = arguments.name.clone().unwrap_or_else(|| folder_name(&arguments.adapter));
    let exported = export(&adapter, &model, &name)?;
    let lost: Vec<String> = exported.losses().iter().map(ToString::to_string).collect();
    if !lost.is_empty() && !arguments.allow_loss {
        return Err(Failure::Usage {
            message: format!("AdapterHub's files cannot hold {}", lost.join(" and ")),
            hint: Some(format!(
                "`grafter train` with {} trains what they hold; `--allow-loss` writes the rest",
                exported.losses().iter().map(Loss::advice).collect::<Vec<_>>().join(" and ")
            )),
        });
    }
    exported.write(out)?;
    if manifest.base.precision != BasePrecision::F32 {
        tell(format_args!(
            "warning: the adapter was trained on a base in {}, which is in f32 there: the answers differ slightly",
            manifest.base.precision
        ));
    }
    for loss in &lost {
        tell(format_args!("warning: left out: {loss}"));
    }
    let files: Vec<&str> = exported.files().iter().map(|(name, _)| *name).collect();
    if arguments.json {
        print_json(&Report { folder: out, name: &name, files, lost })?;
    } else {
        let folder = out.display().to_string();
        // A text of JSON is one of Python, too, with nothing in it that steers a terminal.
        let quoted = serde_json::Value::from(folder.as_str());
        let mut text = field("exported", format!("`{name}`, {}", files.join(", ")));
        text += &field("folder", escape(&folder, usize::MAX));
        text += &field(
            "in Python",
            format!("model.load_adapter({quoted}, use_safetensors=True, set_active=True)"),
        );
        print(&text)?;
    }
    Ok(Outcome::Done)
}

/// The last part of the path, wherever it is relative to.
fn folder_name(folder: &Path) -> String {
    let whole: PathBuf = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    whole.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
