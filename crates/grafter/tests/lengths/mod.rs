//! Any mix of lengths and tasks in a batch, of any family.

use grafter::adapter::{AdapterConfig, Method, Pooling, TaskParameters};
use grafter::batch::TokenIds;
use grafter::graft::GraftOptions;
use grafter::model::Model;
use grafter::predict::{Query, logits};
use grafter::random::Random;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

fn sequence(model: &Model, length: usize, seed: u64) -> TokenIds {
    let mut random = Random::new(seed);
    let vocabulary = model.encoder().config.vocab_size as u64;
    let ids = (0..length).map(|_| (random.bits() % vocabulary) as u32).collect();
    TokenIds { ids, type_ids: vec![0; length], ..TokenIds::default() }
}

/// Rows of any lengths, each asked by one of several tasks, are answered together as alone, to the last bit.
pub fn check_any_lengths(model: &Model) {
    let of = |method, outputs, pooling| {
        let options = GraftOptions { method, bottleneck: 5, pooling, ..GraftOptions::default() };
        AdapterConfig { adapt_from_layer: usize::from(method == Method::Pfeiffer), ..options.config(outputs) }
    };
    // Far from zero, so that a mix-up shows in every logit.
    let tasks = [
        of(Method::Houlsby, 3, Pooling::Mean),
        of(Method::Pfeiffer, 2, Pooling::First),
        of(Method::Head, 4, Pooling::Mean),
    ]
    .map(|config| TaskParameters::initialise(&config, model.encoder(), 0.3, 7));
    let longest = model.encoder().config.max_length().min(64);
    let length = prop_oneof![1..=3_usize, 1..=longest, Just(longest)];
    let rows = prop::collection::vec((length, 0..tasks.len(), any::<u64>()), 1..40);
    let config = ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() };
    let property = |rows: Vec<(usize, usize, u64)>| {
        let sequences: Vec<TokenIds> =
            rows.iter().map(|(length, _, seed)| sequence(model, *length, *seed)).collect();
        let queries: Vec<Query<'_>> =
            rows.iter().zip(&sequences).map(|(row, tokens)| Query { tokens, task: &tasks[row.1] }).collect();
        let together = logits(model.encoder(), &queries);
        prop_assert_eq!(together.len(), rows.len());
        for (place, (query, together)) in queries.iter().zip(&together).enumerate() {
            let alone = logits(model.encoder(), std::slice::from_ref(query)).concat();
            prop_assert!(alone.iter().all(|value| value.is_finite()));
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
            prop_assert_eq!(bits(together), bits(&alone), "row {} of {:?}", place, rows);
        }
        Ok(())
    };
    TestRunner::new(config).run(&rows, property).unwrap_or_else(|failed| panic!("{failed}"));
}
