//! What came out: for each task and method the setting that is best on the dev rows, how it compares with the reference,
//! and the averages over the tasks. Plain data, made from the records of a folder alone.
//!
//! A setting is chosen by its mean dev score over the seeds (Houlsby et al. 2019, section 3.1). Settings with fewer
//! finished trials than the one with most do not take part, nor do those of which a trial has no score: a mean over other
//! seeds, or over those that did not diverge, would be another number. A setting in which a trial diverged after a good
//! evaluation stands behind those in which none did.

use serde::{Deserialize, Serialize};

use super::CompareError;
use super::folder::CompareFolder;
use super::grid::{Setting, Trial};
use super::plan::Plan;
use super::statistics::{
    Interval, LEVEL, RESAMPLES, Resampling, mean, percentile_interval, standard_deviation, value_on,
};
use super::task::{FilePlan, RowAnswers, TaskPlan, TaskTargets};
use super::trial::{SplitRecord, TrialRecord};
use crate::adapter::{BaseRecord, Method};
use crate::data::TaskKind;
use crate::encoder::EncoderConfig;
use crate::metrics::Metric;
use crate::train::Ending;

/// The method that others are compared with, where it is among them.
const REFERENCE: &str = "full";

/// The content of `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The program and its version.
    pub tool: String,
    /// The model that everything was trained on.
    pub base: BaseRecord,
    /// The method that others are compared with.
    pub reference: Method,
    /// The share of resampled differences that lies in an interval.
    pub level: f64,
    /// How often rows were drawn again for an interval.
    pub resamples: usize,
    /// Trials that were asked for.
    pub planned: usize,
    /// Trials that are finished.
    pub finished: usize,
    /// Each task.
    pub tasks: Vec<TaskResult>,
    /// Each method over all tasks.
    pub averages: Vec<AverageResult>,
    /// Each finished trial.
    pub trials: Vec<TrialSummary>,
}

/// One task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// Its name.
    pub task: String,
    /// Classes or numbers.
    pub kind: TaskKind,
    /// What is compared.
    pub metric: Metric,
    /// Rows to learn from.
    pub train_rows: usize,
    /// Rows to choose by.
    pub dev_rows: usize,
    /// Labelled rows that chose nothing.
    pub test_rows: Option<usize>,
    /// Each method.
    pub methods: Vec<MethodResult>,
}

/// One method on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodResult {
    /// What trains.
    pub method: Method,
    /// The place of the best setting in `settings`; absent while none has scores.
    pub best: Option<usize>,
    /// Each setting.
    pub settings: Vec<SettingResult>,
    /// The best setting's dev score less that of the reference; absent for the reference itself.
    pub dev_difference: Option<Delta>,
    /// The same of the test scores.
    pub test_difference: Option<Delta>,
}

/// One setting on one task, over its seeds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SettingResult {
    /// What was tried.
    #[serde(flatten)]
    pub setting: Setting,
    /// Trials that were asked for.
    pub planned: usize,
    /// The seeds of the finished trials.
    pub seeds: Vec<u64>,
    /// How many of them diverged; those that had an evaluation before have scores all the same.
    pub diverged: usize,
    /// Score on the dev rows; absent where a trial has none.
    pub dev: Option<Spread>,
    /// Score on the test rows; absent where a trial has none.
    pub test: Option<Spread>,
    /// How many numbers were trained.
    pub trained_parameters: Option<usize>,
    /// The same as a share of the base's numbers.
    pub share_of_base: Option<f64>,
    /// Mean time of a trial.
    pub seconds: Option<f64>,
    /// Largest adapter folder, without the card for people.
    pub adapter_bytes: Option<u64>,
}

/// Scores over seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation (`n - 1`); absent of one.
    pub std: Option<f64>,
}

/// A difference to the reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Of the means over the seeds.
    pub difference: f64,
    /// The interval of the paired bootstrap over the rows; absent where the metric is not defined on most draws.
    pub interval: Option<Interval>,
}

/// One method over all tasks, with the best setting of each. Absent is what a task lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AverageResult {
    /// What trains.
    pub method: Method,
    /// On how many tasks it has scores.
    pub tasks: usize,
    /// Mean of the dev scores.
    pub dev: Option<f64>,
    /// Mean of the test scores, over the tasks with test rows.
    pub test: Option<f64>,
    /// Mean of the differences on the dev rows.
    pub dev_difference: Option<Delta>,
    /// Mean of the differences on the test rows.
    pub test_difference: Option<Delta>,
    /// Mean share of the base's numbers that was trained.
    pub share_of_base: Option<f64>,
    /// Mean time of a trial.
    pub seconds: Option<f64>,
    /// Mean bytes of an adapter.
    pub adapter_bytes: Option<f64>,
}

/// One finished trial, without its answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialSummary {
    /// See [`Trial::id`].
    pub id: String,
    /// What was run.
    #[serde(flatten)]
    pub trial: Trial,
    /// Why it ended.
    pub ending: Ending,
    /// Score on the dev rows.
    pub dev: Option<f64>,
    /// Score on the test rows.
    pub test: Option<f64>,
    /// How many numbers were trained.
    pub trained_parameters: usize,
    /// The same as a share of the base's numbers.
    pub share_of_base: f64,
    /// Steps done.
    pub steps: Option<u64>,
    /// Steps after which the best evaluation came.
    pub best_step: Option<u64>,
    /// Bytes of the adapter's folder, without the card for people.
    pub adapter_bytes: Option<u64>,
    /// SHA-256 of the adapter's numbers as a file.
    pub weights_sha256: Option<String>,
    /// Time that the trial took.
    pub seconds: f64,
}

/// Rows on which methods are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Split {
    Dev,
    Test,
}

/// The score of a method's best setting on each of the draws of a split's rows.
type Draws = Option<Vec<Option<f64>>>;

impl Results {
    /// The results of all finished trials of a folder.
    /// # Errors
    /// If a record cannot be read, or does not belong to the task's rows.
    pub fn of(folder: &CompareFolder, encoder: &EncoderConfig) -> Result<Self, CompareError> {
        let plan = folder.plan();
        let trials = plan.trials(encoder);
        let mut records = Vec::new();
        for trial in &trials {
            records.extend(folder.record(trial)?);
        }
        let methods = methods(plan);
        let Some(reference) =
            methods.iter().find(|method| method.to_string() == REFERENCE).or(methods.first()).copied()
        else {
            return Err(CompareError::Empty { what: "method" });
        };
        let (mut tasks, mut draws) = (Vec::new(), Vec::new());
        for task in &plan.tasks {
            let targets = folder.targets(&task.name)?;
            let compared = Compared { task, targets: &targets, trials: &trials, records: &records };
            compared.check(folder)?;
            let (result, of_methods) = compared.result(&methods, reference);
            tasks.push(result);
            draws.push(of_methods);
        }
        Ok(Self {
            tool: plan.tool.clone(),
            base: plan.base.clone(),
            reference,
            level: LEVEL,
            resamples: RESAMPLES,
            planned: trials.len(),
            finished: records.len(),
            averages: averages(&methods, reference, &tasks, &draws),
            tasks,
            trials: records.iter().map(TrialSummary::of).collect(),
        })
    }

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

impl MethodResult {
    /// The best setting.
    pub fn best(&self) -> Option<&SettingResult> {
        self.best.and_then(|best| self.settings.get(best))
    }
}

impl TrialSummary {
    fn of(record: &TrialRecord) -> Self {
        let score = |split: &Option<SplitRecord>| split.as_ref().and_then(|split| split.score);
        Self {
            id: record.id.clone(),
            trial: record.trial.clone(),
            ending: record.ending,
            dev: score(&record.dev),
            test: score(&record.test),
            trained_parameters: record.trained_parameters,
            share_of_base: record.share_of_base,
            steps: record.steps,
            best_step: record.best_step,
            adapter_bytes: record.adapter_bytes,
            weights_sha256: record.weights_sha256.clone(),
            seconds: record.seconds,
        }
    }
}

/// All methods in the order in which they were named.
fn methods(plan: &Plan) -> Vec<Method> {
    let mut methods = Vec::new();
    for method in plan.grids.iter().flat_map(|grid| &grid.methods) {
        if !methods.contains(method) {
            methods.push(*method);
        }
    }
    methods
}

/// One task, what was asked for on all tasks, and what came out of it.
struct Compared<'a> {
    task: &'a TaskPlan,
    targets: &'a TaskTargets,
    trials: &'a [Trial],
    records: &'a [TrialRecord],
}

impl Compared<'_> {
    fn records(&self) -> impl Iterator<Item = &TrialRecord> {
        self.records.iter().filter(|record| record.trial.task == self.task.name)
    }

    /// A record has an answer to each row, or is none of this program.
    fn check(&self, folder: &CompareFolder) -> Result<(), CompareError> {
        for record in self.records() {
            for split in [Split::Dev, Split::Test] {
                let targets = split.targets(self.targets).map_or(0, RowAnswers::len);
                let answers = split.of(record).map_or(targets, |split| split.answers.len());
                if answers != targets {
                    let path = folder.path().join("trials").join(format!("{}.json", record.id));
                    let reason = format!("{answers} answers to {targets} rows");
                    return Err(CompareError::Record { path, reason });
                }
            }
        }
        Ok(())
    }

    fn result(&self, methods: &[Method], reference: Method) -> (TaskResult, Vec<[Draws; 2]>) {
        let mut results: Vec<MethodResult> = methods.iter().map(|method| self.method(*method)).collect();
        let draws: Vec<[Draws; 2]> = results
            .iter()
            .map(|result| [Split::Dev, Split::Test].map(|split| self.draws(result.best(), split)))
            .collect();
        let reference = results.iter().position(|result| result.method == reference);
        for place in 0..results.len() {
            let Some(reference) = reference.filter(|reference| *reference != place) else { continue };
            let delta = |split: Split| {
                let difference = split.spread(results[place].best()?)?.mean
                    - split.spread(results[reference].best()?)?.mean;
                let differences =
                    less(draws[place][split.index()].as_ref()?, draws[reference][split.index()].as_ref()?);
                Some(Delta { difference, interval: percentile_interval(&differences) })
            };
            let (dev, test) = (delta(Split::Dev), delta(Split::Test));
            (results[place].dev_difference, results[place].test_difference) = (dev, test);
        }
        let plan = self.task;
        let result = TaskResult {
            task: plan.name.clone(),
            kind: plan.kind,
            metric: plan.metric,
            train_rows: plan.train.rows,
            dev_rows: plan.dev.rows,
            test_rows: plan.test.as_ref().map(|test| test.rows),
            methods: results,
        };
        (result, draws)
    }

    fn method(&self, method: Method) -> MethodResult {
        let mut settings: Vec<SettingResult> = Vec::new();
        for trial in self.trials {
            let Trial { task, setting, .. } = trial;
            if *task != self.task.name || setting.method != method {
                continue;
            }
            match settings.iter_mut().find(|known| known.setting == *setting) {
                Some(known) => known.planned += 1,
                None => settings.push(self.setting(setting)),
            }
        }
        let best = best_setting(&settings);
        MethodResult { method, best, settings, dev_difference: None, test_difference: None }
    }

    /// A setting as far as its trials are finished; one trial was asked for.
    fn setting(&self, setting: &Setting) -> SettingResult {
        let records: Vec<&TrialRecord> =
            self.records().filter(|record| record.trial.setting == *setting).collect();
        let spread = |split: Split| {
            let scores = records.iter().map(|record| split.of(record)?.score);
            let scores = scores.collect::<Option<Vec<f64>>>()?;
            Some(Spread { mean: mean(&scores)?, std: standard_deviation(&scores) })
        };
        let seconds: Vec<f64> = records.iter().map(|record| record.seconds).collect();
        SettingResult {
            setting: setting.clone(),
            planned: 1,
            seeds: records.iter().map(|record| record.trial.seed).collect(),
            diverged: records.iter().filter(|record| record.ending == Ending::Diverged).count(),
            dev: spread(Split::Dev),
            test: spread(Split::Test),
            trained_parameters: records.first().map(|record| record.trained_parameters),
            share_of_base: records.first().map(|record| record.share_of_base),
            seconds: mean(&seconds),
            adapter_bytes: records.iter().filter_map(|record| record.adapter_bytes).max(),
        }
    }

    /// The mean over the seeds of a setting's score on each draw of the rows.
    fn draws(&self, setting: Option<&SettingResult>, split: Split) -> Draws {
        let setting = &setting?.setting;
        let targets = split.targets(self.targets)?;
        let answers: Vec<&RowAnswers> = self
            .records()
            .filter(|record| record.trial.setting == *setting)
            .filter_map(|record| Some(&split.of(record)?.answers))
            .collect();
        let sha256 = &split.plan(self.task)?.sha256;
        let draws = Resampling::new(targets.len(), sha256).values(|rows| {
            let value = |answers| value_on(self.task.metric, self.targets.classes, (targets, answers), rows);
            mean(&answers.iter().map(|answers| value(answers)).collect::<Option<Vec<f64>>>()?)
        });
        Some(draws)
    }
}

/// Of the settings with a score of each trial, those with most finished trials, and those of them in which none
/// diverged (if there are any), the one with the best mean on dev; the first of equals.
fn best_setting(settings: &[SettingResult]) -> Option<usize> {
    let scored: Vec<(usize, &SettingResult, f64)> = settings
        .iter()
        .enumerate()
        .filter_map(|(place, setting)| Some((place, setting, setting.dev?.mean)))
        .collect();
    let rank = |setting: &SettingResult| (setting.seeds.len(), std::cmp::Reverse(setting.diverged.min(1)));
    let highest = scored.iter().map(|(_, setting, _)| rank(setting)).max()?;
    // `max_by` takes the last of equals, hence the reversal.
    let whole = scored.iter().rev().filter(|(_, setting, _)| rank(setting) == highest);
    whole.max_by(|a, b| a.2.total_cmp(&b.2)).map(|(place, ..)| *place)
}

impl Split {
    fn index(self) -> usize {
        match self {
            Self::Dev => 0,
            Self::Test => 1,
        }
    }

    fn of(self, record: &TrialRecord) -> Option<&SplitRecord> {
        match self {
            Self::Dev => record.dev.as_ref(),
            Self::Test => record.test.as_ref(),
        }
    }

    fn targets(self, targets: &TaskTargets) -> Option<&RowAnswers> {
        match self {
            Self::Dev => Some(&targets.dev),
            Self::Test => targets.test.as_ref(),
        }
    }

    fn plan(self, task: &TaskPlan) -> Option<&FilePlan> {
        match self {
            Self::Dev => Some(&task.dev),
            Self::Test => task.test.as_ref(),
        }
    }

    fn spread(self, setting: &SettingResult) -> Option<Spread> {
        match self {
            Self::Dev => setting.dev,
            Self::Test => setting.test,
        }
    }
}

/// The differences draw by draw; where either is not defined, nor is the difference.
fn less(of: &[Option<f64>], from: &[Option<f64>]) -> Vec<Option<f64>> {
    of.iter().zip(from).map(|(of, from)| Some((*of)? - (*from)?)).collect()
}

fn averages(
    methods: &[Method],
    reference: Method,
    tasks: &[TaskResult],
    draws: &[Vec<[Draws; 2]>],
) -> Vec<AverageResult> {
    let of_reference = methods.iter().position(|method| *method == reference);
    let average = |(place, method): (usize, &Method)| {
        let best: Vec<Option<&SettingResult>> = tasks.iter().map(|task| task.methods[place].best()).collect();
        let over = |value: &dyn Fn(&SettingResult) -> Option<f64>| {
            mean(&best.iter().map(|best| value((*best)?)).collect::<Option<Vec<f64>>>()?)
        };
        let delta = |split: Split| {
            let reference = of_reference.filter(|reference| *reference != place)?;
            let (mut differences, mut of_tasks) = (Vec::new(), Vec::new());
            for (task, draws) in tasks.iter().zip(draws) {
                let method = &task.methods[place];
                let delta = match split {
                    Split::Dev => method.dev_difference,
                    Split::Test if task.test_rows.is_none() => continue,
                    Split::Test => method.test_difference,
                };
                differences.push(delta?.difference);
                let of = |place: usize| draws[place][split.index()].as_ref();
                of_tasks.push(less(of(place)?, of(reference)?));
            }
            let means: Vec<Option<f64>> = (0..RESAMPLES)
                .map(|draw| mean(&of_tasks.iter().map(|task| task[draw]).collect::<Option<Vec<f64>>>()?))
                .collect();
            Some(Delta { difference: mean(&differences)?, interval: percentile_interval(&means) })
        };
        let with_test = tasks.iter().zip(&best).filter(|(task, _)| task.test_rows.is_some());
        let test = with_test.map(|(_, best)| Some((*best)?.test?.mean)).collect::<Option<Vec<f64>>>();
        AverageResult {
            method: *method,
            tasks: best.iter().flatten().count(),
            dev: over(&|best| Some(best.dev?.mean)),
            test: test.and_then(|test| mean(&test)),
            dev_difference: delta(Split::Dev),
            test_difference: delta(Split::Test),
            share_of_base: over(&|best| best.share_of_base),
            seconds: over(&|best| best.seconds),
            adapter_bytes: over(&|best| best.adapter_bytes.map(|bytes| bytes as f64)),
        }
    };
    methods.iter().enumerate().map(average).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(learning_rate: f64, seeds: usize, dev: Option<f64>) -> SettingResult {
        SettingResult {
            setting: Setting { method: Method::Head, bottleneck: None, learning_rate, init_std: None },
            planned: seeds,
            seeds: (0..seeds as u64).collect(),
            diverged: 0,
            dev: dev.map(|mean| Spread { mean, std: None }),
            test: None,
            trained_parameters: None,
            share_of_base: None,
            seconds: None,
            adapter_bytes: None,
        }
    }

    #[test]
    fn the_best_setting_is_chosen_among_those_with_as_many_seeds() {
        assert_eq!(best_setting(&[]), None);
        assert_eq!(best_setting(&[setting(0.1, 2, None), setting(0.2, 0, None)]), None);
        assert_eq!(best_setting(&[setting(0.1, 2, Some(0.5)), setting(0.2, 2, Some(0.7))]), Some(1));
        assert_eq!(
            best_setting(&[setting(0.1, 2, Some(0.5)), setting(0.2, 2, Some(0.5))]),
            Some(0),
            "first of equals"
        );
        assert_eq!(
            best_setting(&[setting(0.1, 3, Some(0.5)), setting(0.2, 1, Some(0.9))]),
            Some(0),
            "fewer seeds"
        );
        let unstable = SettingResult { diverged: 1, ..setting(0.2, 2, Some(0.9)) };
        assert_eq!(best_setting(&[setting(0.1, 2, Some(0.5)), unstable.clone()]), Some(0), "diverged late");
        assert_eq!(best_setting(&[unstable]), Some(0), "and no other");
        assert_eq!(best_setting(&[setting(0.1, 3, None), setting(0.2, 2, Some(0.4))]), Some(1), "diverged");
    }

    fn file(rows: usize) -> FilePlan {
        FilePlan { sha256: "00ff00ff00ff00ff00ff".to_owned(), rows, format: None }
    }

    fn record(method: Method, seed: u64, answers: &[usize], targets: &[usize]) -> TrialRecord {
        let setting = Setting { method, bottleneck: None, learning_rate: 0.1, init_std: None };
        let scores = crate::metrics::ClassificationScores::compute(targets, answers, 2).expect("rows fit");
        let split = SplitRecord {
            score: Some(scores.accuracy),
            scores: crate::metrics::Scores::Classification(scores),
            answers: RowAnswers::Classes(answers.to_vec()),
        };
        let trial = Trial { task: "a".to_owned(), setting, seed };
        TrialRecord {
            id: trial.id(),
            trial,
            ending: Ending::Completed,
            dev: Some(split),
            test: None,
            trained_parameters: 1,
            share_of_base: 0.1,
            steps: Some(1),
            best_step: Some(1),
            adapter_bytes: Some(1),
            weights_sha256: None,
            seconds: 1.0,
        }
    }

    /// The difference of `head` to `houlsby`, each with the answers of two seeds to the same rows.
    fn delta(houlsby: [&[usize]; 2], head: [&[usize]; 2], targets: &[usize]) -> Delta {
        let of = |method, answers: [&[usize]; 2]| {
            [1, 2].map(|seed| record(method, seed, answers[seed as usize - 1], targets))
        };
        let records = [of(Method::Houlsby, houlsby), of(Method::Head, head)].concat();
        let trials: Vec<Trial> = records.iter().map(|record| record.trial.clone()).collect();
        let task = TaskPlan {
            name: "a".to_owned(),
            kind: TaskKind::Classification,
            metric: Metric::Accuracy,
            columns: crate::data::Columns::default(),
            train: file(targets.len()),
            dev: file(targets.len()),
            test: None,
        };
        let targets = TaskTargets { classes: 2, dev: RowAnswers::Classes(targets.to_vec()), test: None };
        let compared = Compared { task: &task, targets: &targets, trials: &trials, records: &records };
        let (result, _) = compared.result(&[Method::Houlsby, Method::Head], Method::Houlsby);
        result.methods[1].dev_difference.expect("both have scores")
    }

    #[test]
    fn methods_are_compared_on_the_same_rows() {
        let targets = [0, 1, 1, 0, 1, 0, 0, 1];
        let (half, other, right) = ([0, 1, 1, 0, 0, 1, 1, 0], [1, 0, 0, 1, 1, 0, 0, 1], targets);
        // The same errors on the same rows: drawn rows cannot tell them apart, however many errors are drawn.
        let mostly = [1, 1, 1, 0, 1, 0, 0, 1];
        let same = delta([&half, &mostly], [&mostly, &half], &targets);
        assert_eq!(same, Delta { difference: 0.0, interval: Some(Interval { low: 0.0, high: 0.0 }) });
        // The seeds of one err where those of the other do not: half a row each on every row.
        let better = delta([&half, &other], [&right, &right], &targets);
        assert_eq!(better, Delta { difference: 0.5, interval: Some(Interval { low: 0.5, high: 0.5 }) });
        // Other rows: the same score, and the rows that are drawn decide.
        let Delta { difference, interval: Some(interval) } =
            delta([&half, &half], [&other, &other], &targets)
        else {
            panic!("accuracy is defined on all rows")
        };
        assert!(difference == 0.0 && interval.low < 0.0 && interval.high > 0.0, "{interval:?}");
    }
}
