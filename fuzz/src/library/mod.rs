//! Bodies that need the library alone.

mod adapters;
mod banks;
mod base;
mod models;
mod rows;
mod runs;
mod texts;

pub use adapters::{
    adapter_manifest, adapter_weights, adapterhub_adapter, adapterhub_head, pickle, torch_archive,
};
pub use banks::{bank, comparison};
pub use models::{checkpoint_index, checkpoint_weights, config, tokenizer};
pub use rows::{
    gzip, rows_conll, rows_csv, rows_jsonl, rows_lines, rows_parquet, rows_squad, rows_tsv, zstd,
};
pub use runs::run_checkpoint;
pub use texts::texts;
