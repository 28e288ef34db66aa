//! The finished trials as a table for programs that read no JSON.

use super::Results;
use crate::compare::grid::Trial;
use crate::train::Ending;

impl Results {
    /// The finished trials as comma-separated values, with a header.
    pub fn csv(&self) -> String {
        fn shown<T: ToString>(value: Option<T>) -> String {
            value.map_or(String::new(), |value| value.to_string())
        }
        let mut text =
            "task,method,bottleneck,learning_rate,init_std,seed,ending,dev,test,trained_parameters,\
                        share_of_base,steps,best_step,adapter_bytes,seconds\n"
                .to_owned();
        for trial in &self.trials {
            let Trial { task, setting, seed } = &trial.trial;
            let ending = match trial.ending {
                Ending::Completed => "completed",
                Ending::EarlyStopped => "early-stopped",
                Ending::Interrupted => "interrupted",
                Ending::Diverged => "diverged",
            };
            let fields = [
                task.clone(),
                setting.method.to_string(),
                shown(setting.bottleneck),
                setting.learning_rate.to_string(),
                shown(setting.init_std),
                seed.to_string(),
                ending.to_owned(),
                shown(trial.dev),
                shown(trial.test),
                trial.trained_parameters.to_string(),
                trial.share_of_base.to_string(),
                shown(trial.steps),
                shown(trial.best_step),
                shown(trial.adapter_bytes),
                trial.seconds.to_string(),
            ];
            // No field holds a comma, a quote or a line break.
            text += &fields.join(",");
            text.push('\n');
        }
        text
    }
}
