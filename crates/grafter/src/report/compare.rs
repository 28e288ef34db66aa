//! The page of a comparison: tables of the methods, and the figures of Houlsby et al. 2019: score against trained numbers
//! (figures 3 and 4), against the learning rate (section 3.4) and against the adapters' first standard deviation (figure 6).

use std::collections::{BTreeMap, BTreeSet};

use super::chart::{Axis, Colour, Mark, Plot, Point, Series};
use super::number::{bytes, grouped};
use super::page::{Page, Paragraph, Section};
use super::table::{Column, Table};
use crate::adapter::Method;
use crate::compare::cells::{
    NONE, best_setting_text, delta, score, seconds, seeds, seeds_over_tasks, share, spread, told_of_widths,
};
use crate::compare::{Candidate, MethodResult, Results, Setting, SettingResult, Spread, TaskResult, best_of};

/// The horizontal axis of figures 3 and 4, and what heads the tables of costs.
const TRAINED: &str = "trained numbers, % of the base";
const COSTS: &str = "What the adapter of a task costs";

/// The whole page, with a section before all others if there is one.
pub fn page(results: &Results, first: Option<Section>) -> Page {
    let subtitle = format!(
        "{} of {} trials on {}, compared with {}",
        results.finished, results.planned, results.base.name, results.reference
    );
    let mut page = Page::new("Methods compared", subtitle);
    if let Some(first) = first {
        page = page.with(first);
    }
    if results.tasks.len() > 1 {
        page = page.with(averages(results));
    }
    for task in &results.tasks {
        page = page.with(section(task, results));
    }
    page.with(Section::new("How to read this").with(&Paragraph(explained(results))))
}

fn explained(results: &Results) -> String {
    let widths = told_of_widths(results).map_or(String::new(), |told| told.replace('`', "") + ". ");
    format!(
        "Scores are times 100. A method's row is of the setting that is best on the dev rows, the mean over its seeds ± one \
         standard deviation; its dev score is optimistic, the more so the more settings were tried, its test score is not. \
         {widths}A \
         difference is to {} on the same rows; in brackets stands the {:.0} % interval of the paired bootstrap, {} draws of \
         the rows: it tells how much the rows matter, not what other seeds would give. The error bars in the figures are one \
         standard deviation over the seeds.",
        results.reference,
        100.0 * results.level,
        results.resamples
    )
}

/// Methods that lie on one curve: adapters of several widths, and ever more layers up to all.
fn family(method: Method) -> String {
    match method {
        Method::TopLayers(_) | Method::Full => "top layers, and all".to_owned(),
        method => method.to_string(),
    }
}

/// The colour of a method, the same in every figure that shows methods.
fn colour(method: Method) -> Colour {
    Colour::Number(match method {
        Method::Houlsby => 0,
        Method::Pfeiffer => 1,
        Method::Full => 2,
        Method::LayerNorm => 3,
        Method::Bias => 4,
        Method::Head => 5,
        Method::TopLayers(layers) => 5 + layers,
    })
}

/// The best setting of each method and width, by the mean on dev: what a point of a figure stands for.
fn best_candidates(task: &TaskResult) -> BTreeMap<Candidate, &SettingResult> {
    best_by(task, |setting| Some(Candidate::of(setting)))
}

/// The best setting for each key, by the rule of the tables; settings without a key or a score are left out.
fn best_by<K: Ord + Copy>(
    task: &TaskResult,
    key: impl Fn(&Setting) -> Option<K>,
) -> BTreeMap<K, &SettingResult> {
    let mut keyed: BTreeMap<K, Vec<&SettingResult>> = BTreeMap::new();
    for setting in &task.settings {
        if let Some(key) = key(&setting.setting) {
            keyed.entry(key).or_default().push(setting);
        }
    }
    let of_key = |(key, settings): (K, Vec<_>)| best_of(settings.into_iter().map(|setting| (key, setting)));
    keyed.into_iter().filter_map(of_key).collect()
}

/// How many seeds a point is the mean of.
fn seeds_of(setting: &SettingResult) -> String {
    format!("{} seed{}", seeds(setting), if setting.planned == 1 { "" } else { "s" })
}

fn point(x: f64, spread: Spread, note: String) -> Point {
    let (mean, std) = (100.0 * spread.mean, spread.std.map(|std| 100.0 * std));
    let point = Point::new(x, mean).noted(note);
    std.map_or(point.clone(), |std| point.between(mean - std, mean + std))
}

/// A point, and of which series.
struct Placed {
    series: String,
    colour: Colour,
    point: Point,
}

/// The series in the order of their first points, each from left to right.
fn series(points: Vec<Placed>) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for Placed { series: name, colour, point } in points {
        match all.iter_mut().find(|series| series.name == name) {
            Some(series) => series.points.push(point),
            None => all.push(Series { name, mark: Mark::LineAndPoints, colour, points: vec![point] }),
        }
    }
    for series in &mut all {
        series.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    all
}

fn section(task: &TaskResult, results: &Results) -> Section {
    let test = task.test_rows.map_or("no labelled test rows".to_owned(), |rows| format!("{rows} test rows"));
    let rows = format!("{} training rows, {} dev rows, {test}.", task.train_rows, task.dev_rows);
    let mut section = Section::new(format!("{}: {}", task.task, task.metric)).with(&Paragraph(rows));
    for table in task_tables(task, results) {
        section = section.with(&table);
    }
    for (_, figure) in task_figures(task) {
        section = section.with(&figure);
    }
    section
}

/// All figures of the page, each with a name for a file: what it is over, after the name of its task if it is of one.
pub fn figures(results: &Results) -> Vec<(String, Plot)> {
    let over_all = (results.tasks.len() > 1).then(|| by_parameters_of_all(results)).flatten();
    let over_all = over_all.map(|plot| (BY_PARAMETERS.to_owned(), plot));
    let of_task = |task: &TaskResult| {
        let name = task.task.clone();
        task_figures(task).into_iter().map(move |(over, plot)| {
            let title = format!("{name}: {}", plot.title);
            (format!("{name}.{over}"), Plot { title, ..plot })
        })
    };
    over_all.into_iter().chain(results.tasks.iter().flat_map(of_task)).collect()
}

const BY_PARAMETERS: &str = "trained-numbers";

/// The figures of one task, each with what it is over.
fn task_figures(task: &TaskResult) -> Vec<(&'static str, Plot)> {
    let figures = [
        (BY_PARAMETERS, by_parameters(task)),
        ("learning-rate", by_learning_rate(task)),
        ("init-std", by_init_std(task)),
    ];
    figures.into_iter().filter_map(|(over, plot)| Some((over, plot?))).collect()
}

/// Figures 3 and 4 of the paper.
fn by_parameters(task: &TaskResult) -> Option<Plot> {
    let candidates = best_candidates(task);
    let points = candidates.iter().filter_map(|(candidate, setting)| {
        let (share, dev) = (setting.share_of_base?, setting.dev?);
        let rate = setting.setting.learning_rate;
        let note = format!("{candidate}, learning rate {rate:e}, {}", seeds_of(setting));
        Some(of_family(candidate.method, point(100.0 * share, dev, note)))
    });
    figure("Dev score by trained numbers", TRAINED, (y_axis(task), points.collect()))
}

fn by_learning_rate(task: &TaskResult) -> Option<Plot> {
    let rate = |setting: &Setting| setting.learning_rate.to_bits();
    // Where each width has one rate, two rates of a method tell of the widths.
    let mut rates: BTreeMap<Candidate, BTreeSet<u64>> = BTreeMap::new();
    for SettingResult { setting, .. } in &task.settings {
        rates.entry(Candidate::of(setting)).or_default().insert(rate(setting));
    }
    let has_several = |method| rates.iter().any(|(of, rates)| of.method == method && rates.len() > 1);
    let best = best_by(task, |setting| has_several(setting.method).then(|| (setting.method, rate(setting))));
    let points = best.into_iter().filter_map(|((method, _), setting)| {
        let note = format!("{}, {}", Candidate::of(&setting.setting), seeds_of(setting));
        let point = point(setting.setting.learning_rate, setting.dev?, note);
        Some(Placed { series: method.to_string(), colour: colour(method), point })
    });
    let title = "Dev score by the learning rate, each with its best width";
    figure(title, "largest learning rate", (y_axis(task), of_several(points.collect())))
}

fn by_init_std(task: &TaskResult) -> Option<Plot> {
    let best = best_by(task, |setting| Some((Candidate::of(setting), setting.init_std.map(f32::to_bits)?)));
    let points = best.into_iter().filter_map(|((candidate, _), setting)| {
        let std = f64::from(setting.setting.init_std?);
        let note = format!("learning rate {:e}, {}", setting.setting.learning_rate, seeds_of(setting));
        let point = point(std, setting.dev?, note);
        Some(Placed { series: candidate.to_string(), colour: Colour::Next, point })
    });
    let title = "Dev score by the adapters' first weights";
    figure(title, "their standard deviation", (y_axis(task), of_several(points.collect())))
}

fn of_family(method: Method, point: Point) -> Placed {
    let colour = match method {
        Method::TopLayers(_) => colour(Method::Full),
        method => colour(method),
    };
    Placed { series: family(method), colour, point }
}

fn y_axis(task: &TaskResult) -> String {
    format!("{}, times 100", task.metric)
}

/// The points of the series that have more than one value on the horizontal axis: a single one shows no course.
fn of_several(points: Vec<Placed>) -> Vec<Placed> {
    let count = |name: &str| points.iter().filter(|other| other.series == name).count();
    let several: Vec<bool> = points.iter().map(|point| count(&point.series) > 1).collect();
    points.into_iter().zip(several).filter(|(_, several)| *several).map(|(point, _)| point).collect()
}

/// A plot over a logarithmic axis, if it has two points to compare.
fn figure(title: &str, x: &str, (y, points): (String, Vec<Placed>)) -> Option<Plot> {
    let enough = points.len() > 1;
    enough.then(|| Plot {
        title: title.to_owned(),
        x: Axis::log(x),
        y: Axis::linear(y),
        series: series(points),
    })
}

/// The mean over all tasks of each candidate that has scores on every one of them.
fn by_parameters_of_all(results: &Results) -> Option<Plot> {
    let tasks: Vec<BTreeMap<Candidate, &SettingResult>> = results.tasks.iter().map(best_candidates).collect();
    let mut points = Vec::new();
    for candidate in tasks.first().into_iter().flat_map(|first| first.keys()) {
        let settings: Option<Vec<&SettingResult>> =
            tasks.iter().map(|task| task.get(candidate).copied()).collect();
        let Some(settings) = settings else { continue };
        let mean = |of: &dyn Fn(&SettingResult) -> Option<f64>| {
            let values: Option<Vec<f64>> = settings.iter().map(|setting| of(setting)).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        let score = mean(&|setting| setting.dev.map(|dev| dev.mean));
        if let (Some(share), Some(mean)) = (mean(&|setting| setting.share_of_base), score) {
            let spread = Spread { mean, std: None };
            points.push(of_family(candidate.method, point(100.0 * share, spread, candidate.to_string())));
        }
    }
    let title = "Dev score by trained numbers, means over the tasks";
    figure(title, TRAINED, ("mean of the tasks' scores, times 100".to_owned(), points))
}

fn averages(results: &Results) -> Section {
    let [scores, costs] = average_tables(results);
    let section = Section::new("All tasks").with(&scores).with(&costs);
    match by_parameters_of_all(results) {
        Some(plot) => section.with(&plot),
        None => section,
    }
}

fn average_tables(results: &Results) -> [Table; 2] {
    let test = results.tasks.iter().any(|task| task.test_rows.is_some());
    let scores = results.averages.iter().map(|average| {
        let of_dev = [score(average.dev), delta(average.dev_difference)];
        let of_test = test.then(|| [score(average.test), delta(average.test_difference)]);
        scores_row([average.candidate.to_string(), average.tasks.to_string()], of_dev, of_test)
    });
    let costs = results.averages.iter().map(|average| {
        vec![
            average.candidate.to_string(),
            share(average.share_of_base),
            average.adapter_bytes.map_or(NONE.to_owned(), |count| bytes(count as u64)),
            seconds(average.seconds),
            seeds_over_tasks(average.seeds),
        ]
    });
    let columns = scores_columns(results, "tasks", test);
    let costs =
        table(COSTS, ["method", "trained", "size", "seconds", "seeds"].map(str::to_owned).into(), costs);
    [table("Scores, means over the tasks", columns, scores), costs]
}

fn task_tables(task: &TaskResult, results: &Results) -> [Table; 2] {
    let test = task.test_rows.is_some();
    let costs = task.asked_for().filter_map(|method| {
        let best = task.best(method)?;
        Some(vec![
            method.candidate.to_string(),
            share(best.share_of_base),
            best.trained_parameters.map_or(NONE.to_owned(), grouped),
            best.adapter_bytes.map_or(NONE.to_owned(), bytes),
            seconds(best.seconds),
            seeds(best),
        ])
    });
    let of_costs = ["method", "trained", "numbers", "size", "seconds", "seeds"].map(str::to_owned).into();
    let scores = task.asked_for().map(|method| method_row(task, method));
    let columns = scores_columns(results, "setting", test);
    [table("Scores of the best setting", columns, scores), table(COSTS, of_costs, costs)]
}

/// The columns of a table of scores; those of test rows are left out where there are none.
fn scores_columns(results: &Results, second: &str, test: bool) -> Vec<String> {
    let of = |split: &str| [split.to_owned(), format!("{split} less {}", results.reference)];
    scores_row(["method", second].map(str::to_owned), of("dev"), test.then(|| of("test")))
}

/// The cells of one row of it, a score and its difference for each split.
fn scores_row(first: [String; 2], [dev, less]: [String; 2], of_test: Option<[String; 2]>) -> Vec<String> {
    let (test, test_less) = of_test.map(|[test, less]| (test, less)).unzip();
    first.into_iter().chain([dev]).chain(test).chain([less]).chain(test_less).collect()
}

fn table(caption: &str, columns: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> Table {
    let kind = |name: &str| match name {
        "method" => Column::Name,
        "setting" => Column::Parts,
        _ => Column::Number,
    };
    Table {
        caption: caption.to_owned(),
        columns: columns.into_iter().map(|name| (name.clone(), kind(&name))).collect(),
        rows: rows.collect(),
    }
}

fn method_row(task: &TaskResult, method: &MethodResult) -> Vec<String> {
    let (candidate, test) = (method.candidate, task.test_rows.is_some());
    let Some(best) = task.best(method) else {
        let none = || [NONE, NONE].map(str::to_owned);
        return scores_row(
            [candidate.to_string(), task.why_no_best(candidate).to_owned()],
            none(),
            test.then(none),
        );
    };
    let of_test = test.then(|| [spread(best.test), delta(method.test_difference)]);
    let first = [candidate.to_string(), best_setting_text(task, candidate, &best.setting)];
    scores_row(first, [spread(best.dev), delta(method.dev_difference)], of_test)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TaskKind;
    use crate::metrics::Metric;

    #[test]
    fn a_figure_shows_the_setting_that_the_table_shows() {
        let setting = |learning_rate: f64, seeds: u64, mean: f64| SettingResult {
            setting: Setting { method: Method::Houlsby, bottleneck: Some(64), learning_rate, init_std: None },
            planned: 3,
            seeds: (0..seeds).collect(),
            diverged: 0,
            dev: Some(Spread { mean, std: None }),
            test: None,
            trained_parameters: None,
            share_of_base: Some(0.02),
            seconds: None,
            adapter_bytes: None,
        };
        // The second is better with the one seed that it has.
        let settings = vec![setting(1e-3, 3, 0.5), setting(3e-4, 1, 0.9)];
        let candidate = Candidate { method: Method::Houlsby, bottleneck: Some(64) };
        let method = MethodResult {
            candidate: Method::Houlsby.into(),
            best: Some(0),
            dev_difference: None,
            test_difference: None,
        };
        let task = TaskResult {
            task: "a".to_owned(),
            kind: TaskKind::Classification,
            metric: Metric::Accuracy,
            train_rows: 1,
            dev_rows: 1,
            test_rows: None,
            settings,
            methods: vec![method],
        };
        let candidates = best_candidates(&task);
        assert_eq!(candidates[&candidate].setting.learning_rate, 1e-3);
        assert_eq!(seeds_of(candidates[&candidate]), "3 seeds");
        // One rate for each width tells nothing of rates.
        let widths = [(64, 1e-3), (256, 3e-4)].map(|(width, rate)| {
            let one = setting(rate, 1, 0.5);
            SettingResult { setting: Setting { bottleneck: Some(width), ..one.setting }, ..one }
        });
        assert!(by_learning_rate(&task).is_some());
        assert!(by_learning_rate(&TaskResult { settings: widths.into(), ..task.clone() }).is_none());
        // Each rate is a point of its own in the figure of the rates.
        assert_eq!(best_by(&task, |setting| Some(setting.learning_rate.to_bits())).len(), 2);
    }
}
