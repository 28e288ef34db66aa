//! What a model's folder holds.

use std::sync::LazyLock;

use grafter::checkpoint::{INDEX_FILE, WEIGHTS_FILE, read_encoder_in, weight_files};
use grafter::encoder::{BasePrecision, EncoderConfig};
use grafter::tensors::TensorSummary;
use grafter::tokenizer::Tokenizer;
use safetensors::SafeTensors;

use super::base::{CONFIG, Folder, WEIGHTS, safetensors_of, tell};

/// `model.safetensors` (see [`safetensors_of`]) beside a good `config.json`.
pub fn checkpoint_weights(bytes: &[u8]) {
    let weights = safetensors_of(bytes, WEIGHTS);
    drop(TensorSummary::read(&weights));
    read(&Folder::with(&[("config.json", CONFIG), (WEIGHTS_FILE, &weights)]));
}

/// `config.json` beside good weights, which may belong to another one.
pub fn config(bytes: &[u8]) {
    let folder = Folder::with(&[("config.json", bytes), (WEIGHTS_FILE, WEIGHTS)]);
    let Some(config) = tell(EncoderConfig::read(&folder.path().join("config.json"))) else { return };
    assert!(config.max_length() > 0 && config.head_dim() > 0 && config.embedding_width() > 0);
    for layer in [0, config.num_hidden_layers - 1] {
        config.attention_window(layer);
    }
    config.deciding();
    read(&folder);
}

/// The list of the files, beside two that hold the weights together.
pub fn checkpoint_index(bytes: &[u8]) {
    let [one, other] = &*SHARDS;
    let files =
        [("config.json", CONFIG), (INDEX_FILE, bytes), ("a.safetensors", one), ("b.safetensors", other)];
    let folder = Folder::with(&files);
    if let Some(files) = tell(weight_files(folder.path())) {
        assert!(files.iter().all(|file| file.parent() == Some(folder.path())), "{files:?}");
        read(&folder);
    }
}

/// In both precisions: f32 and 8 bits.
fn read(folder: &Folder) {
    for precision in [BasePrecision::F32, BasePrecision::Int8] {
        if let Some(encoder) = tell(read_encoder_in(folder.path(), precision)) {
            assert!(encoder.parameter_count() > 0);
        }
    }
}

static SHARDS: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let tensors = SafeTensors::deserialize(WEIGHTS).expect("good weights");
    [false, true].map(|layers| {
        let part = tensors.tensors().into_iter().filter(|(name, _)| name.contains("layer.") == layers);
        safetensors::serialize(part, None).expect("tensors of a good file")
    })
});

/// `tokenizer.json`; what can be read gives ids of its vocabulary, as many as are allowed.
pub fn tokenizer(bytes: &[u8]) {
    const VOCABULARY: usize = 1 << 16;
    let folder = Folder::with(&[("tokenizer.json", bytes)]);
    let Some(tokenizer) = tell(Tokenizer::read(folder.path(), VOCABULARY)) else { return };
    let long = "good bad, ".repeat(40);
    for text in ["a good day", "caf\u{e9} \u{4e2d}\u{6587} \u{1f600}\u{200d}", " \t\u{a0}", "", &long] {
        for pair in [None, Some("bad")] {
            if let Some(tokens) = tell(tokenizer.encode(text, pair, 16)) {
                assert!(tokens.ids.len() <= 16);
            }
        }
        tell(tokenizer.encode_words(text, None, 16));
        tell(tokenizer.encode_windows("good", text, (16, 4), 1 << 12));
    }
}
