//! Linear warm-up from zero, then linear decay to zero (Houlsby et al. 2019, section 3.1; the formula of
//! Hugging Face's `get_linear_schedule_with_warmup`).

use serde::{Deserialize, Serialize};

/// The learning rate over a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearSchedule {
    /// The largest learning rate, reached at the end of the warm-up.
    pub peak: f64,
    /// Steps of the warm-up.
    pub warmup_steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
}

impl LinearSchedule {
    /// Learning rate of a step, counted from 0: `peak · step / warmup` in the warm-up, then
    /// `peak · (total - step) / (total - warmup)`, and 0 from `total` on.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps as f64;
        }
        let left = self.total_steps.saturating_sub(step) as f64;
        self.peak * left / self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_and_falls_linearly() {
        let schedule = LinearSchedule { peak: 8.0, warmup_steps: 4, total_steps: 12 };
        let rates: Vec<f64> = (0..14).map(|step| schedule.rate(step)).collect();
        assert_eq!(rates, [0.0, 2.0, 4.0, 6.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0, 0.0]);
        let without = LinearSchedule { peak: 1.0, warmup_steps: 0, total_steps: 2 };
        assert_eq!([without.rate(0), without.rate(1), without.rate(2)], [1.0, 0.5, 0.0]);
    }
}
