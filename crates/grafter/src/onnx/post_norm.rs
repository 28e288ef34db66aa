//! Layers that normalise after each sub-layer: BERT's, and those of all families but ModernBERT.

use super::graph::Value;
use super::network::{Mask, Network};
use crate::adapter::{Projection, Site};

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
        let name = format!("{}.layer_norm", site.prefix(layer));
        let norm = self.layer_norm(&name, self.encoder.layer_norm_of(Some(self.task), layer, site));
        let sum = self.add_adapted((layer, site), (x, skip), Some(&norm));
        self.normalise(&name, &sum, &norm)
    }
}
