//! Layers that normalise after each sub-layer: BERT's, and those of all families but ModernBERT.

use super::graph::{GraphBuilder, Value};
use super::network::{Mask, Network};
use crate::adapter::{Method, Projection, Site};

impl Network<'_> {
    /// Hidden states from those that enter a layer to those that leave it.
    pub fn post_norm_layer(&mut self, layer: usize, hidden: &Value, mask: &Mask) -> Value {
        let branch = self.attention(layer, hidden, mask);
        let hidden = self.graft(layer, Site::Attention, (&branch, hidden));
        let branch = self.feed_forward(layer, &hidden);
        self.graft(layer, Site::FeedForward, (&branch, &hidden))
    }

    /// `W_2 · act(W_1 · x)`
    fn feed_forward(&mut self, layer: usize, x: &Value) -> Value {
        let prefix = Site::FeedForward.prefix(layer);
        let inner = self.project((layer, Projection::Intermediate), &format!("{prefix}.intermediate"), x);
        let activation = self.encoder.config.activation();
        let inner = self.graph.activation(&format!("{prefix}.activation"), activation, &inner);
        self.project((layer, Projection::Output), &format!("{prefix}.output"), &inner)
    }

    /// `LayerNorm(skip + adapter(x))`. A Pfeiffer adapter reads `LayerNorm(skip + x)` and its skip starts at `x`:
    /// `LayerNorm(skip + x + branch(LayerNorm(skip + x)))`.
    fn graft(&mut self, layer: usize, site: Site, (x, skip): (&Value, &Value)) -> Value {
        let prefix = site.prefix(layer);
        let weights = self.encoder.layer_norm_of(Some(self.task), layer, site);
        let norm = self.layer_norm(&format!("{prefix}.layer_norm"), weights);
        let add = |graph: &mut GraphBuilder, name: &str, a: &Value, b: &Value| {
            graph.op("Add", format!("{prefix}.{name}"), &[a, b], Vec::new())
        };
        let is_pfeiffer = self.task.layout().config().method == Method::Pfeiffer;
        let sum = match self.task.adapter(layer, site) {
            None => add(&mut self.graph, "residual", x, skip),
            Some(adapter) if is_pfeiffer => {
                let sum = add(&mut self.graph, "residual", x, skip);
                let read = self.normalise(&format!("{prefix}.adapter.layer_norm"), &sum, &norm);
                let branch = self.adapter_branch(&prefix, adapter, &read);
                add(&mut self.graph, "adapter", &branch, &sum)
            }
            Some(adapter) => {
                let branch = self.adapter_branch(&prefix, adapter, x);
                let adapted = add(&mut self.graph, "adapter", &branch, x);
                add(&mut self.graph, "residual", &adapted, skip)
            }
        };
        self.normalise(&format!("{prefix}.layer_norm"), &sum, &norm)
    }
}
