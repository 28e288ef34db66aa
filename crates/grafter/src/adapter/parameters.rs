//! The trained numbers of one task.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use grafter_nn::activation::Activation;
use grafter_nn::adapter::AdapterWeights;
use grafter_nn::embedding::EmbeddingTables;
use grafter_nn::linear::{FrozenLinear, LinearWeights};

use super::config::{AdapterConfig, HeadForm};
use super::layout::TaskLayout;
use super::list::{HEAD, ParameterSpec, Projection, Role, Site};
use super::tuned::{Slots, Tuned, TunedGradients};
use crate::encoder::{Encoder, FrozenLayerNorm, RelativeEmbeddings};
use crate::random::Random;

/// The trained numbers of one task: a layout and one flat vector.
#[derive(Clone, Debug)]
pub struct TaskParameters {
    layout: Arc<TaskLayout>,
    values: Vec<f32>,
}

/// How the head's matrix begins: the standard deviation that BERT initialises new layers with.
const HEAD_INIT_STD: f32 = 0.02;

impl TaskParameters {
    /// Near-identity beginning: adapters from a normal distribution cut at two standard deviations, their biases zero,
    /// what the encoder has as it has it (Houlsby et al. 2019, sections 2.1 and 3.6).
    pub fn initialise(config: &AdapterConfig, encoder: &Encoder, init_std: f32, seed: u64) -> Self {
        let layout = TaskLayout::new(config, &encoder.config);
        let mut values = vec![0.0; layout.list.len()];
        for (index, spec) in layout.list.specs().iter().enumerate() {
            let std = match spec.role {
                Role::AdapterWeight => init_std,
                Role::HeadWeight => HEAD_INIT_STD,
                Role::Bias | Role::EncoderVector | Role::EncoderMatrix => continue,
            };
            // One stream a tensor, so that a tensor's beginning does not depend on what stands before it.
            let mut random = Random::new(seed).stream(index as u64);
            values[spec.range.clone()].iter_mut().for_each(|value| *value = random.truncated_normal() * std);
        }
        copy_encoder(&layout, encoder, &mut values);
        Self { layout: Arc::new(layout), values }
    }

    /// Parameters with given numbers.
    /// # Panics
    /// If there are not as many as the layout has.
    pub fn from_values(layout: impl Into<Arc<TaskLayout>>, values: Vec<f32>) -> Self {
        let layout = layout.into();
        assert_eq!(values.len(), layout.list.len(), "numbers of a task");
        Self { layout, values }
    }

    /// Names, shapes and places.
    pub fn layout(&self) -> &TaskLayout {
        &self.layout
    }

    /// Lets two tasks of one encoder hold their names and places once, if they were configured alike; says whether.
    pub(crate) fn share_layout(&mut self, other: &Self) -> bool {
        let alike = self.layout.config == other.layout.config;
        if alike {
            self.layout = Arc::clone(&other.layout);
        }
        alike
    }

    /// Takes over what another task made of the encoder: every tensor that both have, but for the head.
    pub fn take_encoder_of(&mut self, other: &Self) {
        let head = format!("{HEAD}.");
        let theirs: HashMap<&str, &ParameterSpec> =
            other.layout.list.specs().iter().map(|spec| (spec.name.as_str(), spec)).collect();
        for spec in self.layout.list.specs().iter().filter(|spec| !spec.name.starts_with(&head)) {
            if let Some(their) = theirs.get(spec.name.as_str()).filter(|their| their.shape == spec.shape) {
                self.values[spec.range.clone()].copy_from_slice(&other.values[their.range.clone()]);
            }
        }
    }

    /// All numbers of the head, as they stand in the list.
    pub fn head_values(&self) -> &[f32] {
        &self.values[self.layout.whole_head()]
    }

    /// The task with another head.
    /// # Panics
    /// If it has not as many numbers.
    pub fn set_head_values(&mut self, values: &[f32]) {
        let range = self.layout.whole_head();
        self.values[range].copy_from_slice(values);
    }

    /// All numbers, in the order of the list.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Names and places together with all numbers, for the optimiser.
    pub fn split_mut(&mut self) -> (&TaskLayout, &mut [f32]) {
        (&self.layout, &mut self.values)
    }

    /// The adapter of a place, if the task has one there.
    pub fn adapter(&self, layer: usize, site: Site) -> Option<AdapterWeights<'_>> {
        let range = self.layout.layers[layer].sites[site as usize].adapter.clone()?;
        let activation = self.layout.config.activation.operation();
        Some(AdapterWeights::split(&self.values[range], self.layout.hidden, activation))
    }

    /// What the task has of the layer normalisation of a place.
    pub fn layer_norm(&self, layer: usize, site: Site) -> Tuned<'_> {
        self.layout.layers[layer].sites[site as usize].layer_norm.read(&self.values)
    }

    /// What the task has of the layer normalisation after all layers.
    pub fn final_layer_norm(&self) -> Tuned<'_> {
        self.layout.final_layer_norm.read(&self.values)
    }

    /// What the task has of a linear layer.
    pub fn projection(&self, layer: usize, projection: Projection) -> Tuned<'_> {
        self.layout.layers[layer].projections[projection as usize].read(&self.values)
    }

    /// What the task has of the layer normalisation of the embeddings.
    pub fn embeddings_layer_norm(&self) -> Tuned<'_> {
        self.layout.embeddings_layer_norm.read(&self.values)
    }

    /// What the task has of the embeddings' projection.
    pub fn embeddings_projection(&self) -> Tuned<'_> {
        self.layout.embeddings_projection.read(&self.values)
    }

    /// The relative position bias, `[buckets, heads]`, if the task has its own.
    pub fn relative_bias(&self) -> Option<&[f32]> {
        self.layout.relative_bias.clone().map(|range| &self.values[range])
    }

    /// The relative embeddings, `[rows, hidden]`, if the task has its own.
    pub fn relative_embeddings(&self) -> Option<&[f32]> {
        self.layout.relative_embeddings.clone().map(|range| &self.values[range])
    }

    /// What the task has of their layer normalisation.
    pub fn relative_layer_norm(&self) -> Tuned<'_> {
        self.layout.relative_layer_norm.read(&self.values)
    }

    /// The tables of the embeddings, if the task has its own.
    pub fn tables(&self) -> Option<EmbeddingTables<'_>> {
        let [words, positions, types] = self.layout.tables.as_ref()?;
        let table = |range: &Range<usize>| &self.values[range.clone()];
        Some(EmbeddingTables {
            words: table(words),
            positions: table(positions),
            types: table(types),
            hidden: self.layout.embedding_width,
            first_position: self.layout.first_position,
        })
    }

    /// What the task has of the pooler.
    pub fn pooler(&self) -> Tuned<'_> {
        self.layout.pooler.read(&self.values)
    }

    /// The head's last layer, `[outputs, hidden]`.
    pub fn head(&self) -> LinearWeights<'_> {
        LinearWeights::split(&self.values[self.layout.head.clone()], self.layout.config.outputs)
    }

    /// The layer before it and its activation, `[hidden, hidden]`, if the head has one.
    pub fn head_dense(&self) -> Option<(LinearWeights<'_>, Activation)> {
        match (self.layout.config.head, self.layout.head_dense.clone()) {
            (HeadForm::Dense(activation), Some(range)) => {
                Some((LinearWeights::split(&self.values[range], self.layout.hidden), activation.operation()))
            }
            _ => None,
        }
    }
}

/// Fills what begins as the encoder's.
fn copy_encoder(layout: &TaskLayout, encoder: &Encoder, values: &mut [f32]) {
    let mut norm = |slots: &Slots, frozen: &FrozenLayerNorm| {
        let TunedGradients { weight, bias } = slots.write(values);
        weight.into_iter().for_each(|weight| weight.copy_from_slice(&frozen.weight));
        bias.into_iter().for_each(|bias| bias.copy_from_slice(&frozen.bias));
    };
    norm(&layout.embeddings_layer_norm, &encoder.embeddings_layer_norm);
    for (slots, layer) in layout.layers.iter().zip(&encoder.layers) {
        if let Some(frozen) = &layer.attention_layer_norm {
            norm(&slots.sites[Site::Attention as usize].layer_norm, frozen);
        }
        norm(&slots.sites[Site::FeedForward as usize].layer_norm, &layer.output_layer_norm);
    }
    if let Some(frozen) = &encoder.final_layer_norm {
        norm(&layout.final_layer_norm, frozen);
    }
    if let Some(frozen) = encoder.relative_embeddings.as_ref().and_then(RelativeEmbeddings::layer_norm) {
        norm(&layout.relative_layer_norm, frozen);
    }
    let mut linear = |slots: &Slots, frozen: &FrozenLinear| {
        let TunedGradients { weight, bias } = slots.write(values);
        weight.into_iter().for_each(|weight| weight.copy_from_slice(&frozen.weight()));
        bias.into_iter().for_each(|bias| bias.copy_from_slice(frozen.bias()));
    };
    for (slots, layer) in layout.layers.iter().zip(&encoder.layers) {
        for projection in Projection::ALL {
            linear(&slots.projections[projection as usize], layer.linear(projection));
        }
    }
    if let Some(pooler) = &encoder.pooler {
        linear(&layout.pooler, pooler);
    }
    if let Some(projection) = &encoder.embeddings_projection {
        linear(&layout.embeddings_projection, projection);
    }
    if let Some(bias) = layout.relative_bias_gradients(values) {
        bias.copy_from_slice(&encoder.relative_bias);
    }
    if let Some(relative) = &encoder.relative_embeddings
        && let Some(table) = layout.relative_embeddings_gradients(values)
    {
        table.copy_from_slice(relative.table());
    }
    if let Some(tables) = layout.table_gradients(values) {
        tables.words.copy_from_slice(&encoder.embedding.words);
        tables.positions.copy_from_slice(&encoder.embedding.positions);
        tables.types.copy_from_slice(&encoder.embedding.types);
    }
}
