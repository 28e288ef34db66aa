//! Each operation alone, on one thread, at the sizes of MiniLM: 384 features, 12 heads, 1,536 inner features, a bottleneck of
//! 64, and a chunk of 512 tokens.
//!
//!     cargo bench -p grafter-nn            all of them
//!     cargo bench -p grafter-nn attention  those with this word in their name
//!
//! The throughput counts floating-point operations for products (`Kelem/s` reads as KFLOP/s) and elements otherwise.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use grafter_nn::activation::Activation;
use grafter_nn::adapter::{self, AdapterCache, AdapterGradients, AdapterInputs, AdapterWeights};
use grafter_nn::attention::{self, AttentionGradients, AttentionShape, probability_count};
use grafter_nn::dropout::{Dropout, DropoutKey};
use grafter_nn::embedding::{self, FrozenEmbedding};
use grafter_nn::gemm::Start;
use grafter_nn::layer_norm::{self, LayerNormCache, LayerNormWeights};
use grafter_nn::linear::{FrozenLinear, Precision};
use grafter_nn::{loss, pooling, residual};

const TOKENS: usize = 512;
const HIDDEN: usize = 384;
const HEADS: usize = 12;
const INTERMEDIATE: usize = 1536;
const BOTTLENECK: usize = 64;

/// Numbers between -1 and 1 without a pattern that a branch predictor could learn.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Adds one benchmark; `work` is run again and again on the same buffers.
fn bench(criterion: &mut Criterion, name: &str, amount: usize, mut work: impl FnMut()) {
    let mut group = criterion.benchmark_group(name.split('/').next().unwrap_or(name));
    group.throughput(Throughput::Elements(amount as u64));
    group.bench_function(name.split('/').skip(1).collect::<Vec<_>>().join("/"), |bencher| {
        bencher.iter(&mut work)
    });
    group.finish();
}

fn linear(criterion: &mut Criterion) {
    for precision in [Precision::F32, Precision::Int8] {
        let layer =
            FrozenLinear::new(&numbers(INTERMEDIATE * HIDDEN), numbers(INTERMEDIATE), HIDDEN, precision);
        for tokens in [12, TOKENS] {
            let (x, mut y) = (numbers(tokens * HIDDEN), vec![0.0; tokens * INTERMEDIATE]);
            let flop = 2 * tokens * HIDDEN * INTERMEDIATE;
            bench(criterion, &format!("frozen linear/forward/{precision:?}/{tokens} tokens"), flop, || {
                layer.forward(&x, &mut y);
            });
        }
    }
    let layer =
        FrozenLinear::new(&numbers(INTERMEDIATE * HIDDEN), numbers(INTERMEDIATE), HIDDEN, Precision::F32);
    let (d_y, mut d_x) = (numbers(TOKENS * INTERMEDIATE), vec![0.0; TOKENS * HIDDEN]);
    let flop = 2 * TOKENS * HIDDEN * INTERMEDIATE;
    bench(criterion, "frozen linear/backward", flop, || layer.backward(&d_y, &mut d_x, Start::Zero));
}

fn adapters(criterion: &mut Criterion) {
    let block = numbers(adapter::parameter_count(HIDDEN, BOTTLENECK));
    let weights = AdapterWeights::split(&block, HIDDEN, Activation::GeluErf);
    let x = numbers(TOKENS * HIDDEN);
    let (mut before, mut after) = (vec![0.0; TOKENS * BOTTLENECK], vec![0.0; TOKENS * BOTTLENECK]);
    let mut y = vec![0.0; x.len()];
    let flop = 4 * TOKENS * HIDDEN * BOTTLENECK;
    bench(criterion, "adapter/forward", flop, || {
        adapter::forward(weights, &x, AdapterCache { before: &mut before, after: &mut after }, &mut y);
    });
    let d_y = numbers(x.len());
    let (mut d, mut scratch) = (d_y.clone(), vec![0.0; before.len()]);
    let mut gradients = vec![0.0; block.len()];
    let inputs = AdapterInputs { x: &x, before: &before, after: &after };
    bench(criterion, "adapter/backward", 2 * flop, || {
        d.copy_from_slice(&d_y);
        let gradients = AdapterGradients::split(&mut gradients, HIDDEN);
        adapter::backward(weights, inputs, &mut d, &mut scratch, gradients);
    });
}

fn attention(criterion: &mut Criterion) {
    for (length, rate) in [(12, 0.0), (53, 0.0), (128, 0.0), (128, 0.1)] {
        let dropout = if rate > 0.0 { Dropout::new(rate) } else { Dropout::NONE };
        let shape = AttentionShape {
            heads: HEADS,
            head_dim: HIDDEN / HEADS,
            window: None,
            dropout,
            bias: None,
            positions: None,
        };
        let key = DropoutKey::new(1);
        let (qkv, d_context) = (numbers(length * 3 * HIDDEN), numbers(length * HIDDEN));
        let mut probabilities = vec![0.0; probability_count(HEADS, length, None)];
        let (mut scratch, mut context) = (vec![0.0; 2 * length * length], vec![0.0; length * HIDDEN]);
        let mut d_qkv = vec![0.0; qkv.len()];
        let flop = 4 * length * length * HIDDEN;
        let name = |pass: &str| format!("attention/{pass}/{length} tokens, dropout {rate}");
        bench(criterion, &name("forward"), flop, || {
            attention::forward_sequence(&shape, key, &qkv, &mut probabilities, &mut scratch, &mut context);
        });
        bench(criterion, &name("backward"), 2 * flop, || {
            let gradients = AttentionGradients { qkv: &mut d_qkv, bias: None, positions: None };
            attention::backward_sequence(
                &shape,
                key,
                &qkv,
                &probabilities,
                &d_context,
                &mut scratch,
                gradients,
            );
        });
    }
    let rows = numbers(HEADS * 128 * 128);
    let mut group = criterion.benchmark_group("softmax");
    group.throughput(Throughput::Elements(rows.len() as u64));
    group.bench_function("rows of 128", |bencher| {
        let work = |mut rows: Vec<f32>| attention::softmax_rows(&mut rows, 128, 0.2);
        bencher.iter_batched(|| rows.clone(), work, BatchSize::LargeInput);
    });
    group.finish();
}

fn activations(criterion: &mut Criterion) {
    let x = numbers(TOKENS * INTERMEDIATE);
    let (mut y, mut d) = (vec![0.0; x.len()], numbers(x.len()));
    for activation in Activation::ALL {
        bench(criterion, &format!("activation/{activation:?} forward"), x.len(), || {
            activation.forward(&x, &mut y);
        });
        // The gradient shrinks with every round, and a denormal number would be slow: it is laid out anew.
        let fresh = d.clone();
        bench(criterion, &format!("activation/{activation:?} backward"), x.len(), || {
            d.copy_from_slice(&fresh);
            activation.backward(&x, &mut d);
        });
    }
}

fn layer_norms(criterion: &mut Criterion) {
    let x = numbers(TOKENS * HIDDEN);
    let (weight, bias) = (numbers(HIDDEN), numbers(HIDDEN));
    let weights = LayerNormWeights { weight: &weight, bias: &bias };
    let (mut normalised, mut rstd, mut y) = (vec![0.0; x.len()], vec![0.0; TOKENS], vec![0.0; x.len()]);
    bench(criterion, "layer norm/forward", x.len(), || {
        let cache = LayerNormCache { normalised: &mut normalised, rstd: &mut rstd };
        layer_norm::forward(weights, 1e-12, &x, cache, &mut y);
    });
    let (d_y, mut d) = (numbers(x.len()), vec![0.0; x.len()]);
    let (mut d_weight, mut d_bias) = (vec![0.0; HIDDEN], vec![0.0; HIDDEN]);
    bench(criterion, "layer norm/backward", x.len(), || {
        d.copy_from_slice(&d_y);
        layer_norm::backward_weights(&normalised, &d, &mut d_weight, &mut d_bias);
        layer_norm::backward_input(&weight, &normalised, &rstd, &mut d);
    });
}

fn others(criterion: &mut Criterion) {
    let x = numbers(TOKENS * HIDDEN);
    let mut y = vec![0.0; x.len()];
    // Zeros stay zeros in place, and take the time of other numbers; a copy in each round would be up to half of it.
    let zeros = vec![0.0; x.len()];
    bench(criterion, "residual/add", x.len(), || residual::add(&zeros, &mut y));
    let (dropout, key) = (Dropout::new(0.1), DropoutKey::new(1));
    bench(criterion, "dropout/apply", x.len(), || dropout.apply(key, &mut y));
    let words = 30_522;
    let frozen = FrozenEmbedding {
        words: numbers(words * HIDDEN),
        positions: numbers(TOKENS * HIDDEN),
        types: numbers(2 * HIDDEN),
        hidden: HIDDEN,
        first_position: 0,
    };
    let ids: Vec<u32> = (0..TOKENS).map(|token| (token * 7_919 % words) as u32).collect();
    let types = vec![0; TOKENS];
    bench(criterion, "embedding/forward", x.len(), || {
        embedding::forward_sequence(frozen.tables(), &ids, &types, &mut y);
    });
    let mut mean = vec![0.0; HIDDEN];
    bench(criterion, "pooling/mean", x.len(), || pooling::mean_forward(&x, &mut mean));
    let (logits, mut d_logits) = (numbers(1_000), vec![0.0; 1_000]);
    bench(criterion, "loss/cross entropy of 1,000 classes", logits.len(), || {
        loss::cross_entropy(&logits, 7, &mut d_logits);
    });
}

criterion_group!(operations, linear, adapters, attention, activations, layer_norms, others);
criterion_main!(operations);
