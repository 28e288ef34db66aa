//! What trains is a list of names, in one place.
//!
//! [`ParameterList::new`] writes the list for a method. The trained numbers are one flat `f32` vector in the list's
//! order, and so are their gradients and the optimiser's moments; the adapter file and the parameter count come from
//! the same list. [`TaskLayout`] finds each number's place by its exact name once, so that a pass never looks up a
//! name. Another method is another list: where a name is absent, the frozen encoder's own number is used.

use std::ops::Range;

use grafter_nn::adapter::{AdapterGradients, AdapterWeights};
use grafter_nn::layer_norm::LayerNormWeights;
use grafter_nn::linear::{LinearGradients, LinearWeights};

use super::config::{AdapterConfig, Method};
use crate::encoder::{Encoder, EncoderConfig};
use crate::random::Random;

/// One trained tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// Its name in the adapter file.
    pub name: String,
    /// `[outputs, inputs]` of a weight, `[features]` of a bias, scale or shift.
    pub shape: Vec<usize>,
    /// Its place in the flat vector.
    pub range: Range<usize>,
    /// What it is, which decides how it begins and whether weight decay acts on it.
    pub role: Role,
}

/// What a trained tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A projection of an adapter.
    AdapterWeight,
    /// The head's matrix.
    HeadWeight,
    /// Scale or shift of a layer normalisation; begins as the encoder's.
    LayerNorm,
    /// A bias of an adapter or of the head; begins at zero.
    Bias,
}

impl Role {
    /// Weight decay acts on matrices only, as in the original BERT code.
    pub fn decays(self) -> bool {
        matches!(self, Self::AdapterWeight | Self::HeadWeight)
    }
}

/// The two places in a layer where an adapter is grafted and a layer normalisation follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// After the attention's output projection.
    Attention = 0,
    /// After the feed-forward network's second projection.
    FeedForward = 1,
}

impl Site {
    /// Both sites in the order of the forward pass.
    pub const ALL: [Self; 2] = [Self::Attention, Self::FeedForward];

    fn prefix(self, layer: usize) -> String {
        match self {
            Self::Attention => format!("layer.{layer}.attention"),
            Self::FeedForward => format!("layer.{layer}.feed_forward"),
        }
    }
}

const EMBEDDINGS_LAYER_NORM: &str = "embeddings.layer_norm";
const HEAD: &str = "head";

/// The names, shapes and places of everything that a task trains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterList {
    specs: Vec<ParameterSpec>,
}

impl ParameterList {
    /// The list of a method on an encoder.
    pub fn new(config: &AdapterConfig, encoder: &EncoderConfig) -> Self {
        let mut list = Self { specs: Vec::new() };
        let hidden = encoder.hidden_size;
        if config.method == Method::Houlsby {
            if config.adapt_from_layer == 0 {
                list.push_layer_norm(EMBEDDINGS_LAYER_NORM, hidden);
            }
            for layer in config.adapt_from_layer..encoder.num_hidden_layers {
                for site in Site::ALL {
                    let prefix = site.prefix(layer);
                    list.push_adapter(&format!("{prefix}.adapter"), hidden, config.bottleneck);
                    list.push_layer_norm(&format!("{prefix}.layer_norm"), hidden);
                }
            }
        }
        list.push(format!("{HEAD}.weight"), vec![config.outputs, hidden], Role::HeadWeight);
        list.push(format!("{HEAD}.bias"), vec![config.outputs], Role::Bias);
        list
    }

    /// The trained tensors in the order of the flat vector.
    pub fn specs(&self) -> &[ParameterSpec] {
        &self.specs
    }

    /// How many numbers are trained.
    pub fn len(&self) -> usize {
        self.specs.last().map_or(0, |spec| spec.range.end)
    }

    /// Whether nothing is trained.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, name: String, shape: Vec<usize>, role: Role) {
        let start = self.len();
        let range = start..start + shape.iter().product::<usize>();
        self.specs.push(ParameterSpec { name, shape, range, role });
    }

    /// Weight and bias stand together, so that one slice holds both (see [`LayerNormWeights::split`]).
    fn push_layer_norm(&mut self, name: &str, hidden: usize) {
        self.push(format!("{name}.weight"), vec![hidden], Role::LayerNorm);
        self.push(format!("{name}.bias"), vec![hidden], Role::LayerNorm);
    }

    /// The four tensors stand together in the order of [`AdapterWeights::split`].
    fn push_adapter(&mut self, name: &str, hidden: usize, bottleneck: usize) {
        self.push(format!("{name}.down.weight"), vec![bottleneck, hidden], Role::AdapterWeight);
        self.push(format!("{name}.down.bias"), vec![bottleneck], Role::Bias);
        self.push(format!("{name}.up.weight"), vec![hidden, bottleneck], Role::AdapterWeight);
        self.push(format!("{name}.up.bias"), vec![hidden], Role::Bias);
    }

    /// The place of several tensors that stand together, or `None` if the first is not in the list.
    fn block(&self, prefix: &str, names: &[&str]) -> Option<Range<usize>> {
        let first = self.specs.iter().position(|spec| spec.name == format!("{prefix}.{}", names[0]))?;
        let specs = &self.specs[first..first + names.len()];
        for (spec, name) in specs.iter().zip(names) {
            assert_eq!(spec.name, format!("{prefix}.{name}"), "the tensors of a block stand together");
        }
        Some(specs[0].range.start..specs[names.len() - 1].range.end)
    }
}

/// The lowest place in the network where something is trained; the backward pass stops there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lowest {
    /// The layer normalisation of the embeddings.
    Embeddings,
    /// A layer.
    Layer(usize),
    /// Nothing of the encoder: the head only.
    Head,
}

#[derive(Clone, Debug, Default)]
struct SiteSlots {
    adapter: Option<Range<usize>>,
    layer_norm: Option<Range<usize>>,
}

/// Where the numbers of each place in the network stand in the flat vector.
#[derive(Clone, Debug)]
pub struct TaskLayout {
    config: AdapterConfig,
    list: ParameterList,
    hidden: usize,
    embeddings_layer_norm: Option<Range<usize>>,
    sites: Vec<[SiteSlots; 2]>,
    head: Range<usize>,
}

impl TaskLayout {
    /// The layout of a task's parameters on an encoder.
    pub fn new(config: &AdapterConfig, encoder: &EncoderConfig) -> Self {
        let list = ParameterList::new(config, encoder);
        let slots = |layer: usize, site: Site| SiteSlots {
            adapter: list.block(
                &format!("{}.adapter", site.prefix(layer)),
                &["down.weight", "down.bias", "up.weight", "up.bias"],
            ),
            layer_norm: list.block(&format!("{}.layer_norm", site.prefix(layer)), &["weight", "bias"]),
        };
        let sites =
            (0..encoder.num_hidden_layers).map(|layer| Site::ALL.map(|site| slots(layer, site))).collect();
        Self {
            config: config.clone(),
            hidden: encoder.hidden_size,
            embeddings_layer_norm: list.block(EMBEDDINGS_LAYER_NORM, &["weight", "bias"]),
            sites,
            head: list.block(HEAD, &["weight", "bias"]).expect("every method trains the head"),
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
        if self.embeddings_layer_norm.is_some() {
            return Lowest::Embeddings;
        }
        let trained = |slots: &SiteSlots| slots.adapter.is_some() || slots.layer_norm.is_some();
        self.sites.iter().position(|layer| layer.iter().any(trained)).map_or(Lowest::Head, Lowest::Layer)
    }

    /// How many layers lie below everything that is trained: the hidden states that enter the next one, or the head, are
    /// constants of a text.
    pub fn frozen_layers(&self) -> usize {
        match self.lowest_trained() {
            Lowest::Embeddings => 0,
            Lowest::Layer(layer) => layer,
            Lowest::Head => self.sites.len(),
        }
    }

    fn site(&self, layer: usize, site: Site) -> &SiteSlots {
        &self.sites[layer][site as usize]
    }

    /// Where the gradients of one adapter are added, if it is trained.
    pub fn adapter_gradients<'a>(
        &self,
        flat: &'a mut [f32],
        layer: usize,
        site: Site,
    ) -> Option<AdapterGradients<'a>> {
        let range = self.site(layer, site).adapter.clone()?;
        Some(AdapterGradients::split(&mut flat[range], self.hidden))
    }

    /// Where the gradients of one layer normalisation are added (scale, shift), if it is trained.
    pub fn layer_norm_gradients<'a>(
        &self,
        flat: &'a mut [f32],
        layer: usize,
        site: Site,
    ) -> Option<(&'a mut [f32], &'a mut [f32])> {
        let range = self.site(layer, site).layer_norm.clone()?;
        Some(flat[range].split_at_mut(self.hidden))
    }

    /// Where the gradients of the embeddings' layer normalisation are added, if it is trained.
    pub fn embeddings_layer_norm_gradients<'a>(
        &self,
        flat: &'a mut [f32],
    ) -> Option<(&'a mut [f32], &'a mut [f32])> {
        let range = self.embeddings_layer_norm.clone()?;
        Some(flat[range].split_at_mut(self.hidden))
    }

    /// Where the gradients of the head are added.
    pub fn head_gradients<'a>(&self, flat: &'a mut [f32]) -> LinearGradients<'a> {
        LinearGradients::split(&mut flat[self.head.clone()], self.config.outputs)
    }
}

/// The trained numbers of one task: a layout and one flat vector.
#[derive(Clone, Debug)]
pub struct TaskParameters {
    layout: TaskLayout,
    values: Vec<f32>,
}

/// How the head's matrix begins: the standard deviation that BERT initialises new layers with.
const HEAD_INIT_STD: f32 = 0.02;

impl TaskParameters {
    /// Near-identity beginning: adapters from a normal distribution cut at two standard deviations, biases zero,
    /// layer normalisations as the encoder has them (Houlsby et al. 2019, sections 2.1 and 3.6).
    pub fn initialise(config: &AdapterConfig, encoder: &Encoder, init_std: f32, seed: u64) -> Self {
        let layout = TaskLayout::new(config, &encoder.config);
        let mut values = vec![0.0; layout.list.len()];
        for (index, spec) in layout.list.specs.iter().enumerate() {
            let std = match spec.role {
                Role::AdapterWeight => init_std,
                Role::HeadWeight => HEAD_INIT_STD,
                Role::LayerNorm | Role::Bias => continue,
            };
            // One stream a tensor, so that a tensor's beginning does not depend on what stands before it.
            let mut random = Random::new(seed).stream(index as u64);
            values[spec.range.clone()].iter_mut().for_each(|value| *value = random.truncated_normal() * std);
        }
        let mut copy = |range: &Option<Range<usize>>, norm: &crate::encoder::FrozenLayerNorm| {
            if let Some(range) = range {
                let (weight, bias) = values[range.clone()].split_at_mut(norm.weight.len());
                weight.copy_from_slice(&norm.weight);
                bias.copy_from_slice(&norm.bias);
            }
        };
        copy(&layout.embeddings_layer_norm, &encoder.embeddings_layer_norm);
        for (layer, slots) in encoder.layers.iter().zip(&layout.sites) {
            copy(&slots[Site::Attention as usize].layer_norm, &layer.attention_layer_norm);
            copy(&slots[Site::FeedForward as usize].layer_norm, &layer.output_layer_norm);
        }
        Self { layout, values }
    }

    /// Parameters with given numbers.
    /// # Panics
    /// If there are not as many as the layout has.
    pub fn from_values(layout: TaskLayout, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), layout.list.len(), "numbers of a task");
        Self { layout, values }
    }

    /// Names, shapes and places.
    pub fn layout(&self) -> &TaskLayout {
        &self.layout
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
        let range = self.layout.site(layer, site).adapter.clone()?;
        let activation = self.layout.config.activation.operation();
        Some(AdapterWeights::split(&self.values[range], self.layout.hidden, activation))
    }

    /// The tuned layer normalisation of a place, if the task has one there.
    pub fn layer_norm(&self, layer: usize, site: Site) -> Option<LayerNormWeights<'_>> {
        let range = self.layout.site(layer, site).layer_norm.clone()?;
        Some(LayerNormWeights::split(&self.values[range]))
    }

    /// The tuned layer normalisation of the embeddings, if the task has one.
    pub fn embeddings_layer_norm(&self) -> Option<LayerNormWeights<'_>> {
        Some(LayerNormWeights::split(&self.values[self.layout.embeddings_layer_norm.clone()?]))
    }

    /// The head.
    pub fn head(&self) -> LinearWeights<'_> {
        LinearWeights::split(&self.values[self.layout.head.clone()], self.layout.config.outputs)
    }
}
