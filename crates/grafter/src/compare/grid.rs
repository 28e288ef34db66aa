//! What is tried: methods, sizes, learning rates and seeds on tasks, each combination a [`Trial`].

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::adapter::Method;
use crate::graft::GraftOptions;

/// Largest learning rates that are tried.
#[derive(Clone, Debug, PartialEq)]
pub enum Rates {
    /// These, with every method and width.
    Named(Vec<f64>),
    /// So many times what each method and width has by default.
    TimesDefault(Vec<f64>),
}

/// The combinations that a command asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// Names of tasks.
    pub tasks: Vec<String>,
    /// What trains.
    pub methods: Vec<Method>,
    /// Widths of the adapters, for methods that have adapters.
    pub bottlenecks: Vec<usize>,
    /// Largest learning rates.
    pub learning_rates: Rates,
    /// Standard deviations that the adapters begin with, for methods that have adapters.
    pub init_stds: Vec<f32>,
    /// Seeds of initialisation, order and dropout.
    pub seeds: Vec<u64>,
}

/// The trials of a grid with nothing left to the defaults of a program: each setting on each task with each seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedGrid {
    /// Names of tasks.
    pub tasks: Vec<String>,
    /// What is tried on each.
    pub settings: Vec<Setting>,
    /// Seeds of initialisation, order and dropout.
    pub seeds: Vec<u64>,
}

/// What is chosen on dev rows; the seed is not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// What trains.
    pub method: Method,
    /// Width of the adapters; absent where the method has none.
    pub bottleneck: Option<usize>,
    /// Largest learning rate.
    pub learning_rate: f64,
    /// Standard deviation that the adapters begin with; absent where the method has none.
    pub init_std: Option<f32>,
}

/// One training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Name of the task.
    pub task: String,
    /// What is chosen on dev rows.
    #[serde(flatten)]
    pub setting: Setting,
    /// Decides initialisation, order and dropout.
    pub seed: u64,
}

impl Setting {
    /// The setting within its method, as a part of a file's name: `b64-lr1e-3-std1e-2`.
    pub fn id(&self) -> String {
        let mut id = self.bottleneck.map_or(String::new(), |bottleneck| format!("b{bottleneck}-"));
        id += &format!("lr{:e}", self.learning_rate);
        id + &self.init_std.map_or(String::new(), |std| format!("-std{std:e}"))
    }

    /// The options of a run with this setting; the rest is the template's.
    pub fn options(&self, template: &GraftOptions) -> GraftOptions {
        let default = GraftOptions::default();
        let mut options = GraftOptions {
            method: self.method,
            bottleneck: self.bottleneck.unwrap_or(default.bottleneck),
            // Adapters alone have a lowest layer.
            adapt_from_layer: self.bottleneck.map_or(0, |_| template.adapt_from_layer),
            // Of the other methods, each says by itself which it tunes.
            freeze_layernorm: self.method == Method::Houlsby && template.freeze_layernorm,
            ..template.clone()
        };
        options.train.learning_rate = Some(self.learning_rate);
        options.train.init_std = self.init_std.unwrap_or(default.train.init_std);
        options
    }
}

impl Trial {
    /// A name that no other trial of a comparison has, and that can be a file's.
    pub fn id(&self) -> String {
        format!("{}.{}.{}.seed{}", self.task, self.setting.method, self.setting.id(), self.seed)
    }
}

impl Rates {
    fn of(&self, method: Method, bottleneck: Option<usize>) -> Vec<f64> {
        match self {
            Self::Named(rates) => rates.clone(),
            Self::TimesDefault(factors) => {
                let default = method.default_learning_rate(bottleneck);
                factors.iter().map(|factor| rounded(default * factor)).collect()
            }
        }
    }
}

/// With two digits, so that it is `3e-4` and not `3.0000000000000003e-4`.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.1e}").parse().unwrap_or(rate)
}

impl PlannedGrid {
    /// All trials, seed by seed: a comparison that ends early has every setting on the same seeds.
    pub fn trials(&self) -> Vec<Trial> {
        let mut seen = HashSet::new();
        let mut trials = Vec::new();
        for seed in &self.seeds {
            for task in &self.tasks {
                for setting in &self.settings {
                    let trial = Trial { task: task.clone(), setting: setting.clone(), seed: *seed };
                    if seen.insert(trial.id()) {
                        trials.push(trial);
                    }
                }
            }
        }
        trials
    }
}

impl Grid {
    /// The trials that it stands for.
    pub fn planned(&self) -> PlannedGrid {
        let (tasks, seeds) = (self.tasks.clone(), self.seeds.clone());
        PlannedGrid { tasks, settings: self.settings(), seeds }
    }

    /// All settings; a method without adapters has no widths to try.
    fn settings(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        for method in &self.methods {
            let method = *method;
            let adapters = method.has_adapters();
            let widths =
                if adapters { self.bottlenecks.iter().copied().map(Some).collect() } else { vec![None] };
            let stds = if adapters { self.init_stds.iter().copied().map(Some).collect() } else { vec![None] };
            for bottleneck in &widths {
                for learning_rate in self.learning_rates.of(method, *bottleneck) {
                    for init_std in &stds {
                        settings.push(Setting {
                            method,
                            bottleneck: *bottleneck,
                            learning_rate,
                            init_std: *init_std,
                        });
                    }
                }
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid {
            tasks: vec!["a".to_owned(), "b".to_owned()],
            methods: vec![Method::Houlsby, Method::Head],
            bottlenecks: vec![8, 64],
            learning_rates: Rates::Named(vec![3e-4, 1e-3]),
            init_stds: vec![1e-2],
            seeds: vec![1, 2, 1],
        }
    }

    #[test]
    fn a_method_without_adapters_has_no_widths_and_nothing_is_tried_twice() {
        let trials = grid().planned().trials();
        // Two seeds, two tasks; two widths and two rates of the adapters, two rates of the head.
        assert_eq!(trials.len(), 2 * 2 * (2 * 2 + 2));
        let ids: Vec<String> = trials.iter().map(Trial::id).collect();
        assert_eq!(ids[0], "a.houlsby.b8-lr3e-4-std1e-2.seed1");
        assert_eq!(ids[5], "a.head.lr1e-3.seed1");
        assert_eq!(ids[23], "b.head.lr1e-3.seed2");
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn a_method_and_width_have_their_own_rates_where_none_is_named() {
        let rates = |factors: &[f64]| -> Vec<f64> {
            let learning_rates = Rates::TimesDefault(factors.to_vec());
            let grid = Grid { learning_rates, bottlenecks: vec![64, 65], ..grid() };
            grid.settings().iter().map(|setting| setting.learning_rate).collect()
        };
        assert_eq!(rates(&[1.0]), [1e-3, 3e-4, 1e-2]);
        assert_eq!(rates(&[1.0, 0.3, 3.0]), [1e-3, 3e-4, 3e-3, 3e-4, 9e-5, 9e-4, 1e-2, 3e-3, 3e-2]);
        // What `train` takes.
        for method in [Method::Houlsby, Method::Pfeiffer, Method::Head] {
            let grid = Grid {
                methods: vec![method],
                learning_rates: Rates::TimesDefault(vec![1.0]),
                bottlenecks: vec![64, 65],
                ..grid()
            };
            for setting in grid.settings() {
                let default = GraftOptions::default();
                let bottleneck = setting.bottleneck.unwrap_or(default.bottleneck);
                let options = GraftOptions { method, bottleneck, ..default };
                let rate = options.train.learning_rate_for(&options.config(2));
                assert_eq!(rate, setting.learning_rate, "{setting:?}");
            }
        }
    }

    #[test]
    fn a_setting_of_the_head_is_what_train_would_take() {
        let template = GraftOptions { adapt_from_layer: 1, ..GraftOptions::default() };
        let setting = Setting { method: Method::Head, bottleneck: None, learning_rate: 1e-2, init_std: None };
        let options = setting.options(&template);
        let mut expected = GraftOptions { method: Method::Head, ..GraftOptions::default() };
        expected.train.learning_rate = Some(1e-2);
        assert_eq!(options, expected);
    }
}
