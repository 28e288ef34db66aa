//! From the records of a folder to what is reported of each task: means over seeds, the best settings, and their
//! differences to the reference with intervals.

use std::collections::{BTreeMap, BTreeSet};

use super::averages::averages;
use super::best::best_of;
use super::{Candidate, Delta, MethodResult, Results, SettingResult, Spread, TaskResult};
use crate::adapter::Method;
use crate::compare::CompareError;
use crate::compare::folder::CompareFolder;
use crate::compare::grid::{Setting, Trial};
use crate::compare::plan::Plan;
use crate::compare::statistics::{
    LEVEL, RESAMPLES, Resampling, mean, percentile_interval, standard_deviation, value_on,
};
use crate::compare::task::{FilePlan, RowAnswers, TaskPlan, TaskTargets};
use crate::compare::trial::{SplitRecord, TrialRecord};
use crate::train::Ending;

/// The method that others are compared with, where it is among them.
const REFERENCE: &str = "full";

/// Rows on which methods are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    Dev,
    Test,
}

/// The score of a candidate's best setting on each of the draws of a split's rows.
pub(super) type Draws = Option<Vec<Option<f64>>>;

impl Results {
    /// The results of all finished trials of a folder.
    /// # Errors
    /// If a record cannot be read, or does not belong to the task's rows.
    pub fn of(folder: &CompareFolder) -> Result<Self, CompareError> {
        let plan = folder.plan();
        let trials = plan.trials();
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
        let candidates = candidates(&methods, &trials);
        let (mut tasks, mut draws) = (Vec::new(), Vec::new());
        for task in &plan.tasks {
            let targets = folder.targets(&task.name)?;
            let compared = Compared { task, targets: &targets, trials: &trials, records: &records };
            compared.check(folder)?;
            let (result, of_candidates) = compared.result(&candidates, reference.into());
            tasks.push(result);
            draws.push(of_candidates);
        }
        Ok(Self {
            tool: plan.tool.clone(),
            base: plan.base.clone(),
            reference,
            level: LEVEL,
            resamples: RESAMPLES,
            planned: trials.len(),
            finished: records.len(),
            averages: averages(&candidates, reference.into(), &tasks, &draws),
            tasks,
            trials: records.iter().map(TrialRecord::summary).collect(),
        })
    }
}

/// All methods in the order in which they were named.
fn methods(plan: &Plan) -> Vec<Method> {
    let mut methods = Vec::new();
    for setting in plan.grids.iter().flat_map(|grid| &grid.settings) {
        if !methods.contains(&setting.method) {
            methods.push(setting.method);
        }
    }
    methods
}

/// Each method and, of one with several widths, after it those that were asked for on every task of the method, the smallest
/// first.
fn candidates(methods: &[Method], trials: &[Trial]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for method in methods {
        candidates.push(Candidate::from(*method));
        let mut tasks_of: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
        for Trial { task, setting, .. } in trials.iter().filter(|trial| trial.setting.method == *method) {
            if let Some(width) = setting.bottleneck {
                tasks_of.entry(width).or_default().insert(task);
            }
        }
        if tasks_of.len() > 1 {
            let all = tasks_of.values().flatten().collect::<BTreeSet<_>>().len();
            let widths = tasks_of.into_iter().filter(|(_, tasks)| tasks.len() == all);
            candidates
                .extend(widths.map(|(width, _)| Candidate { method: *method, bottleneck: Some(width) }));
        }
    }
    candidates
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

    fn result(&self, candidates: &[Candidate], reference: Candidate) -> (TaskResult, Vec<[Draws; 2]>) {
        let settings = self.settings();
        let best = |result: &MethodResult| result.best.map(|best| &settings[best]);
        let mut results: Vec<MethodResult> = candidates
            .iter()
            .map(|candidate| {
                let of_candidate =
                    settings.iter().enumerate().filter(|(_, one)| candidate.holds(&one.setting));
                let best = best_of(of_candidate).map(|(place, _)| place);
                MethodResult { candidate: *candidate, best, dev_difference: None, test_difference: None }
            })
            .collect();
        // A setting may be the best of two candidates.
        let bests: BTreeSet<usize> = results.iter().filter_map(|result| result.best).collect();
        let of_best = |best| [Split::Dev, Split::Test].map(|split| self.draws(&settings[best], split));
        let drawn: BTreeMap<usize, [Draws; 2]> =
            bests.into_iter().map(|best| (best, of_best(best))).collect();
        let draws: Vec<[Draws; 2]> = results
            .iter()
            .map(|result| result.best.map_or([None, None], |best| drawn[&best].clone()))
            .collect();
        let reference = results.iter().position(|result| result.candidate == reference);
        for place in 0..results.len() {
            let Some(reference) = reference.filter(|reference| *reference != place) else { continue };
            let delta = |split: Split| {
                let difference = split.spread(best(&results[place])?)?.mean
                    - split.spread(best(&results[reference])?)?.mean;
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
            settings,
            methods: results,
        };
        (result, draws)
    }

    /// All settings of the task, in the order in which they were asked for.
    fn settings(&self) -> Vec<SettingResult> {
        let mut settings: Vec<SettingResult> = Vec::new();
        for Trial { setting, .. } in self.trials.iter().filter(|trial| trial.task == self.task.name) {
            match settings.iter_mut().find(|known| known.setting == *setting) {
                Some(known) => known.planned += 1,
                None => settings.push(self.setting(setting)),
            }
        }
        settings
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
    fn draws(&self, setting: &SettingResult, split: Split) -> Draws {
        let setting = &setting.setting;
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

impl Split {
    pub(super) fn index(self) -> usize {
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
pub(super) fn less(of: &[Option<f64>], from: &[Option<f64>]) -> Vec<Option<f64>> {
    of.iter().zip(from).map(|(of, from)| Some((*of)? - (*from)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::statistics::Interval;
    use crate::data::TaskKind;
    use crate::metrics::Metric;

    fn file(rows: usize) -> FilePlan {
        FilePlan { sha256: "00ff00ff00ff00ff00ff".to_owned(), rows, format: None }
    }

    fn candidate(method: Method, bottleneck: Option<usize>) -> Candidate {
        Candidate { method, bottleneck }
    }

    fn record(of: Candidate, seed: u64, answers: &[usize], targets: &[usize]) -> TrialRecord {
        let Candidate { method, bottleneck } = of;
        let setting = Setting { method, bottleneck, learning_rate: 0.1, init_std: None };
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
        let of = |method: Method, answers: [&[usize]; 2]| {
            [1, 2].map(|seed| record(method.into(), seed, answers[seed as usize - 1], targets))
        };
        let records = [of(Method::Houlsby, houlsby), of(Method::Head, head)].concat();
        let (candidates, result) = result(&records, targets, Method::Houlsby);
        assert_eq!(candidates, [Method::Houlsby, Method::Head].map(Candidate::from));
        result.methods[1].dev_difference.expect("both have scores")
    }

    /// What is reported of records on one task.
    fn result(records: &[TrialRecord], targets: &[usize], reference: Method) -> (Vec<Candidate>, TaskResult) {
        let trials: Vec<Trial> = records.iter().map(|record| record.trial.clone()).collect();
        let candidates = candidates(&[Method::Houlsby, Method::Head], &trials);
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
        let compared = Compared { task: &task, targets: &targets, trials: &trials, records };
        let (result, _) = compared.result(&candidates, reference.into());
        (candidates, result)
    }

    #[test]
    fn each_width_has_a_row_and_the_best_of_those_with_most_seeds_is_that_of_the_method() {
        let targets = [0, 1, 1, 0, 1, 0, 0, 1];
        let (half, mostly) = ([0, 1, 1, 0, 0, 1, 1, 0], [1, 1, 1, 0, 1, 0, 0, 1]);
        let houlsby = |width| candidate(Method::Houlsby, width);
        let head = candidate(Method::Head, None);
        let mut records = vec![
            record(houlsby(Some(64)), 1, &mostly, &targets),
            record(houlsby(Some(64)), 2, &mostly, &targets),
            record(houlsby(Some(8)), 1, &half, &targets),
            record(houlsby(Some(8)), 2, &half, &targets),
            // The best of all, with one seed.
            record(houlsby(Some(256)), 1, &targets, &targets),
            record(head, 1, &half, &targets),
            record(head, 2, &half, &targets),
        ];
        let (candidates, result) = self::result(&records, &targets, Method::Head);
        let widths = [None, Some(8), Some(64), Some(256)].map(houlsby);
        assert_eq!(candidates, [&widths[..], &[head]].concat());
        let dev =
            |place: usize| result.best(&result.methods[place]).and_then(|best| best.dev).map(|dev| dev.mean);
        assert_eq!([0, 1, 2, 3, 4].map(dev), [0.875, 0.5, 0.875, 1.0, 0.5].map(Some));
        let less = |place: usize| result.methods[place].dev_difference;
        assert_eq!(
            [0, 2, 3].map(|place| less(place).map(|less| less.difference)),
            [0.375, 0.375, 0.5].map(Some)
        );
        assert_eq!(less(0), less(2));
        let zero = Delta { difference: 0.0, interval: Some(Interval { low: 0.0, high: 0.0 }) };
        assert_eq!((less(1), less(4)), (Some(zero), None));
        // On another task with widths 8 and 256 alone: a row is of all tasks that have the method.
        for width in [8, 256] {
            let mut of_other = record(houlsby(Some(width)), 1, &half, &targets);
            of_other.trial.task = "b".to_owned();
            records.push(of_other);
        }
        let mut of_head = record(head, 1, &half, &targets);
        of_head.trial.task = "c".to_owned();
        records.push(of_head);
        let (candidates, _) = self::result(&records, &targets, Method::Head);
        assert_eq!(candidates, [houlsby(None), houlsby(Some(8)), houlsby(Some(256)), head]);
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
