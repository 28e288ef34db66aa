//! The folder that a body writes into, and a tiny base with an adapter.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use grafter::adapter::{Adapter, MANIFEST_FILE, WEIGHTS_FILE};
use grafter::adapterhub::{self, ImportOptions};
use grafter::data::{Row, TaskKind};
use grafter::model::Model;
use grafter::predict::predict;
use tempfile::TempDir;

/// A file of the library's fixtures.
macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../crates/grafter/tests/fixtures/", $name)).as_slice()
    };
}
pub(super) use fixture;

pub(super) const CONFIG: &[u8] = fixture!("adapterhub/bert_houlsby/config.json");
pub(super) const WEIGHTS: &[u8] = fixture!("adapterhub/bert_houlsby/model.safetensors");
const TOKENIZER: &[u8] =
    br#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
    "model":{"type":"WordLevel","vocab":{"[UNK]":0,"good":1,"bad":2},"unk_token":"[UNK]"}}"#;

/// A folder that goes away with the call.
pub(super) struct Folder(TempDir);

impl Folder {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    /// With these files.
    pub(super) fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = Self::new();
        files.iter().for_each(|(name, bytes)| drop(folder.write(name, bytes)));
        folder
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file, perhaps in a folder inside.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        if name.contains('/') {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder can be made");
        }
        std::fs::write(&path, bytes).expect("a file can be written");
        path
    }
}

/// Reads a model whose tokenizer knows two words.
pub(super) fn model(config: &[u8], weights: &[u8]) -> Model {
    let files = [("config.json", config), ("model.safetensors", weights), ("tokenizer.json", TOKENIZER)];
    Model::read(Folder::with(&files).path(), "base").expect("a good model")
}

pub(super) const IMPORT: ImportOptions = ImportOptions { pair: false, max_length: 16 };

/// The files of AdapterHub's adapter on [`BASE`].
pub(super) const HUB_ADAPTER: &[u8] = fixture!("adapterhub/bert_houlsby/adapter/adapter_config.json");
pub(super) const HUB_HEAD: &[u8] = fixture!("adapterhub/bert_houlsby/adapter/head_config.json");
pub(super) const HUB_WEIGHTS: &[u8] = fixture!("adapterhub/bert_houlsby/adapter/adapter.safetensors");
pub(super) const HUB_HEAD_WEIGHTS: &[u8] = fixture!("adapterhub/bert_houlsby/adapter/model_head.safetensors");

/// The base of all adapters here.
pub(super) static BASE: LazyLock<Model> = LazyLock::new(|| model(CONFIG, WEIGHTS));

/// An adapter on it.
pub(super) static ADAPTER: LazyLock<Adapter> = LazyLock::new(|| {
    let files = [
        (adapterhub::CONFIG_FILE, HUB_ADAPTER),
        (adapterhub::HEAD_CONFIG_FILE, HUB_HEAD),
        (adapterhub::WEIGHTS_FILE, HUB_WEIGHTS),
        (adapterhub::HEAD_WEIGHTS_FILE, HUB_HEAD_WEIGHTS),
    ];
    adapterhub::import(Folder::with(&files).path(), &BASE, &IMPORT).expect("a good adapter")
});

/// Its files: `adapter.json` and `adapter.safetensors`.
pub(super) static SAVED: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let folder = Folder::new();
    let path = folder.path().join("adapter");
    ADAPTER.save(&path, false).expect("it can be written");
    let read = |name| std::fs::read(path.join(name)).expect("it was written");
    (read(MANIFEST_FILE), read(WEIGHTS_FILE))
});

/// What was read answers, and is the same when it is written and read again. Answers that are no numbers are an error.
pub(super) fn use_adapter(adapter: &Adapter, model: &Model) {
    let row = match (adapter.manifest().task.kind, adapter.manifest().task.pair) {
        (TaskKind::MultipleChoice, false) => Row::of_choices("good", ["good", "bad"]),
        (TaskKind::MultipleChoice, true) => {
            Row { text_b: Some("good".to_owned()), ..Row::of_choices("good", ["good", "bad"]) }
        }
        (TaskKind::Entities | TaskKind::Tags, _) => Row::of_words(["good", "bad"]),
        (_, true) => Row::pair("good", "bad"),
        (_, false) => Row::single("good bad"),
    };
    tell(predict(model, adapter, &[row]));
    let folder = Folder::new();
    let path = folder.path().join("adapter");
    adapter.save(&path, false).expect("what was read can be written");
    let again = Adapter::load(&path, model).expect("what was written can be read");
    assert_eq!(adapter.digest(), again.digest());
}

/// The message of an error must be there, too.
pub(super) fn tell<T, E: Error>(result: Result<T, E>) -> Option<T> {
    result.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

/// A safetensors file: after `f` its bytes, after `h` its header alone, before the numbers of a good file.
pub(super) fn safetensors_of(bytes: &[u8], good: &[u8]) -> Vec<u8> {
    match bytes.split_first() {
        Some((b'h', header)) => {
            let length = u64::from_le_bytes(*good.first_chunk().expect("a length"));
            let numbers = &good[8 + length as usize..];
            [&(header.len() as u64).to_le_bytes(), header, numbers].concat()
        }
        Some((_, bytes)) => bytes.to_vec(),
        None => Vec::new(),
    }
}
