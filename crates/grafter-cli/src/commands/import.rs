//! `grafter import`: an adapter of AdapterHub as one of ours.

use std::path::Path;

use grafter::adapter::{Manifest, check_target};
use grafter::adapterhub::{ImportOptions, import};
use grafter::encoder::BasePrecision;
use grafter::graft::check_max_length;
use serde::Serialize;

use super::{field, label_names, open_model, print, print_json, printable};
use crate::Outcome;
use crate::args::{Import, max_length};
use crate::failure::Failure;
use crate::terminal::grouped;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    adapter: &'a Path,
    manifest: &'a Manifest,
}

pub fn run(arguments: &Import) -> Result<Outcome, Failure> {
    check_target(&arguments.out, arguments.overwrite)?;
    let model = open_model(&arguments.model.model, BasePrecision::F32)?;
    let config = &model.encoder().config;
    let max_length = max_length(arguments.max_length, config.max_length(), &[]);
    check_max_length(max_length, model.tokenizer(), config)?;
    let options = ImportOptions { pair: arguments.pair, max_length };
    let adapter = import(&arguments.folder, &model, &options)?;
    adapter.save(&arguments.out, arguments.overwrite)?;
    let manifest = adapter.manifest();
    if arguments.json {
        print_json(&Report { adapter: &arguments.out, manifest })?;
    } else {
        print(&text(arguments, manifest))?;
    }
    Ok(Outcome::Done)
}

fn text(arguments: &Import, manifest: &Manifest) -> String {
    let imported = manifest.imported.as_ref();
    let named = imported
        .map_or(String::new(), |from| format!("`{}` of {}", printable(&from.name), printable(&from.format)));
    let mut text = field("imported", named);
    let labels = &manifest.task.labels;
    let answers = match labels.len() {
        0 => "a score".to_owned(),
        count => format!("{count} labels: {}", label_names(labels)),
    };
    text += &field("answers", answers);
    let adapter = &manifest.adapter;
    text += &field(
        "method",
        format!(
            "{}, bottleneck {}, {}, {}",
            adapter.method,
            adapter.bottleneck,
            adapter.activation,
            adapter.reading()
        ),
    );
    // The files hold no digest of the weights: only who has them both can know.
    let theirs = imported.and_then(|from| from.base.as_deref());
    let theirs =
        theirs.map_or("a model that they do not name".to_owned(), |name| format!("`{}`", printable(name)));
    text += &field(
        "base",
        format!("`{}`; its files say it was trained on {theirs}", printable(&manifest.base.name)),
    );
    text += &field("numbers", grouped(manifest.trained_parameters));
    text + &field("adapter", arguments.out.display())
}
