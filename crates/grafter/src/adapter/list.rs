//! What trains is a list of names, in one place.
//!
//! [`ParameterList::new`] writes the list for a method. The trained numbers are one flat `f32` vector in the list's
//! order, and so are their gradients and the optimiser's moments; the adapter file and the parameter count come from
//! the same list. Another method is another list: where a name is absent, the frozen encoder's own number is used.

use std::ops::Range;

use super::config::{AdapterConfig, HeadForm, Pooling};
use super::method::Method;
use crate::encoder::EncoderConfig;

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
    /// A matrix of the head.
    HeadWeight,
    /// A bias of an adapter or of the head; begins at zero.
    Bias,
    /// Scale or shift of a layer normalisation, or another bias of the encoder; begins as the encoder's.
    EncoderVector,
    /// A matrix of the encoder, or a table of its embeddings; begins as the encoder's.
    EncoderMatrix,
}

impl Role {
    /// Weight decay acts on matrices only, as in the original BERT code.
    pub fn decays(self) -> bool {
        matches!(self, Self::AdapterWeight | Self::HeadWeight | Self::EncoderMatrix)
    }
}

/// The two places in a layer where an adapter is grafted. The layer normalisation of a site follows the adapter; in ModernBERT
/// it stands before the sub-layer that the adapter follows.
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

    pub(crate) fn prefix(self, layer: usize) -> String {
        match self {
            Self::Attention => format!("layer.{layer}.attention"),
            Self::FeedForward => format!("layer.{layer}.feed_forward"),
        }
    }
}

/// The linear layers of a Transformer layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Projection {
    /// Queries, keys and values in one product: `[3 · hidden, hidden]`; three weights and three biases in files.
    QueryKeyValue = 0,
    /// The attention's output: `[hidden, hidden]`.
    AttentionOutput = 1,
    /// The feed-forward network's first: `[intermediate, hidden]`; of a gated one `[2 · intermediate, hidden]`, first the rows of
    /// what passes through the activation, then those of the gate.
    Intermediate = 2,
    /// The feed-forward network's second: `[hidden, intermediate]`.
    Output = 3,
}

impl Projection {
    /// All four in the order of the forward pass.
    pub const ALL: [Self; 4] = [Self::QueryKeyValue, Self::AttentionOutput, Self::Intermediate, Self::Output];

    /// The names of its parts, which stand together: all weights, then all biases.
    pub(super) fn parts(self) -> &'static [&'static str] {
        match self {
            Self::QueryKeyValue => &["query", "key", "value"],
            Self::AttentionOutput | Self::Output => &["output"],
            Self::Intermediate => &["intermediate"],
        }
    }

    pub(super) fn site(self) -> Site {
        match self {
            Self::QueryKeyValue | Self::AttentionOutput => Site::Attention,
            Self::Intermediate | Self::Output => Site::FeedForward,
        }
    }

    /// `[outputs, inputs]` of each part.
    fn shape(self, encoder: &EncoderConfig) -> [usize; 2] {
        let (hidden, intermediate) = (encoder.hidden_size, encoder.intermediate_size);
        match self {
            Self::QueryKeyValue | Self::AttentionOutput => [hidden, hidden],
            Self::Intermediate => [encoder.intermediate_outputs(), hidden],
            Self::Output => [hidden, intermediate],
        }
    }

    /// Whether an encoder has biases there.
    pub(crate) fn has_bias(self, encoder: &EncoderConfig) -> bool {
        let biases = encoder.biases();
        match self.site() {
            Site::Attention => biases.attention,
            Site::FeedForward => biases.feed_forward,
        }
    }
}

/// The places of a layer where something may train, from below to above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The layer normalisation before the attention, where there is one.
    AttentionNorm,
    /// [`Projection::QueryKeyValue`]
    QueryKeyValue,
    /// [`Projection::AttentionOutput`]
    AttentionOutput,
    /// [`Site::Attention`]
    AttentionSite,
    /// The layer normalisation before the feed-forward network, where there is one.
    FeedForwardNorm,
    /// [`Projection::Intermediate`]
    Intermediate,
    /// [`Projection::Output`]
    Output,
    /// [`Site::FeedForward`]
    FeedForwardSite,
    /// Above the last layer, the layer normalisation after all of them, where there is one.
    FinalNorm,
}

impl Place {
    /// Where the layer normalisation of a site stands in an encoder's layers.
    pub(crate) fn of_layer_norm(site: Site, encoder: &EncoderConfig) -> Self {
        match (encoder.pre_norm.is_some(), site) {
            (false, site) => site.into(),
            (true, Site::Attention) => Self::AttentionNorm,
            (true, Site::FeedForward) => Self::FeedForwardNorm,
        }
    }
}

impl From<Site> for Place {
    fn from(site: Site) -> Self {
        match site {
            Site::Attention => Self::AttentionSite,
            Site::FeedForward => Self::FeedForwardSite,
        }
    }
}

impl From<Projection> for Place {
    fn from(projection: Projection) -> Self {
        match projection {
            Projection::QueryKeyValue => Self::QueryKeyValue,
            Projection::AttentionOutput => Self::AttentionOutput,
            Projection::Intermediate => Self::Intermediate,
            Projection::Output => Self::Output,
        }
    }
}

/// The lowest place in the network where something is trained; the backward pass stops there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lowest {
    /// The embeddings or their layer normalisation.
    Embeddings,
    /// A place of a layer.
    Layer(usize, Place),
    /// Nothing of the encoder but the pooler: the head only.
    Head,
}

pub(super) const EMBEDDINGS_LAYER_NORM: &str = "embeddings.layer_norm";
pub(super) const EMBEDDINGS_PROJECTION: &str = "embeddings.projection";
pub(super) const RELATIVE_BIAS: &str = "relative_bias.weight";
pub(super) const RELATIVE_EMBEDDINGS: &str = "relative_embeddings.weight";
/// The layer normalisation of the relative embeddings, which all layers read.
pub(super) const RELATIVE_LAYER_NORM: &str = "relative_embeddings.layer_norm";
pub(super) const TABLES: [&str; 3] = ["embeddings.words", "embeddings.positions", "embeddings.types"];
/// The layer normalisation after all layers; it belongs to the last one.
pub(super) const FINAL_LAYER_NORM: &str = "final_layer_norm";
pub(super) const POOLER: &str = "pooler";
pub(super) const HEAD: &str = "head";
/// The layer of the head that [`HeadForm::Dense`] puts before the last.
pub(super) const HEAD_DENSE: &str = "head.dense";

/// Which parts of a module with a weight and a bias are trained.
#[derive(Clone, Copy)]
struct Parts {
    weight: bool,
    bias: bool,
}

impl Parts {
    const NOTHING: Self = Self { weight: false, bias: false };
    const BIAS: Self = Self { weight: false, bias: true };
    const ALL: Self = Self { weight: true, bias: true };

    /// Those that are there.
    fn of(self, has_bias: bool) -> Self {
        Self { bias: self.bias && has_bias, ..self }
    }
}

/// The names, shapes and places of everything that a task trains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterList {
    specs: Vec<ParameterSpec>,
}

impl ParameterList {
    /// The list of a method on an encoder: the layers from below to above, the pooler where it is read, the head, and
    /// the tables of the embeddings at last.
    pub fn new(config: &AdapterConfig, encoder: &EncoderConfig) -> Self {
        let mut list = Self { specs: Vec::new() };
        let hidden = encoder.hidden_size;
        let method = config.method;
        let (projections, norms) = match method {
            Method::Full | Method::TopLayers(_) => (Parts::ALL, Parts::ALL),
            Method::Houlsby if config.freeze_layernorm => (Parts::NOTHING, Parts::NOTHING),
            Method::Houlsby | Method::LayerNorm => (Parts::NOTHING, Parts::ALL),
            Method::Bias => (Parts::BIAS, Parts::BIAS),
            Method::Pfeiffer | Method::Head => (Parts::NOTHING, Parts::NOTHING),
        };
        let norms = norms.of(encoder.biases().layer_norm);
        let first = config.first_trained_layer(encoder.num_hidden_layers);
        if first == 0 && !matches!(method, Method::TopLayers(_)) {
            let width = encoder.embedding_width();
            list.push_layer_norm(EMBEDDINGS_LAYER_NORM, width, norms);
            if encoder.embedding_size.is_some() {
                list.push_linear(EMBEDDINGS_PROJECTION, [hidden, width], projections);
            }
        }
        if method == Method::Full && encoder.relative_attention_num_buckets > 0 {
            let shape = vec![encoder.relative_attention_num_buckets, encoder.num_attention_heads];
            list.push(RELATIVE_BIAS.to_owned(), shape, Role::EncoderMatrix);
        }
        list.push_relative_embeddings(method, encoder, norms);
        for layer in first..encoder.num_hidden_layers {
            for site in Site::ALL {
                let prefix = site.prefix(layer);
                for projection in Projection::ALL.into_iter().filter(|projection| projection.site() == site) {
                    list.push_projection(&prefix, projection, encoder, projections);
                }
                let adapted =
                    method == Method::Houlsby || method == Method::Pfeiffer && site == Site::FeedForward;
                let width = config.bottleneck.of_layer(layer);
                if adapted && width > 0 {
                    list.push_adapter(&format!("{prefix}.adapter"), hidden, width);
                }
                if site == Site::FeedForward || encoder.has_attention_layer_norm(layer) {
                    list.push_layer_norm(&format!("{prefix}.layer_norm"), hidden, norms);
                }
            }
        }
        if encoder.pre_norm.is_some() && first < encoder.num_hidden_layers {
            list.push_layer_norm(FINAL_LAYER_NORM, hidden, norms);
        }
        if config.pooling == Pooling::Cls {
            list.push_linear(POOLER, [hidden, hidden], projections);
        }
        if let HeadForm::Dense(_) = config.head {
            list.push_head(HEAD_DENSE, [hidden, hidden]);
        }
        list.push_head(HEAD, [config.outputs, hidden]);
        if method == Method::Full {
            let rows = [encoder.vocab_size, encoder.position_rows(), encoder.type_vocab_size];
            // A family without positions or token types has no table of them.
            for (name, rows) in TABLES.into_iter().zip(rows).filter(|(_, rows)| *rows > 0) {
                list.push(
                    format!("{name}.weight"),
                    vec![rows, encoder.embedding_width()],
                    Role::EncoderMatrix,
                );
            }
        }
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

    fn push_layer_norm(&mut self, name: &str, hidden: usize, parts: Parts) {
        if parts.weight {
            self.push(format!("{name}.weight"), vec![hidden], Role::EncoderVector);
        }
        if parts.bias {
            self.push(format!("{name}.bias"), vec![hidden], Role::EncoderVector);
        }
    }

    /// The relative embeddings and their layer normalisation. All layers read them, so what trains them leaves no layer as it is, and
    /// the positions' queries and keys, which are constants of the base otherwise, have to be computed for the task: only
    /// methods that train such parts of the encoder in all layers do. With adapters they stay the base's.
    fn push_relative_embeddings(&mut self, method: Method, encoder: &EncoderConfig, norms: Parts) {
        let Some(config) = &encoder.relative else { return };
        let everywhere = matches!(method, Method::Full | Method::LayerNorm | Method::Bias);
        if everywhere && config.has_layer_norm() {
            self.push_layer_norm(RELATIVE_LAYER_NORM, encoder.hidden_size, norms);
        }
        if method == Method::Full {
            let shape = vec![2 * config.rows().span, encoder.hidden_size];
            self.push(RELATIVE_EMBEDDINGS.to_owned(), shape, Role::EncoderMatrix);
        }
    }

    fn push_linear(&mut self, name: &str, [outputs, inputs]: [usize; 2], parts: Parts) {
        if parts.weight {
            self.push(format!("{name}.weight"), vec![outputs, inputs], Role::EncoderMatrix);
        }
        if parts.bias {
            self.push(format!("{name}.bias"), vec![outputs], Role::EncoderVector);
        }
    }

    fn push_head(&mut self, name: &str, [outputs, inputs]: [usize; 2]) {
        self.push(format!("{name}.weight"), vec![outputs, inputs], Role::HeadWeight);
        self.push(format!("{name}.bias"), vec![outputs], Role::Bias);
    }

    /// All weights, then all biases, so that queries, keys and values are one product.
    fn push_projection(
        &mut self,
        prefix: &str,
        projection: Projection,
        encoder: &EncoderConfig,
        parts: Parts,
    ) {
        let [outputs, inputs] = projection.shape(encoder);
        let parts = parts.of(projection.has_bias(encoder));
        if parts.weight {
            for part in projection.parts() {
                let name = format!("{prefix}.{part}.weight");
                self.push(name, vec![outputs, inputs], Role::EncoderMatrix);
            }
        }
        if parts.bias {
            for part in projection.parts() {
                self.push(format!("{prefix}.{part}.bias"), vec![outputs], Role::EncoderVector);
            }
        }
    }

    /// The four tensors stand together in the order of [`grafter_nn::adapter::AdapterWeights::split`].
    fn push_adapter(&mut self, name: &str, hidden: usize, bottleneck: usize) {
        self.push(format!("{name}.down.weight"), vec![bottleneck, hidden], Role::AdapterWeight);
        self.push(format!("{name}.down.bias"), vec![bottleneck], Role::Bias);
        self.push(format!("{name}.up.weight"), vec![hidden, bottleneck], Role::AdapterWeight);
        self.push(format!("{name}.up.bias"), vec![hidden], Role::Bias);
    }

    /// The place of several tensors that stand together, or `None` if the first is not in the list.
    pub(super) fn block(&self, names: &[String]) -> Option<Range<usize>> {
        let first = self.specs.iter().position(|spec| spec.name == names[0])?;
        let specs = &self.specs[first..][..names.len()];
        for (spec, name) in specs.iter().zip(names) {
            assert_eq!(spec.name, *name, "the tensors of a block stand together");
        }
        Some(specs[0].range.start..specs[names.len() - 1].range.end)
    }
}
