//! The trained numbers of one task, and where each of them stands.
//!
//! [`TaskLayout`] finds the place of every trained tensor in the flat vector by its exact name once, so that a pass never
//! looks up a name. [`TaskParameters`] holds the numbers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use grafter_nn::activation::Activation;
use grafter_nn::adapter::{AdapterGradients, AdapterWeights};
use grafter_nn::embedding::{EmbeddingGradients, EmbeddingTables};
use grafter_nn::layer_norm::LayerNormWeights;
use grafter_nn::linear::{FrozenLinear, LinearGradients, LinearWeights};

use super::config::{AdapterConfig, HeadForm};
use super::list::{
    EMBEDDINGS_LAYER_NORM, EMBEDDINGS_PROJECTION, FINAL_LAYER_NORM, HEAD, HEAD_DENSE, Lowest, POOLER,
    ParameterList, ParameterSpec, Place, Projection, RELATIVE_BIAS, RELATIVE_EMBEDDINGS, RELATIVE_LAYER_NORM,
    Role, Site, TABLES,
};
use crate::encoder::{Encoder, EncoderConfig, FrozenLayerNorm, RelativeEmbeddings};
use crate::random::Random;

/// What a task brings of a module that the encoder has: its own weight, its own bias, both, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tuned<'a> {
    /// `[outputs, inputs]` of a linear layer, the scale `[hidden]` of a layer normalisation.
    pub weight: Option<&'a [f32]>,
    /// The bias, or the shift of a layer normalisation.
    pub bias: Option<&'a [f32]>,
}

impl<'a> Tuned<'a> {
    /// Whether the encoder's own numbers are used.
    pub fn is_nothing(&self) -> bool {
        self.weight.is_none() && self.bias.is_none()
    }

    /// The layer normalisation with these numbers, and the encoder's where there are none.
    pub fn layer_norm(self, frozen: LayerNormWeights<'a>) -> LayerNormWeights<'a> {
        LayerNormWeights {
            weight: self.weight.unwrap_or(frozen.weight),
            bias: self.bias.unwrap_or(frozen.bias),
        }
    }
}

/// Where the gradients of a module are added, of what of it is trained.
#[derive(Debug)]
pub struct TunedGradients<'a> {
    /// As [`Tuned::weight`].
    pub weight: Option<&'a mut [f32]>,
    /// As [`Tuned::bias`].
    pub bias: Option<&'a mut [f32]>,
}

/// The places of [`Tuned`]; a bias stands directly after its weight.
#[derive(Clone, Debug, Default)]
struct Slots {
    weight: Option<Range<usize>>,
    bias: Option<Range<usize>>,
}

impl Slots {
    /// Of the parts of one module.
    fn of(list: &ParameterList, prefix: &str, parts: &[&str]) -> Self {
        let names = |end: &str| parts.iter().map(|part| format!("{prefix}{part}.{end}")).collect::<Vec<_>>();
        let slots = Self { weight: list.block(&names("weight")), bias: list.block(&names("bias")) };
        if let (Some(weight), Some(bias)) = (&slots.weight, &slots.bias) {
            assert_eq!(weight.end, bias.start, "a bias stands after its weight");
        }
        slots
    }

    fn is_empty(&self) -> bool {
        self.weight.is_none() && self.bias.is_none()
    }

    fn read<'a>(&self, values: &'a [f32]) -> Tuned<'a> {
        let part = |range: &Option<Range<usize>>| range.clone().map(|range| &values[range]);
        Tuned { weight: part(&self.weight), bias: part(&self.bias) }
    }

    fn write<'a>(&self, flat: &'a mut [f32]) -> TunedGradients<'a> {
        match (self.weight.clone(), self.bias.clone()) {
            (Some(weight), Some(bias)) => {
                let (weight, bias) = flat[weight.start..bias.end].split_at_mut(weight.len());
                TunedGradients { weight: Some(weight), bias: Some(bias) }
            }
            (weight, None) => TunedGradients { weight: weight.map(|range| &mut flat[range]), bias: None },
            (None, bias) => TunedGradients { weight: None, bias: bias.map(|range| &mut flat[range]) },
        }
    }
}

#[derive(Clone, Debug, Default)]
struct SiteSlots {
    adapter: Option<Range<usize>>,
    layer_norm: Slots,
}

#[derive(Clone, Debug)]
struct LayerSlots {
    sites: [SiteSlots; 2],
    projections: [Slots; 4],
}

impl LayerSlots {
    fn new(list: &ParameterList, layer: usize) -> Self {
        let site = |site: Site| {
            let prefix = site.prefix(layer);
            let names = ["down.weight", "down.bias", "up.weight", "up.bias"];
            SiteSlots {
                adapter: list.block(&names.map(|name| format!("{prefix}.adapter.{name}"))),
                layer_norm: Slots::of(list, &format!("{prefix}."), &["layer_norm"]),
            }
        };
        let projection = |projection: Projection| {
            Slots::of(list, &format!("{}.", projection.site().prefix(layer)), projection.parts())
        };
        Self { sites: Site::ALL.map(site), projections: Projection::ALL.map(projection) }
    }

    /// The lowest place where something is trained.
    fn lowest(&self, encoder: &EncoderConfig) -> Option<Place> {
        let sites = || Site::ALL.into_iter().map(|site| (site, &self.sites[site as usize]));
        let adapters = sites().filter(|(_, slots)| slots.adapter.is_some()).map(|(site, _)| site.into());
        let norms = sites()
            .filter(|(_, slots)| !slots.layer_norm.is_empty())
            .map(|(site, _)| Place::of_layer_norm(site, encoder));
        let projections = Projection::ALL
            .into_iter()
            .filter(|projection| !self.projections[*projection as usize].is_empty());
        adapters.chain(norms).chain(projections.map(Place::from)).min()
    }
}

/// Where the numbers of each place in the network stand in the flat vector.
#[derive(Clone, Debug)]
pub struct TaskLayout {
    config: AdapterConfig,
    list: ParameterList,
    hidden: usize,
    /// Features of an embedding.
    embedding_width: usize,
    embeddings_layer_norm: Slots,
    embeddings_projection: Slots,
    relative_bias: Option<Range<usize>>,
    relative_embeddings: Option<Range<usize>>,
    relative_layer_norm: Slots,
    layers: Vec<LayerSlots>,
    final_layer_norm: Slots,
    pooler: Slots,
    /// The layer of the head before its last; the last stands directly after it.
    head_dense: Option<Range<usize>>,
    /// The last layer of the head.
    head: Range<usize>,
    /// The tables of the embeddings, one after another, at the end of the flat vector; those of positions and of token types
    /// are empty where there are none.
    tables: Option<[Range<usize>; 3]>,
    first_position: usize,
    lowest: Lowest,
}

impl TaskLayout {
    /// The layout of a task's parameters on an encoder.
    pub fn new(config: &AdapterConfig, encoder: &EncoderConfig) -> Self {
        let list = ParameterList::new(config, encoder);
        let embeddings_layer_norm = Slots::of(&list, EMBEDDINGS_LAYER_NORM, &[""]);
        let layers: Vec<LayerSlots> =
            (0..encoder.num_hidden_layers).map(|layer| LayerSlots::new(&list, layer)).collect();
        let [words, positions, types] = TABLES.map(|name| list.block(&[format!("{name}.weight")]));
        let tables = words.map(|words| {
            let positions = positions.unwrap_or(words.end..words.end);
            let types = types.unwrap_or(positions.end..positions.end);
            [words, positions, types]
        });
        let final_layer_norm = Slots::of(&list, FINAL_LAYER_NORM, &[""]);
        let linear = |name: &str| list.block(&["weight", "bias"].map(|end| format!("{name}.{end}")));
        let above = (!final_layer_norm.is_empty()).then(|| (layers.len() - 1, Place::FinalNorm));
        let in_layers = || {
            let mut layers = layers.iter().enumerate();
            layers.find_map(|(layer, slots)| Some((layer, slots.lowest(encoder)?))).or(above)
        };
        let lowest = match in_layers() {
            _ if tables.is_some() || !embeddings_layer_norm.is_empty() => Lowest::Embeddings,
            Some((layer, place)) => Lowest::Layer(layer, place),
            None => Lowest::Head,
        };
        Self {
            config: config.clone(),
            hidden: encoder.hidden_size,
            first_position: encoder.first_position,
            embedding_width: encoder.embedding_width(),
            embeddings_layer_norm,
            embeddings_projection: Slots::of(&list, EMBEDDINGS_PROJECTION, &[""]),
            relative_bias: list.block(&[RELATIVE_BIAS.to_owned()]),
            relative_embeddings: list.block(&[RELATIVE_EMBEDDINGS.to_owned()]),
            relative_layer_norm: Slots::of(&list, RELATIVE_LAYER_NORM, &[""]),
            layers,
            final_layer_norm,
            pooler: Slots::of(&list, POOLER, &[""]),
            head_dense: linear(HEAD_DENSE),
            head: linear(HEAD).expect("every method trains the head"),
            tables,
            lowest,
            list,
        }
    }

    /// What the task was configured as.
    pub fn config(&self) -> &AdapterConfig {
        &self.config
    }

    /// Names, shapes and places.
    pub fn list(&self) -> &ParameterList {
        &self.list
    }

    /// Features of the encoder's hidden states.
    pub fn hidden(&self) -> usize {
        self.hidden
    }

    /// Where the backward pass may stop.
    pub fn lowest_trained(&self) -> Lowest {
        self.lowest
    }

    /// Whether something is trained below a place of a layer, so that the gradient has to go on.
    pub fn trains_below(&self, layer: usize, place: impl Into<Place>) -> bool {
        self.lowest < Lowest::Layer(layer, place.into())
    }

    /// How many layers lie below everything that is trained: the hidden states that enter the next one, or the head, are
    /// constants of a text.
    pub fn frozen_layers(&self) -> usize {
        match self.lowest {
            Lowest::Embeddings => 0,
            Lowest::Layer(layer, _) => layer,
            Lowest::Head => self.layers.len(),
        }
    }

    /// The numbers of the flat vector before the tables of the embeddings, whose gradients are sparse: a batch reads few
    /// of their rows.
    pub fn dense_len(&self) -> usize {
        self.tables.as_ref().map_or(self.list.len(), |[words, ..]| words.start)
    }

    /// Whether the tables of the embeddings are trained.
    pub fn trains_tables(&self) -> bool {
        self.tables.is_some()
    }

    /// Whether the weight of a linear layer is trained, so that its input has to be kept.
    pub fn trains_weight(&self, layer: usize, projection: Projection) -> bool {
        self.layers[layer].projections[projection as usize].weight.is_some()
    }

    /// Whether anything of a linear layer is trained.
    pub fn trains_projection(&self, layer: usize, projection: Projection) -> bool {
        !self.layers[layer].projections[projection as usize].is_empty()
    }

    /// Where the gradients of one adapter are added, if it is trained.
    pub fn adapter_gradients<'a>(
        &self,
        flat: &'a mut [f32],
        layer: usize,
        site: Site,
    ) -> Option<AdapterGradients<'a>> {
        let range = self.layers[layer].sites[site as usize].adapter.clone()?;
        Some(AdapterGradients::split(&mut flat[range], self.hidden))
    }

    /// Where the gradients of one layer normalisation are added.
    pub fn layer_norm_gradients<'a>(
        &self,
        flat: &'a mut [f32],
        layer: usize,
        site: Site,
    ) -> TunedGradients<'a> {
        self.layers[layer].sites[site as usize].layer_norm.write(flat)
    }

    /// Where the gradients of a linear layer are added.
    pub fn projection_gradients<'a>(
        &self,
        flat: &'a mut [f32],
        layer: usize,
        projection: Projection,
    ) -> TunedGradients<'a> {
        self.layers[layer].projections[projection as usize].write(flat)
    }

    /// Where the gradients of the embeddings' layer normalisation are added.
    pub fn embeddings_layer_norm_gradients<'a>(&self, flat: &'a mut [f32]) -> TunedGradients<'a> {
        self.embeddings_layer_norm.write(flat)
    }

    /// Where the gradients of the embeddings' projection are added.
    pub fn embeddings_projection_gradients<'a>(&self, flat: &'a mut [f32]) -> TunedGradients<'a> {
        self.embeddings_projection.write(flat)
    }

    /// Where the gradients of the relative position bias are added, `[buckets, heads]`, if it is trained.
    pub fn relative_bias_gradients<'a>(&self, flat: &'a mut [f32]) -> Option<&'a mut [f32]> {
        self.relative_bias.clone().map(|range| &mut flat[range])
    }

    /// Whether the relative embeddings or their layer normalisation are trained.
    pub fn trains_relative_embeddings(&self) -> bool {
        self.relative_embeddings.is_some() || !self.relative_layer_norm.is_empty()
    }

    /// Where the gradients of the relative embeddings are added, `[rows, hidden]`, if they are trained.
    pub fn relative_embeddings_gradients<'a>(&self, flat: &'a mut [f32]) -> Option<&'a mut [f32]> {
        self.relative_embeddings.clone().map(|range| &mut flat[range])
    }

    /// Where the gradients of their layer normalisation are added.
    pub fn relative_layer_norm_gradients<'a>(&self, flat: &'a mut [f32]) -> TunedGradients<'a> {
        self.relative_layer_norm.write(flat)
    }

    /// Where the gradients of the layer normalisation after all layers are added.
    pub fn final_layer_norm_gradients<'a>(&self, flat: &'a mut [f32]) -> TunedGradients<'a> {
        self.final_layer_norm.write(flat)
    }

    /// Where the gradients of the tables of the embeddings are added, if they are trained.
    pub fn table_gradients<'a>(&self, flat: &'a mut [f32]) -> Option<EmbeddingGradients<'a>> {
        let [words, positions, types] = self.tables.as_ref()?;
        let (words, rest) = flat[words.start..types.end].split_at_mut(words.len());
        let (positions, types) = rest.split_at_mut(positions.len());
        let (hidden, first_position) = (self.embedding_width, self.first_position);
        Some(EmbeddingGradients { words, positions, types, hidden, first_position })
    }

    /// Where the gradients of the pooler are added.
    pub fn pooler_gradients<'a>(&self, flat: &'a mut [f32]) -> TunedGradients<'a> {
        self.pooler.write(flat)
    }

    /// Where the gradients of the head's last layer are added.
    pub fn head_gradients<'a>(&self, flat: &'a mut [f32]) -> LinearGradients<'a> {
        LinearGradients::split(&mut flat[self.head.clone()], self.config.outputs)
    }

    /// Where the gradients of the layer before it are added, if the head has one.
    pub fn head_dense_gradients<'a>(&self, flat: &'a mut [f32]) -> Option<LinearGradients<'a>> {
        let range = self.head_dense.clone()?;
        Some(LinearGradients::split(&mut flat[range], self.hidden))
    }

    /// All numbers of the head.
    fn whole_head(&self) -> Range<usize> {
        self.head_dense.as_ref().map_or(self.head.start, |dense| dense.start)..self.head.end
    }
}

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
