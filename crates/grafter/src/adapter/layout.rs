//! Where the trained numbers of a task stand: the place of every trained tensor in the flat vector, found by its exact name
//! once, so that a pass never looks up a name.

use std::ops::Range;

use grafter_nn::adapter::AdapterGradients;
use grafter_nn::embedding::EmbeddingGradients;
use grafter_nn::linear::LinearGradients;

use super::config::AdapterConfig;
use super::list::{
    EMBEDDINGS_LAYER_NORM, EMBEDDINGS_PROJECTION, FINAL_LAYER_NORM, HEAD, HEAD_DENSE, Lowest, POOLER,
    ParameterList, Place, Projection, RELATIVE_BIAS, RELATIVE_EMBEDDINGS, RELATIVE_LAYER_NORM, Site, TABLES,
};
use super::tuned::{Slots, TunedGradients};
use crate::encoder::EncoderConfig;

#[derive(Clone, Debug, Default)]
pub(super) struct SiteSlots {
    pub(super) adapter: Option<Range<usize>>,
    pub(super) layer_norm: Slots,
}

#[derive(Clone, Debug)]
pub(super) struct LayerSlots {
    pub(super) sites: [SiteSlots; 2],
    pub(super) projections: [Slots; 4],
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
    pub(super) config: AdapterConfig,
    pub(super) list: ParameterList,
    pub(super) hidden: usize,
    /// Features of an embedding.
    pub(super) embedding_width: usize,
    pub(super) embeddings_layer_norm: Slots,
    pub(super) embeddings_projection: Slots,
    pub(super) relative_bias: Option<Range<usize>>,
    pub(super) relative_embeddings: Option<Range<usize>>,
    pub(super) relative_layer_norm: Slots,
    pub(super) layers: Vec<LayerSlots>,
    pub(super) final_layer_norm: Slots,
    pub(super) pooler: Slots,
    /// The layer of the head before its last; the last stands directly after it.
    pub(super) head_dense: Option<Range<usize>>,
    /// The last layer of the head.
    pub(super) head: Range<usize>,
    /// The tables of the embeddings, one after another, at the end of the flat vector; those of positions and of token types
    /// are empty where there are none.
    pub(super) tables: Option<[Range<usize>; 3]>,
    pub(super) first_position: usize,
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
    pub(super) fn whole_head(&self) -> Range<usize> {
        self.head_dense.as_ref().map_or(self.head.start, |dense| dense.start)..self.head.end
    }
}
