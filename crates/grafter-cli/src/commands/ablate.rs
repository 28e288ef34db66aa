//! `grafter ablate`: what each layer's adapters are worth, by removing them from a trained adapter.

use std::fmt::Write;
use std::ops::ControlFlow;

use grafter::ablation::Ablation;
use grafter::data::LabelledFile;
use grafter::durable::{try_beside, write_file};
use grafter::eval::EvalError;
use grafter::report;
use indicatif::ProgressBar;
use serde::Serialize;

use super::{open_adapter, print, print_json, refuse_output, tell_warnings};
use crate::Outcome;
use crate::args::Ablate;
use crate::failure::Failure;
use crate::interrupt;
use crate::progress::style;
use crate::sources::Sources;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    rows: usize,
    #[serde(flatten)]
    ablation: &'a Ablation,
}

pub fn run(arguments: &Ablate) -> Result<Outcome, Failure> {
    // What needs no model first, so that a wrong path is told at once.
    let manifest = grafter::adapter::read_manifest(&arguments.adapter)?;
    let method = manifest.adapter.method;
    if !method.has_adapters() {
        return Err(Failure::Usage {
            message: format!(
                "`{}` was trained with the method `{method}`, which has no adapters",
                arguments.adapter.display()
            ),
            hint: None,
        });
    }
    let source = Sources::new(&arguments.rows).source(&arguments.data)?;
    if let Some(file) = &arguments.report {
        refuse_output(file, "--report", source.paths())?;
        // Not after minutes of evaluation.
        try_beside(file).map_err(|source| Failure::Write { path: file.clone(), source })?;
    }
    let metric = arguments.metric.unwrap_or_else(|| manifest.metric());
    metric.check(manifest.task.kind, manifest.task.labels.len()).map_err(EvalError::from)?;
    let data = LabelledFile::read_eval(&source, &manifest.task.spec()?)?;
    tell_warnings(&data);
    let base = arguments.base.base;
    let (model, adapter) = open_adapter(&arguments.adapter, &manifest, &arguments.model.model, base)?;
    interrupt::listen_with("ending after what is at hand");
    let bar = ProgressBar::no_length().with_style(style("[{bar:30}] evaluation {pos}/{len}, {eta} left"));
    let follow = &mut |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        if interrupt::requested() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let Some(ablation) = Ablation::compute(&model, &adapter, &data, metric, follow)? else {
        return Ok(Outcome::Interrupted);
    };
    bar.finish_and_clear();
    if let Some(file) = &arguments.report {
        let is_figure = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
        let report = if is_figure {
            report::ablation::heat_map(&ablation, &manifest).to_svg()
        } else {
            report::ablation::page(&ablation, &manifest, &source.name()).to_html()
        };
        write_file(file, report.as_bytes())
            .map_err(|source| Failure::Write { path: file.clone(), source })?;
    }
    if arguments.json {
        let rows = grafter::data::LabelledRows::targets(&data).len();
        print_json(&Report { rows, ablation: &ablation })?;
    } else {
        let mut text = text(&ablation, &metric.describe(&manifest.task.labels));
        if let Some(page) = &arguments.report {
            text += &format!("\nreport  {}\n", page.display());
        }
        print(&text)?;
    }
    Ok(Outcome::Done)
}

/// The scores as a triangle, the first removed layer down and the last one across.
fn text(ablation: &Ablation, metric: &str) -> String {
    let shown = |score: Option<f64>| score.map_or("–".to_owned(), |score| format!("{score:.4}"));
    let mut text =
        format!("{metric} with all adapters: {}\n\nwithout those of the layers", shown(ablation.whole));
    let _ = write!(text, " (first down, last across):\n\n   ");
    for last in &ablation.layers {
        let _ = write!(text, "{last:>8}");
    }
    for first in &ablation.layers {
        let _ = write!(text, "\n{first:>3}");
        for last in &ablation.layers {
            let span = ablation.span(*first, *last);
            let _ = write!(text, "{:>8}", span.map_or(String::new(), |span| shown(span.score)));
        }
    }
    text.push('\n');
    text
}
