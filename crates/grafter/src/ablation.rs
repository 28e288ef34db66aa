//! What each layer's adapters are worth: an adapter is scored again with those of the layers i to j removed, and nothing
//! trained anew (Houlsby et al. 2019, section 3.6, figure 6).
//!
//! A removed adapter is the identity; tuned layer normalisations and the head stay.

use std::ops::{ControlFlow, RangeInclusive};

use serde::Serialize;

use crate::adapter::{Adapter, Site, TaskParameters};
use crate::data::LabelledRows;
use crate::eval::{EvalError, evaluate};
use crate::metrics::Metric;
use crate::model::Model;

/// Scores of one adapter with and without its parts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ablation {
    /// What the scores are.
    pub metric: Metric,
    /// The layers with adapters, counted from 0, from below to above.
    pub layers: Vec<usize>,
    /// The score with all of them; absent where the metric is undefined.
    pub whole: Option<f64>,
    /// The scores without those of some layers: every span, by its first layer and then its last.
    pub without: Vec<SpanScore>,
}

/// The score without the adapters of the layers `first` to `last`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SpanScore {
    /// The lowest layer without its adapters.
    pub first: usize,
    /// The highest layer without its adapters.
    pub last: usize,
    /// Absent where the metric is undefined.
    pub score: Option<f64>,
}

impl Ablation {
    /// Scores an adapter on labelled rows once whole and once for every span of its layers; one of a method that grafts no
    /// adapters has none. `follow` is told how many of how
    /// many evaluations are done, and may end the work: the answer is then `None`.
    /// # Errors
    /// As [`evaluate`], and if the metric does not fit the task.
    pub fn compute(
        model: &Model,
        adapter: &Adapter,
        data: &dyn LabelledRows,
        metric: Metric,
        follow: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Self>, EvalError> {
        let parameters = adapter.parameters();
        let layers: Vec<usize> = adapted_layers(parameters, model.encoder().config.num_hidden_layers);
        let spans: Vec<(usize, usize)> = layers
            .iter()
            .flat_map(|first| layers.iter().filter(move |last| *last >= first).map(|last| (*first, *last)))
            .collect();
        let score = |adapter: &Adapter| Ok::<_, EvalError>(evaluate(model, adapter, data)?.get(metric)?);
        let whole = score(adapter)?;
        let all = spans.len() + 1;
        let mut without = Vec::with_capacity(spans.len());
        for (first, last) in spans {
            if follow(without.len() + 1, all).is_break() {
                return Ok(None);
            }
            let parameters = parameters.without_adapters(first..=last);
            let ablated = Adapter { parameters, manifest: adapter.manifest().clone() };
            without.push(SpanScore { first, last, score: score(&ablated)? });
        }
        Ok(Some(Self { metric, layers, whole, without }))
    }
}

impl Ablation {
    /// The score without the adapters of some layers; `None` if there is no such span.
    pub fn span(&self, first: usize, last: usize) -> Option<&SpanScore> {
        self.without.iter().find(|span| (span.first, span.last) == (first, last))
    }
}

/// The layers that have an adapter, from below to above.
fn adapted_layers(parameters: &TaskParameters, layers: usize) -> Vec<usize> {
    let adapted = |layer: &usize| Site::ALL.iter().any(|site| parameters.adapter(*layer, *site).is_some());
    (0..layers).filter(adapted).collect()
}

impl TaskParameters {
    /// The same numbers with the adapters of some layers removed: they become the identity.
    #[must_use]
    pub fn without_adapters(&self, layers: RangeInclusive<usize>) -> Self {
        let mut values = self.values().to_vec();
        for layer in layers {
            for site in Site::ALL {
                if let Some(adapter) = self.layout().adapter_gradients(&mut values, layer, site) {
                    // A branch that ends in zeros adds nothing, whatever it reads.
                    adapter.up.weight.fill(0.0);
                    adapter.up.bias.fill(0.0);
                }
            }
        }
        Self::from_values(self.layout().clone(), values)
    }
}
