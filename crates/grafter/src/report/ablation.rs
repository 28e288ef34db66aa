//! The page of an ablation: a heat map of the scores without the adapters of the layers i to j.

use super::chart::{Cell, HeatMap, Labels};
use super::page::{Page, Paragraph, Section};
use crate::ablation::Ablation;
use crate::adapter::Manifest;

/// The page, as Houlsby et al. 2019 draw it (figure 6): the first removed layer down, the last one across.
pub fn page(ablation: &Ablation, manifest: &Manifest, data: &str) -> Page {
    let name = ablation.metric.describe(&manifest.task.labels);
    let whole = ablation.whole.map_or("undefined".to_owned(), |score| format!("{score:.4}"));
    let text = format!(
        "With all adapters: {name} {whole}. A removed adapter is the identity; the layer normalisations and the head stay as \
         they were trained, and nothing is trained anew. On the diagonal one layer has lost its adapters, in the upper \
         right corner all have."
    );
    let section = Section::new("Scores without some layers");
    Page::new("What each layer's adapters are worth", format!("{}, on {data}", manifest.adapter.method))
        .with(section.with(&Paragraph(text)).with(&heat_map(ablation, manifest)))
}

/// The heat map of the page.
pub fn heat_map(ablation: &Ablation, manifest: &Manifest) -> HeatMap {
    let metric = ablation.metric.describe(&manifest.task.labels);
    let layers = &ablation.layers;
    let labels = |name: &str| Labels {
        name: name.to_owned(),
        labels: layers.iter().map(ToString::to_string).collect(),
    };
    let cell = |first: usize, last: usize| {
        let span = ablation.span(first, last);
        match span.map(|span| span.score) {
            Some(Some(score)) => Cell { value: 100.0 * score, text: format!("{:.1}", 100.0 * score) },
            Some(None) => Cell::of(f64::NAN),
            None => Cell { value: f64::NAN, text: String::new() },
        }
    };
    HeatMap {
        title: format!("{metric} without the adapters of some layers, times 100"),
        rows: labels("first layer without"),
        columns: labels("last layer without"),
        cells: layers.iter().map(|first| layers.iter().map(|last| cell(*first, *last)).collect()).collect(),
        range: None,
        scale: format!("{metric}, times 100"),
    }
}
