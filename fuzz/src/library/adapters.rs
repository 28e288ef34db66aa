//! What the folders of adapters hold: our own, and AdapterHub's with the archives of PyTorch.

use std::io::{Cursor, Read, Write};
use std::sync::LazyLock;

use grafter::adapter::{Adapter, MANIFEST_FILE, WEIGHTS_FILE, read_manifest};
use grafter::adapterhub::{self, import};
use grafter::digest::sha256_hex;
use grafter::model::Model;
use serde_json::{Value, json};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::base::{
    ADAPTER, BASE, Folder, HUB_ADAPTER, HUB_HEAD, HUB_HEAD_WEIGHTS, HUB_WEIGHTS, IMPORT, SAVED, fixture,
    model, safetensors_of, tell, use_adapter,
};

/// `adapter.json`. What can be read alone is sealed to the base and the numbers of a good adapter, and read with them.
pub fn adapter_manifest(bytes: &[u8]) {
    let folder = Folder::with(&[(MANIFEST_FILE, bytes), (WEIGHTS_FILE, &SAVED.1)]);
    let Some(manifest) = tell(read_manifest(folder.path())) else { return };
    let mut sealed = serde_json::to_value(&manifest).expect("a manifest is plain data");
    let good = serde_json::to_value(ADAPTER.manifest()).expect("a manifest is plain data");
    for field in ["base", "trained_parameters", "weights_sha256"] {
        sealed[field] = good[field].clone();
    }
    folder.write(MANIFEST_FILE, sealed.to_string().as_bytes());
    if let Some(adapter) = tell(Adapter::load(folder.path(), &BASE)) {
        use_adapter(&adapter, &BASE);
    }
}

/// `adapter.safetensors` (see [`safetensors_of`]), beside an `adapter.json` that is sealed to it.
pub fn adapter_weights(bytes: &[u8]) {
    let weights = safetensors_of(bytes, &SAVED.1);
    let mut manifest: Value = serde_json::from_slice(&SAVED.0).expect("a good manifest");
    manifest["weights_sha256"] = json!(sha256_hex(&weights));
    let manifest = manifest.to_string();
    let folder = Folder::with(&[(WEIGHTS_FILE, &weights), (MANIFEST_FILE, manifest.as_bytes())]);
    if let Some(adapter) = tell(Adapter::load(folder.path(), &BASE)) {
        use_adapter(&adapter, &BASE);
    }
}

/// AdapterHub's `adapter_config.json`.
pub fn adapterhub_adapter(bytes: &[u8]) {
    let folder = hub(bytes, HUB_HEAD);
    if let Some(adapter) = tell(import(folder.path(), &BASE, &IMPORT)) {
        use_adapter(&adapter, &BASE);
    }
}

/// AdapterHub's `head_config.json`.
pub fn adapterhub_head(bytes: &[u8]) {
    let folder = hub(HUB_ADAPTER, bytes);
    if let Some(adapter) = tell(import(folder.path(), &BASE, &IMPORT)) {
        use_adapter(&adapter, &BASE);
    }
}

fn hub(adapter: &[u8], head: &[u8]) -> Folder {
    Folder::with(&[
        (adapterhub::CONFIG_FILE, adapter),
        (adapterhub::HEAD_CONFIG_FILE, head),
        (adapterhub::WEIGHTS_FILE, HUB_WEIGHTS),
        (adapterhub::HEAD_WEIGHTS_FILE, HUB_HEAD_WEIGHTS),
    ])
}

/// A head as `torch.save` wrote it.
const ARCHIVE: &[u8] = fixture!("adapterhub/bert_version_1/adapter/pytorch_model_head.bin");

/// The base of it.
static OLD_BASE: LazyLock<Model> = LazyLock::new(|| {
    model(
        fixture!("adapterhub/bert_version_1/config.json"),
        fixture!("adapterhub/bert_version_1/model.safetensors"),
    )
});

/// Its entries with their bytes.
static ENTRIES: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let mut archive = ZipArchive::new(Cursor::new(ARCHIVE)).expect("a good archive");
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let entry = |name: String| {
        let mut bytes = Vec::new();
        archive.by_name(&name).expect("an entry").read_to_end(&mut bytes).expect("its bytes");
        (name, bytes)
    };
    names.into_iter().map(entry).collect()
});

/// A whole archive.
pub fn torch_archive(bytes: &[u8]) {
    let folder = Folder::with(&[
        (adapterhub::CONFIG_FILE, fixture!("adapterhub/bert_version_1/adapter/adapter_config.json")),
        (adapterhub::HEAD_CONFIG_FILE, fixture!("adapterhub/bert_version_1/adapter/head_config.json")),
        ("pytorch_adapter.bin", fixture!("adapterhub/bert_version_1/adapter/pytorch_adapter.bin")),
        ("pytorch_model_head.bin", bytes),
    ]);
    if let Some(adapter) = tell(import(folder.path(), &OLD_BASE, &IMPORT)) {
        use_adapter(&adapter, &OLD_BASE);
    }
}

/// The pickle in an archive whose other entries are good.
pub fn pickle(bytes: &[u8]) {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, good) in &*ENTRIES {
        let bytes = if name.ends_with("/data.pkl") { bytes } else { good };
        archive.start_file(&**name, SimpleFileOptions::default()).expect("in memory");
        archive.write_all(bytes).expect("in memory");
    }
    torch_archive(&archive.finish().expect("in memory").into_inner());
}
