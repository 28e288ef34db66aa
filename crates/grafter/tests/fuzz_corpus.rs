//! The bodies of the fuzz targets on their committed inputs, without a fuzzer: what each begins with, and what once went
//! wrong. Those of the command line are tested there.

#[path = "../../../fuzz/src/corpus.rs"]
mod corpus;
#[path = "../../../fuzz/src/library/mod.rs"]
mod library;

macro_rules! targets {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            corpus::run(stringify!($name), library::$name);
        })+
    };
}

targets!(
    adapter_manifest,
    adapter_weights,
    adapterhub_adapter,
    adapterhub_head,
    bank,
    checkpoint_index,
    checkpoint_weights,
    comparison,
    config,
    gzip,
    pickle,
    rows_conll,
    rows_csv,
    rows_jsonl,
    rows_lines,
    rows_parquet,
    rows_squad,
    rows_tsv,
    run_checkpoint,
    texts,
    tokenizer,
    torch_archive,
    zstd,
);
