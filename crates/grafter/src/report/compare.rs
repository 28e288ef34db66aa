//! The page of a comparison: tables of the methods, and the figures of Houlsby et al. 2019: score against trained numbers
//! (figures 3 and 4), against the learning rate (section 3.4) and against the adapters' first standard deviation (figure 6).

use std::collections::BTreeMap;

use super::chart::{Axis, Mark, Plot, Point, Series};
use super::page::{Page, Paragraph, Section};
use super::table::{Column, Table};
use crate::adapter::Method;
use crate::compare::cells::{NONE, delta, seconds, setting_text, share, spread};
use crate::compare::{MethodResult, Results, Setting, SettingResult, Spread, TaskResult};

/// The whole page.
pub fn page(results: &Results) -> Page {
    let subtitle = format!(
        "{} of {} trials on {}, compared with {}",
        results.finished, results.planned, results.base.name, results.reference
    );
    let mut page = Page::new("Methods compared", subtitle);
    if results.tasks.len() > 1 {
        page = page.with(averages(results));
    }
    for task in &results.tasks {
        page = page.with(section(task, results));
    }
    page.with(Section::new("How to read this").with(&Paragraph(explained(results))))
}

fn explained(results: &Results) -> String {
    format!(
        "Scores are times 100. A method's row is of the setting that is best on the dev rows, the mean over its seeds ± one \
         standard deviation; its dev score is optimistic, the more so the more settings were tried, its test score is not. A \
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

/// What a point of a figure stands for: a method, and its width where it has one.
type Form = (Method, Option<usize>);

fn form(setting: &Setting) -> Form {
    (setting.method, setting.bottleneck)
}

/// The best setting of each form, by the mean on dev.
fn best_forms(task: &TaskResult) -> BTreeMap<Form, &SettingResult> {
    best_by(task, |setting| Some(form(setting)))
}

/// The best setting for each key; settings without a key or a score are left out.
fn best_by<K: Ord>(task: &TaskResult, key: impl Fn(&Setting) -> Option<K>) -> BTreeMap<K, &SettingResult> {
    let mut best: BTreeMap<K, &SettingResult> = BTreeMap::new();
    let score = |setting: &SettingResult| setting.dev.map(|dev| dev.mean).filter(|mean| mean.is_finite());
    for setting in task.methods.iter().flat_map(|method| &method.settings) {
        let (Some(key), Some(mean)) = (key(&setting.setting), score(setting)) else { continue };
        match best.get(&key) {
            Some(other) if score(other) >= Some(mean) => {}
            _ => drop(best.insert(key, setting)),
        }
    }
    best
}

fn name_of((method, bottleneck): Form) -> String {
    bottleneck.map_or(method.to_string(), |bottleneck| format!("{method} {bottleneck}"))
}

fn point(x: f64, spread: Spread, note: String) -> Point {
    let (mean, std) = (100.0 * spread.mean, spread.std.map(|std| 100.0 * std));
    let point = Point::new(x, mean).noted(note);
    std.map_or(point.clone(), |std| point.between(mean - std, mean + std))
}

/// Points by the name of their series, each series from left to right.
fn series(points: impl Iterator<Item = (String, Point)>) -> Vec<Series> {
    let mut by_name: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    points.for_each(|(name, point)| by_name.entry(name).or_default().push(point));
    let line = |(name, mut points): (String, Vec<Point>)| {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series { name, mark: Mark::LineAndPoints, same_colour: false, points }
    };
    by_name.into_iter().map(line).collect()
}

fn section(task: &TaskResult, results: &Results) -> Section {
    let test = task.test_rows.map_or("no labelled test rows".to_owned(), |rows| format!("{rows} test rows"));
    let rows = format!("{} training rows, {} dev rows, {test}.", task.train_rows, task.dev_rows);
    let mut section = Section::new(format!("{}: {}", task.task, task.metric)).with(&Paragraph(rows));
    for table in task_tables(task, results) {
        section = section.with(&table);
    }
    for figure in [by_parameters(task), by_learning_rate(task), by_init_std(task)].into_iter().flatten() {
        section = section.with(&figure);
    }
    section
}

/// Figures 3 and 4 of the paper.
fn by_parameters(task: &TaskResult) -> Option<Plot> {
    let forms = best_forms(task);
    let points = forms.iter().filter_map(|(form, setting)| {
        let (share, dev) = (setting.share_of_base?, setting.dev?);
        let note = format!("{}, learning rate {:e}", name_of(*form), setting.setting.learning_rate);
        Some((family(form.0), point(100.0 * share, dev, note)))
    });
    figure(
        format!("{} on dev by trained numbers", task.metric),
        Axis::log("trained numbers, % of the base"),
        (format!("{}, times 100", task.metric), points.collect()),
    )
}

fn by_learning_rate(task: &TaskResult) -> Option<Plot> {
    let rate = |setting: &Setting| setting.learning_rate;
    let best = best_by(task, |setting| Some((setting.method, setting.learning_rate.to_bits())));
    let points = best.into_iter().filter_map(|((method, _), setting)| {
        let note = name_of(form(&setting.setting));
        Some((method.to_string(), point(rate(&setting.setting), setting.dev?, note)))
    });
    figure(
        format!("{} on dev by the learning rate, each with its best width", task.metric),
        Axis::log("largest learning rate"),
        (format!("{}, times 100", task.metric), of_several(points.collect())),
    )
}

fn by_init_std(task: &TaskResult) -> Option<Plot> {
    let best = best_by(task, |setting| Some((form(setting), setting.init_std.map(f32::to_bits)?)));
    let points = best.into_iter().filter_map(|((form, _), setting)| {
        let std = f64::from(setting.setting.init_std?);
        let note = format!("learning rate {:e}", setting.setting.learning_rate);
        Some((name_of(form), point(std, setting.dev?, note)))
    });
    figure(
        format!("{} on dev by the adapters' first standard deviation", task.metric),
        Axis::log("standard deviation of the adapters' first weights"),
        (format!("{}, times 100", task.metric), of_several(points.collect())),
    )
}

/// The points of the series that have more than one value on the horizontal axis: a single one shows no course.
fn of_several(points: Vec<(String, Point)>) -> Vec<(String, Point)> {
    let count = |name: &str| points.iter().filter(|(other, _)| other == name).count();
    let several: Vec<bool> = points.iter().map(|(name, _)| count(name) > 1).collect();
    points.into_iter().zip(several).filter(|(_, several)| *several).map(|(point, _)| point).collect()
}

/// A plot, if it has two points to compare.
fn figure(title: String, x: Axis, (y, points): (String, Vec<(String, Point)>)) -> Option<Plot> {
    let enough = points.len() > 1;
    enough.then(|| Plot { title, x, y: Axis::linear(y), series: series(points.into_iter()) })
}

/// The mean over all tasks of each form that has scores on every one of them.
fn averages(results: &Results) -> Section {
    let tasks: Vec<BTreeMap<Form, &SettingResult>> = results.tasks.iter().map(best_forms).collect();
    let mut points = Vec::new();
    for form in tasks.first().into_iter().flat_map(|first| first.keys()) {
        let settings: Option<Vec<&SettingResult>> =
            tasks.iter().map(|task| task.get(form).copied()).collect();
        let Some(settings) = settings else { continue };
        let mean = |of: &dyn Fn(&SettingResult) -> Option<f64>| {
            let values: Option<Vec<f64>> = settings.iter().map(|setting| of(setting)).collect();
            values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
        };
        let score = mean(&|setting| setting.dev.map(|dev| dev.mean));
        if let (Some(share), Some(mean)) = (mean(&|setting| setting.share_of_base), score) {
            let spread = Spread { mean, std: None };
            points.push((family(form.0), point(100.0 * share, spread, name_of(*form))));
        }
    }
    let axis = Axis::log("trained numbers, % of the base, mean over the tasks");
    let title = "Mean dev score over the tasks by trained numbers".to_owned();
    let plot = figure(title, axis, ("mean of the tasks' scores, times 100".to_owned(), points));
    let [scores, costs] = average_tables(results);
    let section = Section::new("All tasks").with(&scores).with(&costs);
    match plot {
        Some(plot) => section.with(&plot),
        None => section,
    }
}

fn average_tables(results: &Results) -> [Table; 2] {
    let percent = |value: Option<f64>| value.map_or(NONE.to_owned(), |value| format!("{:.2}", 100.0 * value));
    let scores = results.averages.iter().map(|average| {
        vec![
            average.method.to_string(),
            average.tasks.to_string(),
            percent(average.dev),
            percent(average.test),
            delta(average.dev_difference),
            delta(average.test_difference),
        ]
    });
    let costs = results.averages.iter().map(|average| {
        vec![
            average.method.to_string(),
            share(average.share_of_base),
            average.adapter_bytes.map_or(NONE.to_owned(), |bytes| megabytes(bytes as u64)),
            seconds(average.seconds),
        ]
    });
    let [dev, test] = compared(results);
    let columns = ["method", "tasks", "dev", "test", &dev, &test];
    let costs = table("What a task costs", &["method", "trained", "size", "seconds"], costs.collect());
    [table("Means over the tasks", &columns, scores.collect()), costs]
}

fn task_tables(task: &TaskResult, results: &Results) -> [Table; 2] {
    let methods = || task.methods.iter().filter(|method| !method.settings.is_empty());
    let [dev, test] = compared(results);
    let columns = ["method", "setting", "dev", "test", &dev, &test];
    let costs = methods().filter_map(|method| {
        let best = method.best()?;
        Some(vec![
            method.method.to_string(),
            share(best.share_of_base),
            best.trained_parameters.map_or(NONE.to_owned(), |count| count.to_string()),
            best.adapter_bytes.map_or(NONE.to_owned(), megabytes),
            seconds(best.seconds),
            best.seeds.len().to_string(),
        ])
    });
    let of_costs = ["method", "trained", "numbers", "size", "seconds", "seeds"];
    [table("", &columns, methods().map(method_row).collect()), table("", &of_costs, costs.collect())]
}

fn compared(results: &Results) -> [String; 2] {
    ["dev", "test"].map(|split| format!("{split} less {}", results.reference))
}

fn table(caption: &str, columns: &[&str], rows: Vec<Vec<String>>) -> Table {
    let kind = |name: &str| if matches!(name, "method" | "setting") { Column::Name } else { Column::Number };
    Table {
        caption: caption.to_owned(),
        columns: columns.iter().map(|name| ((*name).to_owned(), kind(name))).collect(),
        rows,
    }
}

fn method_row(method: &MethodResult) -> Vec<String> {
    let Some(best) = method.best() else {
        let diverged: usize = method.settings.iter().map(|setting| setting.diverged).sum();
        let why = if diverged > 0 { "diverged" } else { "not finished" };
        let mut row = vec![method.method.to_string(), why.to_owned()];
        row.resize(6, NONE.to_owned());
        return row;
    };
    let stds = method.settings.iter().any(|other| other.setting.init_std != best.setting.init_std);
    vec![
        method.method.to_string(),
        setting_text(&best.setting, stds),
        spread(best.dev),
        spread(best.test),
        delta(method.dev_difference),
        delta(method.test_difference),
    ]
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2} MB", bytes as f64 / 1e6)
}
