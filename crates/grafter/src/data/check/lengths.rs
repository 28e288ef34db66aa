//! How the lengths of texts are spread.

use std::collections::BTreeMap;

use super::LengthStats;

/// How often each length occurs.
#[derive(Default)]
pub(super) struct Histogram(BTreeMap<usize, u64>);

impl Histogram {
    pub(super) fn add(&mut self, length: usize) {
        *self.0.entry(length).or_default() += 1;
    }

    pub(super) fn stats(&self) -> LengthStats {
        let rows: u64 = self.0.values().sum();
        let (Some((min, _)), Some((max, _))) = (self.0.first_key_value(), self.0.last_key_value()) else {
            return LengthStats::default();
        };
        let sum: f64 = self.0.iter().map(|(length, rows)| *length as f64 * *rows as f64).sum();
        LengthStats {
            min: *min,
            mean: sum / rows as f64,
            median: self.quantile(rows.div_ceil(2)),
            p95: self.quantile((rows * 95).div_ceil(100)),
            max: *max,
        }
    }

    /// The smallest length that at least `rank` rows do not exceed.
    fn quantile(&self, rank: u64) -> usize {
        let mut rows = 0;
        let reached = self.0.iter().find(|(_, count)| {
            rows += **count;
            rows >= rank
        });
        reached.map_or(0, |(length, _)| *length)
    }
}
