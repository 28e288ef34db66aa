//! Fills a bank with adapters, for measurements of large banks.
//!
//!     cargo run --release -p grafter --example fill_bank -- BANK ADAPTER NAME COUNT
//!
//! The tasks are called NAME-0, NAME-1, …. The first is the adapter; the others are of its sizes and were trained for one
//! step, each with a seed of its own, so that no two have the same numbers.

use std::path::Path;

use grafter::adapter::Adapter;
use grafter::bank::{Add, Bank, Incoming, Probes, generated_rows};
use grafter::data::{Dataset, Source, TaskKind};
use grafter::graft::{GraftOptions, graft};
use grafter::model::Model;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bank, adapter, name, count] = &arguments[..] else {
        return Err("expected BANK ADAPTER NAME COUNT".into());
    };
    let bank = Bank::open(Path::new(bank))?;
    let base = &bank.base().name;
    let model = Model::read(&grafter::hub::resolve(base, &mut ())?, base)?;
    let first = Adapter::load(Path::new(adapter), &model)?;
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("rows.tsv");
    std::fs::write(&file, "text\tlabel\ngood\tyes\nbad\tno\n")?;
    let rows = Dataset::read_train(&Source::new(file), TaskKind::Classification)?;
    let sizes = &first.manifest().adapter;
    let bottleneck = sizes.bottleneck.widest();
    let mut options = GraftOptions { method: sizes.method, bottleneck, ..GraftOptions::default() };
    options.train.max_steps = Some(1);
    let texts = generated_rows(TaskKind::Classification, false, 16);
    for task in 0..count.parse::<u64>()? {
        let adapter = match task {
            0 => first.clone(),
            seed => {
                options.train.seed = seed;
                graft(&model, &rows, &rows, &options, &mut ())?.adapter
            }
        };
        let probes = Probes::take(&model, &adapter, &texts)?;
        let incoming = Incoming { adapter: &adapter, probes: &probes, companions: &[] };
        bank.add(&format!("{name}-{task}").parse()?, &incoming, Add::New)?;
    }
    Ok(())
}
