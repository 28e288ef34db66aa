//! Relative embeddings, forward and backward: what DeBERTa's attention reads by the distance of a query from its key (He et al.
//! 2020, section 3.1; [`grafter_nn::disentangled`]).
//!
//! All layers read the same rows, after a layer normalisation where the model has one. Each layer projects them with the weights of
//! its own queries and keys. Where neither the rows nor these weights are a task's own and nothing is dropped, what comes out is
//! a constant of the base, and is computed once, when a layer is first asked for it. Otherwise a pass computes it for its chunk,
//! of the rows that the longest text of the chunk reads: twice as many as that has tokens at most, and fewer where far
//! distances share rows.
//!
//! The rows pass through the projection of queries, keys and values as tokens do; nothing reads their values. They would be a third
//! less work without.

use std::ops::Range;
use std::sync::OnceLock;

use grafter_nn::disentangled::RelativePositions;
use grafter_nn::gemm::Start;
use grafter_nn::layer_norm::{self, LayerNormCache, LayerNormWeights};
use grafter_nn::residual;

use super::backward::backward_layer_norm_weights;
use super::config::RelativeConfig;
use super::{
    BackwardPass, DropoutPlace, Encoder, EncoderConfig, EncoderDropout, FrozenLayerNorm, projection,
};
use crate::adapter::{Projection, TaskLayout, TaskParameters, Tuned};

/// The frozen relative embeddings.
#[derive(Clone, Debug)]
pub struct RelativeEmbeddings {
    /// `[rows, hidden]`
    table: Vec<f32>,
    layer_norm: Option<FrozenLayerNorm>,
    /// The rows by distance for the longest text.
    by_distance: Vec<usize>,
    /// Whether content to position counts, and position to content.
    counts: [bool; 2],
    /// Of each layer, what its projections make of the rows that the longest text reads, `[rows, 3 · hidden]`.
    projected: Vec<OnceLock<Vec<f32>>>,
}

impl RelativeEmbeddings {
    /// # Shapes
    /// table `[2 · span, hidden]`
    pub fn new(
        config: &EncoderConfig,
        relative: &RelativeConfig,
        table: Vec<f32>,
        layer_norm: Option<FrozenLayerNorm>,
    ) -> Self {
        Self {
            table,
            layer_norm,
            by_distance: relative.rows().lay_out(config.max_length()),
            counts: relative.counts(),
            projected: vec![OnceLock::new(); config.num_hidden_layers],
        }
    }

    /// The embeddings, `[rows, hidden]`.
    pub fn table(&self) -> &[f32] {
        &self.table
    }

    /// What they pass through, if anything.
    pub fn layer_norm(&self) -> Option<&FrozenLayerNorm> {
        self.layer_norm.as_ref()
    }

    pub(super) fn parameter_count(&self) -> usize {
        let norm = self.layer_norm.as_ref().map_or(0, |norm| norm.weight.len() + norm.bias.len());
        self.table.len() + norm
    }

    /// The rows that texts up to a length read.
    fn rows(&self, longest: usize) -> Range<usize> {
        let (middle, far) = (self.by_distance.len() / 2, longest - 1);
        self.by_distance[middle + far]..self.by_distance[middle - far] + 1
    }

    /// Scratch memory of the attention of a text.
    pub(super) fn scratch(&self, longest: usize) -> usize {
        longest * self.rows(longest).len()
    }

    fn longest(&self) -> usize {
        self.by_distance.len() / 2 + 1
    }

    fn positions<'a>(&'a self, projected: &'a [f32], rows: &Range<usize>) -> RelativePositions<'a> {
        let [content_to_position, position_to_content] = self.counts;
        RelativePositions {
            projected,
            first: rows.start,
            by_distance: &self.by_distance,
            content_to_position,
            position_to_content,
        }
    }
}

/// What a pass over one chunk needs of the relative embeddings.
#[derive(Debug, Default)]
pub(super) struct RelativeActivations {
    /// The rows as a layer's projections read them, `[rows, hidden]`.
    rows: Vec<f32>,
    /// Before scale and shift of their layer normalisation; empty without one.
    normalised: Vec<f32>,
    rstd: Vec<f32>,
    /// Gradient of a layer's projected rows, `[rows, 3 · hidden]`; empty where nothing needs it.
    pub d_projected: Vec<f32>,
    /// Gradient of the rows that one layer reads, before they are dropped.
    d_of_layer: Vec<f32>,
    /// Sum over the layers; empty where the rows are not trained.
    d_rows: Vec<f32>,
}

#[cfg(test)]
impl RelativeActivations {
    pub fn numbers(&self) -> usize {
        let Self { rows, normalised, rstd, d_projected, d_of_layer, d_rows } = self;
        [rows, normalised, rstd, d_projected, d_of_layer, d_rows].iter().map(|buffer| buffer.len()).sum()
    }
}

/// Whose rows, for texts of which length, and what of them is dropped.
#[derive(Clone, Copy)]
pub(super) struct RelativePass<'a> {
    pub task: Option<&'a TaskParameters>,
    pub longest: usize,
    pub dropout: &'a EncoderDropout,
}

impl Encoder {
    /// Queries and keys of relative positions in a layer, in a family with relative embeddings. Those that are no constant of the
    /// base are left in `projected`, which is empty otherwise.
    pub(super) fn relative_positions<'a>(
        &'a self,
        layer: usize,
        pass: RelativePass<'_>,
        buffers: &mut RelativeActivations,
        projected: &'a mut Vec<f32>,
    ) -> Option<RelativePositions<'a>> {
        let relative = self.relative_embeddings.as_ref()?;
        projected.clear();
        let bare = pass.task.is_none_or(|task| {
            task.projection(layer, Projection::QueryKeyValue).is_nothing()
                && !task.layout().trains_relative_embeddings()
        });
        if bare && pass.dropout.hidden.is_none() {
            return Some(self.constant_positions(layer, relative));
        }
        let rows = relative.rows(pass.longest);
        self.read_rows(relative, pass.task, &rows, buffers);
        self.drop_rows(layer, pass.dropout, &rows, &mut buffers.rows);
        let frozen = &self.layers[layer].query_key_value;
        let tuned =
            pass.task.map_or(Tuned::default(), |task| task.projection(layer, Projection::QueryKeyValue));
        projected.resize(rows.len() * frozen.outputs(), 0.0);
        projection::forward(frozen, tuned, &buffers.rows, projected);
        Some(relative.positions(projected, &rows))
    }

    /// The same again from what [`Encoder::relative_positions`] left.
    pub(super) fn relative_positions_again<'a>(
        &'a self,
        layer: usize,
        longest: usize,
        projected: &'a [f32],
    ) -> Option<RelativePositions<'a>> {
        let relative = self.relative_embeddings.as_ref()?;
        Some(match projected {
            [] => self.constant_positions(layer, relative),
            projected => relative.positions(projected, &relative.rows(longest)),
        })
    }

    /// What the base makes of its own rows.
    fn constant_positions<'a>(
        &'a self,
        layer: usize,
        relative: &'a RelativeEmbeddings,
    ) -> RelativePositions<'a> {
        let rows = relative.rows(relative.longest());
        let projected = relative.projected[layer].get_or_init(|| {
            let mut buffers = RelativeActivations::default();
            self.read_rows(relative, None, &rows, &mut buffers);
            let frozen = &self.layers[layer].query_key_value;
            let mut projected = vec![0.0; rows.len() * frozen.outputs()];
            frozen.forward(&buffers.rows, &mut projected);
            projected
        });
        relative.positions(projected, &rows)
    }

    /// Of each layer how many numbers its projections make of the base's own rows, and how many of these are there.
    pub(super) fn relative_numbers_by_layer(&self) -> impl Iterator<Item = (usize, usize)> {
        self.relative_embeddings.iter().flat_map(|relative| {
            let rows = relative.rows(relative.longest()).len();
            self.layers.iter().zip(&relative.projected).map(move |(layer, projected)| {
                (rows * layer.query_key_value.outputs(), projected.get().map_or(0, Vec::len))
            })
        })
    }

    /// All numbers of the relative embeddings that passes read, to be digested.
    pub(super) fn relative_numbers(&self) -> Vec<&[f32]> {
        let Some(relative) = &self.relative_embeddings else { return Vec::new() };
        let mut numbers: Vec<&[f32]> = vec![&relative.table];
        numbers.extend(relative.layer_norm.iter().flat_map(|norm| [&norm.weight[..], &norm.bias]));
        numbers
            .extend((0..self.layers.len()).map(|layer| self.constant_positions(layer, relative).projected));
        numbers
    }

    /// The layer normalisation of the rows as a task has it.
    pub(crate) fn relative_layer_norm_of<'a>(
        &self,
        relative: &'a RelativeEmbeddings,
        task: Option<&'a TaskParameters>,
    ) -> Option<LayerNormWeights<'a>> {
        let tuned = task.map_or(Tuned::default(), TaskParameters::relative_layer_norm);
        Some(tuned.layer_norm(relative.layer_norm.as_ref()?.weights()))
    }

    /// The rows as a task has them, normalised, in `buffers.rows`.
    fn read_rows(
        &self,
        relative: &RelativeEmbeddings,
        task: Option<&TaskParameters>,
        rows: &Range<usize>,
        buffers: &mut RelativeActivations,
    ) {
        let hidden = self.config.hidden_size;
        let table = task.and_then(TaskParameters::relative_embeddings).unwrap_or(&relative.table);
        let table = &table[rows.start * hidden..rows.end * hidden];
        let RelativeActivations { rows: read, normalised, rstd, .. } = buffers;
        read.clear();
        read.extend_from_slice(table);
        let Some(norm) = self.relative_layer_norm_of(relative, task) else { return };
        normalised.resize(table.len(), 0.0);
        rstd.resize(rows.len(), 0.0);
        layer_norm::forward(
            norm,
            self.config.layer_norm_eps,
            table,
            LayerNormCache { normalised, rstd },
            read,
        );
    }

    /// Drops of the rows that a layer reads; each has a key of its own, so that which rows a chunk reads changes no mask. On a
    /// gradient it is its own backward pass.
    fn drop_rows(&self, layer: usize, dropout: &EncoderDropout, rows: &Range<usize>, values: &mut [f32]) {
        for (row, values) in rows.clone().zip(values.chunks_exact_mut(self.config.hidden_size)) {
            dropout.hidden.apply(dropout.key(DropoutPlace::RelativeEmbeddings, layer, row), values);
        }
    }

    /// Makes room for the gradients of a backward pass.
    pub(super) fn begin_relative_gradients(
        &self,
        pass: &BackwardPass<'_>,
        buffers: &mut RelativeActivations,
    ) {
        buffers.d_rows.clear();
        if let Some(relative) = &self.relative_embeddings
            && pass.task.layout().trains_relative_embeddings()
        {
            let rows = relative.rows(pass.chunk.longest());
            buffers.d_rows.resize(rows.len() * self.config.hidden_size, 0.0);
        }
    }

    /// Makes room for the gradient of a layer's projected rows, where something below it is trained.
    pub(super) fn begin_relative_layer(
        &self,
        layer: usize,
        pass: &BackwardPass<'_>,
        buffers: &mut RelativeActivations,
    ) {
        buffers.d_projected.clear();
        if let Some(relative) = &self.relative_embeddings
            && trains_below_positions(pass.task.layout(), layer)
        {
            let rows = relative.rows(pass.chunk.longest());
            buffers.d_projected.resize(rows.len() * 3 * self.config.hidden_size, 0.0);
        }
    }

    /// From the gradient of a layer's projected rows that of its queries' and keys' weights, and of the rows.
    pub(super) fn backward_relative_layer(
        &self,
        layer: usize,
        pass: &BackwardPass<'_>,
        buffers: &mut RelativeActivations,
        gradients: &mut [f32],
    ) {
        let Some(relative) = &self.relative_embeddings else { return };
        if buffers.d_projected.is_empty() {
            return;
        }
        let BackwardPass { task, dropout, chunk } = *pass;
        let rows = relative.rows(chunk.longest());
        let frozen = &self.layers[layer].query_key_value;
        if task.layout().trains_weight(layer, Projection::QueryKeyValue) {
            self.read_rows(relative, Some(task), &rows, buffers);
            self.drop_rows(layer, dropout, &rows, &mut buffers.rows);
        }
        let RelativeActivations { rows: read, d_projected, d_of_layer, d_rows, .. } = buffers;
        let trained = task.layout().projection_gradients(gradients, layer, Projection::QueryKeyValue);
        projection::backward_weights(frozen, read, d_projected, trained);
        if d_rows.is_empty() {
            return;
        }
        d_of_layer.resize(d_rows.len(), 0.0);
        let tuned = task.projection(layer, Projection::QueryKeyValue);
        projection::backward_input(frozen, tuned, d_projected, (d_of_layer, Start::Zero));
        self.drop_rows(layer, dropout, &rows, d_of_layer);
        residual::add(d_of_layer, d_rows);
    }

    /// From the gradient of the rows, summed over the layers, those of their layer normalisation and of the table.
    pub(super) fn backward_relative_embeddings(
        &self,
        pass: &BackwardPass<'_>,
        buffers: &mut RelativeActivations,
        gradients: &mut [f32],
    ) {
        let Some(relative) = &self.relative_embeddings else { return };
        if buffers.d_rows.is_empty() {
            return;
        }
        let (hidden, layout) = (self.config.hidden_size, pass.task.layout());
        let rows = relative.rows(pass.chunk.longest());
        self.read_rows(relative, Some(pass.task), &rows, buffers);
        let RelativeActivations { normalised, rstd, d_rows, .. } = buffers;
        if let Some(norm) = self.relative_layer_norm_of(relative, Some(pass.task)) {
            backward_layer_norm_weights(normalised, d_rows, layout.relative_layer_norm_gradients(gradients));
            layer_norm::backward_input(norm.weight, normalised, rstd, d_rows);
        }
        if let Some(d_table) = layout.relative_embeddings_gradients(gradients) {
            residual::add(d_rows, &mut d_table[rows.start * hidden..rows.end * hidden]);
        }
    }
}

/// Whether something that a layer's projected rows are made of is trained.
fn trains_below_positions(layout: &TaskLayout, layer: usize) -> bool {
    layout.trains_relative_embeddings() || layout.trains_projection(layer, Projection::QueryKeyValue)
}
