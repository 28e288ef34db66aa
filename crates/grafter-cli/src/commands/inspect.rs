//! `grafter inspect`: says what an adapter or a model is.
//!
//! An adapter is described from its own folder, without its base: a folder that came by mail can be looked at before
//! anything is fetched. A model is read as training would read it, so that what is described is known to work.

mod adapter;
mod model;

use std::path::Path;

use grafter::adapter::MANIFEST_FILE;
use grafter::bank::Bank;
use grafter::hub::KNOWN_MODELS;

use crate::Outcome;
use crate::args::Inspect;
use crate::failure::Failure;

/// The file that makes a folder a model's.
const CONFIG_FILE: &str = "config.json";
const TOKENIZER_FILE: &str = "tokenizer.json";

pub fn run(arguments: &Inspect) -> Result<Outcome, Failure> {
    let what = arguments.what.as_str();
    let folder = Path::new(what);
    // A known name wins over a folder of the same name, as in `--model`.
    if let Some(known) = KNOWN_MODELS.iter().find(|known| known.name == what) {
        model::inspect_known(known, arguments.json)?;
    } else if folder.join(MANIFEST_FILE).is_file() {
        adapter::inspect(folder, arguments.json)?;
    } else if folder.join(CONFIG_FILE).is_file() {
        model::inspect_folder(what, arguments.json)?;
    } else {
        return Err(neither(what, folder));
    }
    Ok(Outcome::Done)
}

fn neither(what: &str, folder: &Path) -> Failure {
    let known: Vec<String> = KNOWN_MODELS.iter().map(|known| format!("`{}`", known.name)).collect();
    let found = match folder {
        folder if folder.is_dir() => {
            format!("folder `{what}` has neither `{MANIFEST_FILE}` nor `{CONFIG_FILE}`")
        }
        folder if folder.exists() => format!("`{what}` is a file"),
        _ => format!("`{what}` does not exist"),
    };
    let hint = Bank::open(folder)
        .is_ok()
        .then(|| format!("it is a bank: `grafter bank list {what}` tells of its tasks"));
    Failure::Usage {
        message: format!(
            "{found}: expected the folder of an adapter, the folder of a model, or a known model ({})",
            known.join(", ")
        ),
        hint,
    }
}

/// The first digits of a digest, enough to tell two apart by eye.
fn short(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}
