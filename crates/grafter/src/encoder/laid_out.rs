//! What passes lay out of the frozen weights on first use and keep from then on: of each linear layer that a gradient passes
//! through the weight for the backward pass, and of each layer what its projections make of the relative embeddings.

use grafter_nn::linear::FrozenLinear;

use super::{BasePrecision, Encoder};
use crate::adapter::{Pooling, Projection, TaskLayout};

impl Encoder {
    /// How many numbers the passes of a task may lay out that are not there yet.
    pub(crate) fn numbers_to_lay_out(&self, layout: &TaskLayout) -> usize {
        let lowest = layout.frozen_layers();
        let missing = |linear: &FrozenLinear| linear.backward_numbers() - linear.backward_numbers_held();
        let projections = self.layers.iter().enumerate().skip(lowest).flat_map(|(place, layer)| {
            // A weight of the task's own is not the frozen one's.
            let frozen = Projection::ALL.into_iter().filter(move |part| !layout.trains_weight(place, *part));
            frozen.map(|part| layer.linear(part))
        });
        let pooler = self.pooler.iter().filter(|_| layout.config().pooling == Pooling::Cls);
        let embeddings = self.embeddings_projection.iter().filter(|_| lowest == 0);
        let linear = projections.chain(pooler).chain(embeddings).map(missing);
        // Of a weight in 8 bits the numbers that it stands for are made first.
        let largest = if self.precision == BasePrecision::Int8 { linear.clone().max() } else { None };
        linear.sum::<usize>()
            + largest.unwrap_or(0)
            + self.relative_numbers_by_layer().map(|(numbers, held)| numbers - held).sum::<usize>()
    }

    /// Lays out all that the backward passes of adapters read, for whoever trains several tasks at a time: each would count it as
    /// its own otherwise.
    pub fn lay_out_backward(&self) {
        for layer in &self.layers {
            Projection::ALL.into_iter().for_each(|part| layer.linear(part).lay_out_backward());
        }
    }

    /// How many numbers all passes so far have laid out.
    #[cfg(test)]
    pub(crate) fn numbers_laid_out(&self) -> usize {
        let projections = self.layers.iter().flat_map(|layer| Projection::ALL.map(|part| layer.linear(part)));
        let beside = [&self.pooler, &self.embeddings_projection].into_iter().flatten();
        let linear: usize = projections.chain(beside).map(FrozenLinear::backward_numbers_held).sum();
        linear + self.relative_numbers_by_layer().map(|(_, held)| held).sum::<usize>()
    }
}
