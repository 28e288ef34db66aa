//! What is asked of the encoders of more than one family, and what must hold of each.

use std::collections::{BTreeMap, BTreeSet};

use grafter::adapter::{
    Adapter, AdapterConfig, MANIFEST_FILE, Method, TaskLayout, TaskParameters, WEIGHTS_FILE,
};
use grafter::batch::{PackedBatch, TokenIds};
use grafter::data::{Dataset, Source, TaskKind};
use grafter::encoder::activations::{Activations, Keep, Segment};
use grafter::encoder::{Encoder, EncoderDropout, ForwardPass};
use grafter::gradient::{GradientEngine, Target};
use grafter::graft::{GraftOptions, graft};
use grafter::model::Model;
use grafter::random::Random;
use safetensors::Dtype;
use serde_json::json;
use tempfile::TempDir;

use crate::checkpoint::{Tensors, model_of, write};

pub fn config(method: Method, outputs: usize) -> AdapterConfig {
    GraftOptions { method, bottleneck: 4, ..GraftOptions::default() }.config(outputs)
}

pub fn sequence(encoder: &Encoder, length: usize, seed: u64) -> TokenIds {
    let mut random = Random::new(seed);
    let vocabulary = encoder.config.vocab_size as u64;
    let ids = (0..length).map(|_| (random.bits() % vocabulary) as u32).collect();
    TokenIds { ids, type_ids: vec![0; length], ..TokenIds::default() }
}

/// Texts shorter and longer than what an encoder tells near from far by, and as long as can be.
pub fn sequences(encoder: &Encoder) -> Vec<TokenIds> {
    let lengths = [1, 2, 4, 5, 6, 9, 17, 23, 33, 40, 64, 3, 12, 50];
    lengths.iter().enumerate().map(|(row, length)| sequence(encoder, *length, row as u64)).collect()
}

/// One of three classes for each row, in turns.
pub fn targets(rows: &[TokenIds]) -> Vec<Target<'static>> {
    (0..rows.len()).map(|row| Target::Class(row % 3)).collect()
}

pub fn gradients(
    encoder: &Encoder,
    task: &TaskParameters,
    rows: &[TokenIds],
    dropout: &EncoderDropout,
) -> (f64, Vec<f32>) {
    let mut engine = GradientEngine::default();
    let (loss, gradients) = engine.compute(encoder, task, &PackedBatch::new(rows), &targets(rows), dropout);
    (loss, gradients.to_vec())
}

pub fn bits(rows: &[Vec<f32>]) -> Vec<Vec<u32>> {
    rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect()).collect()
}

/// The last hidden states of all rows.
pub fn hidden_states(encoder: &Encoder, task: Option<&TaskParameters>) -> Vec<f32> {
    let rows = sequences(encoder);
    let batch = PackedBatch::new(&rows);
    let mut states = Vec::new();
    for chunk in batch.chunks() {
        let mut activations = Activations::default();
        let (segments, dropout) = ([Segment::whole(&chunk, task)], EncoderDropout::none());
        let pass = ForwardPass { chunk: &chunk, segments: &segments, dropout: &dropout, keep: Keep::Nothing };
        encoder.forward(pass, &mut activations);
        states.extend_from_slice(activations.hidden());
    }
    states
}

fn opinions() -> Dataset {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.tsv");
    let row = |place: usize| {
        let words = ["good", "bad"][place % 2];
        format!("the film was {words} and {place} people saw it\t{words}\n")
    };
    std::fs::write(&path, "text\tlabel\n".to_owned() + &(0..32).map(row).collect::<String>()).unwrap();
    Dataset::read_train(&Source::new(path), TaskKind::Classification).unwrap()
}

pub fn options(method: Method) -> GraftOptions {
    let mut options = GraftOptions { method, bottleneck: 4, max_length: 40, ..GraftOptions::default() };
    options.train.epochs = Some(2);
    options.train.learning_rate = Some(5e-3);
    options
}

pub fn trained(model: &Model, method: Method) -> Adapter {
    graft(model, &opinions(), &opinions(), &options(method), &mut ()).unwrap().adapter
}

/// Names of what a task trains.
pub fn names(encoder: &Encoder, config: &AdapterConfig) -> BTreeSet<String> {
    let layout = TaskLayout::new(config, &encoder.config);
    layout.list().specs().iter().map(|spec| spec.name.clone()).collect()
}

/// Weights are the same with and without prefix and from several files, of which one has the tensors with a name that holds
/// `first_file`; they are read in fewer bits, too.
pub fn check_forms(
    model: &Model,
    folder: &dyn Fn() -> TempDir,
    tensors: &Tensors,
    (prefix, first_file): (&str, &str),
) {
    let digest = |model: &Model| model.encoder().digest_in_memory();
    let bare: Tensors = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_owned(), tensor.clone())))
        .collect();
    assert_eq!(digest(&model_of(&folder(), &bare)), digest(model));
    for (dtype, name) in [(Dtype::F16, "F16"), (Dtype::BF16, "BF16")] {
        let folder = folder();
        write(&folder.path().join("model.safetensors"), tensors, dtype);
        let fewer = Model::read(folder.path(), "model").unwrap();
        assert_eq!(fewer.encoder().stored_as(), name);
        assert_ne!(digest(&fewer), digest(model));
    }
    let sharded = folder();
    let (mut first, mut second) = (tensors.clone(), tensors.clone());
    first.retain(|name, _| name.contains(first_file));
    second.retain(|name, _| !name.contains(first_file));
    let mut map = BTreeMap::new();
    for (name, tensors) in [("a.safetensors", &first), ("b.safetensors", &second)] {
        write(&sharded.path().join(name), tensors, Dtype::F32);
        map.extend(tensors.keys().map(|tensor| (tensor.clone(), name)));
    }
    let index = sharded.path().join("model.safetensors.index.json");
    std::fs::write(index, json!({ "weight_map": map }).to_string()).unwrap();
    assert_eq!(digest(&Model::read(sharded.path(), "model").unwrap()), digest(model));
}

/// The same seed gives the same bytes on any number of threads, and leaves the encoder alone.
pub fn check_bytes(model: &Model, methods: &[Method]) {
    let before = model.encoder().digest_in_memory();
    for method in methods.iter().copied() {
        let files = |threads: usize| {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("adapter");
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| trained(model, method).save(&out, false)).unwrap();
            [WEIGHTS_FILE, MANIFEST_FILE].map(|name| std::fs::read(out.join(name)).unwrap())
        };
        let one = files(1);
        assert!(one == files(2), "{method}");
        assert!(one == files(4), "{method}");
    }
    assert_eq!(model.encoder().digest_in_memory(), before);
}
