//! Layers that normalise before each sub-layer, with a gated feed-forward network: ModernBERT's. The forward pass of
//! `encoder/pre_norm.rs`.

use super::graph::Value;
use super::network::{Mask, Network};
use crate::adapter::{Projection, Site};

impl Network<'_> {
    /// Hidden states from those that enter a layer to those that leave it. The normalisation after all layers belongs to the last.
    pub fn pre_norm_layer(&mut self, layer: usize, hidden: &Value, mask: &Mask) -> Value {
        let read = self.normalised_before(layer, Site::Attention, hidden);
        let branch = self.attention(layer, &read, mask);
        let hidden = self.add_adapted((layer, Site::Attention), (&branch, hidden), None);
        let read = self.normalised_before(layer, Site::FeedForward, &hidden);
        let branch = self.gated_feed_forward(layer, &read);
        let hidden = self.add_adapted((layer, Site::FeedForward), (&branch, &hidden), None);
        let last = self.encoder.final_layer_norm_of(Some(self.task));
        match last.filter(|_| layer + 1 == self.encoder.layers.len()) {
            Some(weights) => {
                let norm = self.layer_norm("final_layer_norm", weights);
                self.normalise("final_layer_norm", &hidden, &norm)
            }
            None => hidden,
        }
    }

    /// `LayerNorm(x)` of a site; `x` itself where there is none, as before the first layer's attention.
    fn normalised_before(&mut self, layer: usize, site: Site, x: &Value) -> Value {
        let Some(weights) = self.encoder.layer_norm_at(Some(self.task), layer, site) else {
            return x.clone();
        };
        let name = format!("{}.layer_norm", site.prefix(layer));
        let norm = self.layer_norm(&name, weights);
        self.normalise(&name, x, &norm)
    }

    /// `W_2 · (act(a) · gate)` with `a, gate = W_1 · x`
    fn gated_feed_forward(&mut self, layer: usize, x: &Value) -> Value {
        let prefix = Site::FeedForward.prefix(layer);
        let both = self.project((layer, Projection::Intermediate), &format!("{prefix}.intermediate"), x);
        let width = self.encoder.config.intermediate_size;
        let a = self.graph.slice(format!("{prefix}.activated"), &both, (2, 0..width));
        let gate = self.graph.slice(format!("{prefix}.gate"), &both, (2, width..2 * width));
        let activation = self.encoder.config.activation();
        let a = self.graph.activation(&format!("{prefix}.activation"), activation, &a);
        let inner = self.graph.op("Mul", format!("{prefix}.gated"), &[&a, &gate], Vec::new());
        self.project((layer, Projection::Output), &format!("{prefix}.output"), &inner)
    }
}
