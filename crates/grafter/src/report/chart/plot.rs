//! Lines and points over two axes.
//!
//! Each plot is drawn twice, for wide and for narrow screens, and the page's style shows one: text that shrank with the
//! drawing could not be read on a phone.

use std::collections::BTreeSet;

use super::file::{Entry, Figure};
use super::scale::{Axis, Domain, Tick, number};
use super::{cut, text_width};
use crate::report::html::Html;
use crate::report::page::Block;

/// A chart of points over two axes: curves, scatter plots, means with their spread.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// From left to right.
    pub x: Axis,
    /// From bottom to top.
    pub y: Axis,
    /// What is drawn, the first below the others.
    pub series: Vec<Series>,
}

/// Points that belong together.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// How it is drawn.
    pub mark: Mark,
    /// Its colour, and the shape of its points.
    pub colour: Colour,
    /// Its points; lines join them in this order.
    pub points: Vec<Point>,
}

/// Which of the page's colours a [`Series`] has, and which shape its points have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// The next one.
    #[default]
    Next,
    /// That of the series before it, as a smoothed curve has that of the raw one.
    Before,
    /// That of a number, counted from 0, so that the same thing looks the same in several charts.
    Number(usize),
}

/// How a [`Series`] is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    /// A line.
    #[default]
    Line,
    /// A thin, pale line, for what lies behind.
    Faint,
    /// A dashed line, for what is only compared with.
    Dashed,
    /// Points, each with a tooltip.
    Points,
    /// Both.
    LineAndPoints,
    /// Rings around points of another series, to point them out.
    Rings,
}

/// A point. One whose `x` or `y` is NaN, infinite, or not above 0 on a logarithmic axis is left out, and the chart says
/// how many were.
#[derive(Clone, Debug, Default)]
pub struct Point {
    /// Where it is.
    pub x: f64,
    /// How high it is.
    pub y: f64,
    /// Lower end of its error bar.
    pub low: Option<f64>,
    /// Upper end of its error bar.
    pub high: Option<f64>,
    /// What its tooltip says besides; may be empty.
    pub note: String,
}

impl Point {
    /// A point without an error bar.
    pub fn new(x: f64, y: f64) -> Self {
        Self { x, y, ..Self::default() }
    }

    /// The same point with an error bar.
    #[must_use]
    pub fn between(self, low: f64, high: f64) -> Self {
        Self { low: Some(low), high: Some(high), ..self }
    }

    /// The same point with a note in its tooltip.
    #[must_use]
    pub fn noted(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

impl Mark {
    fn line_class(self) -> Option<&'static str> {
        match self {
            Self::Line | Self::LineAndPoints => Some("line"),
            Self::Faint => Some("line faint"),
            Self::Dashed => Some("line dashed"),
            Self::Points | Self::Rings => None,
        }
    }
}

impl Block for Plot {
    fn to_html(&self) -> Html {
        let mut html = Html::new();
        html.element("figure", &[], |figure| {
            figure.leaf("figcaption", &[], &self.title);
            if self.series.len() > 1 {
                figure.html(&self.legend());
            }
            figure.html(&Drawing::new(self, WIDE).draw("plot wide"));
            figure.html(&Drawing::new(self, (360.0, 280.0)).draw("plot narrow"));
            for note in self.notes() {
                figure.leaf("p", &[("class", &"note")], note);
            }
        });
        html
    }
}

/// Colours that the page's style has.
const COLOURS: usize = 6;
/// Width and height on a wide screen and in a file, in pixels.
const WIDE: (f64, f64) = (760.0, 320.0);

impl Plot {
    /// The plot as an SVG file of its own.
    pub fn to_svg(&self) -> String {
        let several = self.series.len() > 1;
        let entry = |(series, colour)| Entry { swatch: swatch(series, colour), name: &series.name };
        let figure = Figure {
            title: &self.title,
            legend: self.series.iter().zip(self.colours()).filter(|_| several).map(entry).collect(),
            notes: &self.notes(),
            spoken: &self.spoken(),
            drawing: Drawing::new(self, WIDE).inside(),
            size: WIDE,
        };
        figure.to_svg()
    }

    /// What is told below it.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.is_spread() {
            notes.push("Points at the same place of the horizontal axis are drawn side by side.".to_owned());
        }
        let left_out = self.left_out();
        if left_out > 0 {
            let points = if left_out == 1 { "point has" } else { "points have" };
            notes.push(format!("{left_out} {points} no place on these axes and cannot be shown."));
        }
        notes
    }

    /// For each series the number of its colour and shape, counted from 0.
    fn colours(&self) -> Vec<usize> {
        let mut next = 0;
        let mut colours: Vec<usize> = Vec::with_capacity(self.series.len());
        for series in &self.series {
            let colour = match (series.colour, colours.last()) {
                (Colour::Number(number), _) => number,
                (Colour::Before, Some(before)) => *before,
                _ => next,
            };
            next = next.max(colour + 1);
            colours.push(colour);
        }
        colours
    }

    fn is_shown(&self, point: &Point) -> bool {
        self.x.scale.forward(point.x).is_some() && self.y.scale.forward(point.y).is_some()
    }

    fn shown<'a>(&'a self, series: &'a Series) -> impl Iterator<Item = &'a Point> {
        series.points.iter().filter(|point| self.is_shown(point))
    }

    /// Whether error bars of several series would lie upon each other, so that the series are drawn side by side.
    fn is_spread(&self) -> bool {
        let bars = |series: &'_ Series| -> BTreeSet<u64> {
            let with_bars = self.shown(series).filter(|point| point.low.is_some() || point.high.is_some());
            with_bars.map(|point| point.x.to_bits()).collect()
        };
        let mut seen = BTreeSet::new();
        self.series.iter().any(|series| bars(series).into_iter().any(|x| !seen.insert(x)))
    }

    fn left_out(&self) -> usize {
        self.series.iter().flat_map(|series| &series.points).filter(|point| !self.is_shown(point)).count()
    }

    fn legend(&self) -> Html {
        let mut html = Html::new();
        html.element("ul", &[("class", &"legend")], |list| {
            for (series, colour) in self.series.iter().zip(self.colours()) {
                list.element("li", &[], |item| {
                    let attributes: &[(&'static str, &dyn std::fmt::Display)] =
                        &[("viewBox", &"0 0 28 12"), ("aria-hidden", &"true")];
                    item.element("svg", attributes, |svg| {
                        svg.html(&swatch(series, colour));
                    });
                    item.text(&series.name);
                });
            }
        });
        html
    }

    /// What somebody hears who cannot see it.
    fn spoken(&self) -> String {
        let mut text = format!("{}: {} over {}.", self.title, self.y.label, self.x.label);
        for series in &self.series {
            let shown: Vec<&Point> = self.shown(series).collect();
            match (shown.first(), shown.last()) {
                (Some(first), Some(last)) if shown.len() > 1 => {
                    text += &format!(
                        " {}: {} points, from {} at {} to {} at {}.",
                        series.name,
                        shown.len(),
                        number(first.y),
                        number(first.x),
                        number(last.y),
                        number(last.x)
                    );
                }
                (Some(only), _) => {
                    text += &format!(" {}: {} at {}.", series.name, number(only.y), number(only.x));
                }
                _ => text += &format!(" {}: no points.", series.name),
            }
        }
        text
    }
}

/// How a series looks, 28 by 12 pixels.
fn swatch(series: &Series, colour: usize) -> Html {
    let mut html = Html::new();
    html.element("g", &[("class", &class_of(colour))], |group| {
        if let Some(class) = series.mark.line_class() {
            group.empty("path", &[("class", &class), ("d", &"M2 6H26")]);
        }
        match series.mark {
            Mark::Points | Mark::LineAndPoints => dot(group, (colour, 14.0, 6.0), ""),
            Mark::Rings => ring(group, 14.0, 6.0, 4.5),
            Mark::Line | Mark::Faint | Mark::Dashed => {}
        }
    });
    html
}

fn class_of(colour: usize) -> String {
    format!("s{}", colour % COLOURS + 1)
}

/// A point of a colour at a place; beyond colours, shapes tell the series apart.
fn dot(group: &mut Html, (colour, x, y): (usize, f64, f64), tooltip: &str) {
    let path = match colour % 4 {
        0 => format!("M{:.1} {y:.1}a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0 -7 0z", x - 3.5),
        1 => format!("M{:.1} {:.1}h6.4v6.4h-6.4z", x - 3.2, y - 3.2),
        2 => format!("M{x:.1} {:.1}l4.4 4.4l-4.4 4.4l-4.4 -4.4z", y - 4.4),
        _ => format!("M{x:.1} {:.1}l4.4 7.4h-8.8z", y - 4.6),
    };
    group.element("path", &[("class", &"dot"), ("d", &path)], |dot| {
        if !tooltip.is_empty() {
            dot.leaf("title", &[], tooltip);
        }
    });
}

fn ring(group: &mut Html, x: f64, y: f64, radius: f64) {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    group.empty("circle", &[("class", &"ring"), ("cx", &x), ("cy", &y), ("r", &radius)]);
}

/// A plot at one size, in pixels.
struct Drawing<'a> {
    plot: &'a Plot,
    width: f64,
    height: f64,
    x: Domain,
    y: Domain,
    x_ticks: Vec<Tick>,
    y_ticks: Vec<Tick>,
    left: f64,
    /// How far each series lies beside the next, in pixels.
    shift: f64,
}

const TOP: f64 = 26.0;
const RIGHT: f64 = 18.0;
const BOTTOM: f64 = 44.0;
/// How far two neighbours of several series that are drawn side by side lie apart, at most.
const STEP: f64 = 8.0;
/// Room between the numbers of an axis.
const GAP: f64 = 14.0;

impl<'a> Drawing<'a> {
    fn new(plot: &'a Plot, (width, height): (f64, f64)) -> Self {
        let points = || plot.series.iter().flat_map(|series| plot.shown(series));
        let spread = plot.is_spread();
        let x = Domain::of(plot.x.scale, points().map(|point| point.x), if spread { 0.05 } else { 0.02 });
        // What lies at the ends keeps within the room that the axis has there.
        let most = (0.05 * width).max(24.0);
        let shift = if spread { STEP.min(most / (plot.series.len() - 1) as f64) } else { 0.0 };
        let heights = points().flat_map(|point| [Some(point.y), point.low, point.high].into_iter().flatten());
        let y = Domain::of(plot.y.scale, heights, 0.06);
        let y_ticks = y.ticks(if height > 300.0 { 6 } else { 5 });
        let longest = y_ticks.iter().map(|tick| text_width(&tick.label)).fold(0.0, f64::max);
        let left = (longest + 10.0).max(34.0);
        let room = width - left - RIGHT;
        let fits = |ticks: &[Tick]| {
            ticks.windows(2).all(|pair| {
                let needed = pair.iter().map(|tick| text_width(&tick.label)).sum::<f64>() / 2.0;
                room * (pair[1].place - pair[0].place).abs() >= needed + GAP
            })
        };
        let most = if width > 500.0 { 9 } else { 6 };
        let x_ticks =
            (1..=most).rev().map(|most| x.ticks(most)).find(|ticks| fits(ticks)).unwrap_or_default();
        Self { plot, width, height, x, y, x_ticks, y_ticks, left, shift }
    }

    fn x(&self, place: f64) -> f64 {
        self.left + place * (self.width - self.left - RIGHT)
    }

    fn y(&self, place: f64) -> f64 {
        self.height - BOTTOM - place * (self.height - TOP - BOTTOM)
    }

    /// Where a point is, in pixels.
    fn at(&self, x: f64, y: f64) -> Option<(f64, f64)> {
        Some((self.x(self.x.place(x)?), self.y(self.y.place(y)?)))
    }

    fn draw(&self, class: &'static str) -> Html {
        let mut html = Html::new();
        let spoken = self.plot.spoken();
        let attributes: &[(&'static str, &dyn std::fmt::Display)] = &[
            ("class", &class),
            ("viewBox", &format_args!("0 0 {} {}", self.width, self.height)),
            ("role", &"img"),
            ("aria-label", &spoken),
        ];
        html.element("svg", attributes, |svg| {
            svg.html(&self.inside());
        });
        html
    }

    fn inside(&self) -> Html {
        let mut svg = Html::new();
        self.axes(&mut svg);
        let middle = self.plot.series.len().saturating_sub(1) as f64 / 2.0;
        for (place, (series, colour)) in self.plot.series.iter().zip(self.plot.colours()).enumerate() {
            let beside = self.shift * (place as f64 - middle);
            svg.element("g", &[("class", &class_of(colour))], |group| {
                self.series(series, (colour, beside), group);
            });
        }
        if self.plot.series.iter().all(|series| self.plot.shown(series).next().is_none()) {
            let (x, y) = (self.x(0.5), self.y(0.5));
            let place: &[(&'static str, &dyn std::fmt::Display)] =
                &[("x", &x), ("y", &y), ("text-anchor", &"middle")];
            svg.leaf("text", place, "nothing to show");
        }
        svg
    }

    fn axes(&self, svg: &mut Html) {
        let (left, right, bottom) = (self.x(0.0), self.x(1.0), self.y(0.0));
        for tick in &self.y_ticks {
            let y = self.y(tick.place);
            let path = format!("M{left:.1} {y:.1}H{right:.1}");
            svg.empty("path", &[("class", &"grid"), ("d", &path)]);
            let (x, y) = (format!("{:.1}", left - 7.0), format!("{:.1}", y + 4.0));
            svg.leaf("text", &[("x", &x), ("y", &y), ("text-anchor", &"end")], &tick.label);
        }
        for tick in &self.x_ticks {
            let x = self.x(tick.place);
            let path = format!("M{x:.1} {bottom:.1}v5");
            svg.empty("path", &[("class", &"frame"), ("d", &path)]);
            // The number at the end stays on the drawing.
            let half = text_width(&tick.label) / 2.0;
            let (x, y) = (format!("{:.1}", x.min(self.width - half - 1.0)), format!("{:.1}", bottom + 18.0));
            svg.leaf("text", &[("x", &x), ("y", &y), ("text-anchor", &"middle")], &tick.label);
        }
        let path = format!("M{left:.1} {bottom:.1}H{right:.1}");
        svg.empty("path", &[("class", &"frame"), ("d", &path)]);
        let most = (self.width / text_width("n")) as usize;
        let above: &[(&'static str, &dyn std::fmt::Display)] =
            &[("x", &2), ("y", &13), ("class", &"axis-name")];
        svg.leaf("text", above, cut(&self.plot.y.label, most));
        let below: &[(&'static str, &dyn std::fmt::Display)] = &[
            ("x", &format_args!("{right:.1}")),
            ("y", &format_args!("{:.1}", self.height - 6.0)),
            ("text-anchor", &"end"),
            ("class", &"axis-name"),
        ];
        svg.leaf("text", below, cut(&self.plot.x.label, most));
    }

    fn series(&self, series: &Series, (colour, beside): (usize, f64), group: &mut Html) {
        if let Some(class) = series.mark.line_class() {
            let path = self.path(&series.points, beside);
            if !path.is_empty() {
                group.element("path", &[("class", &class), ("d", &path)], |line| {
                    line.leaf("title", &[], &series.name);
                });
            }
        }
        for point in &series.points {
            let Some((x, y)) = self.at(point.x, point.y) else { continue };
            let x = x + beside;
            let ends = [point.low, point.high]
                .map(|end| end.and_then(|end| self.at(point.x, end)).map_or(y, |(_, end)| end));
            if ends != [y, y] {
                let path = format!(
                    "M{:.1} {low:.1}h6m-3 0V{high:.1}m-3 0h6",
                    x - 3.0,
                    low = ends[0],
                    high = ends[1]
                );
                group.empty("path", &[("class", &"bar"), ("d", &path)]);
            }
            match series.mark {
                Mark::Points | Mark::LineAndPoints => {
                    dot(group, (colour, x, y), &self.tooltip(series, point));
                }
                Mark::Rings => ring(group, x, y, 7.5),
                Mark::Line | Mark::Faint | Mark::Dashed => {}
            }
        }
    }

    /// The line through points, broken where one has no place; a point on its own is a dot.
    fn path(&self, points: &[Point], beside: f64) -> String {
        let mut path = String::new();
        for run in points.split(|point| !self.plot.is_shown(point)).filter(|run| !run.is_empty()) {
            for (place, point) in run.iter().enumerate() {
                let Some((x, y)) = self.at(point.x, point.y) else { continue };
                path += &format!("{}{:.1} {y:.1}", if place == 0 { "M" } else { "L" }, x + beside);
            }
            if run.len() == 1 {
                path += "h0";
            }
        }
        path
    }

    fn tooltip(&self, series: &Series, point: &Point) -> String {
        let mut text = series.name.clone();
        for (axis, value) in [(&self.plot.x, point.x), (&self.plot.y, point.y)] {
            text += &format!("\n{}: {}", axis.label, number(value));
        }
        if let (Some(low), Some(high)) = (point.low, point.high) {
            text += &format!(" ({} to {})", number(low), number(high));
        }
        if !point.note.is_empty() {
            text += &format!("\n{}", point.note);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<Point>, mark: Mark, x: Axis) -> String {
        let series = vec![Series { name: "<one>".to_owned(), mark, points, ..Series::default() }];
        let plot = Plot { title: "a & b".to_owned(), x, y: Axis::linear("y"), series };
        plot.to_html().as_str().to_owned()
    }

    #[test]
    fn lines_are_broken_at_what_has_no_place_and_that_is_told() {
        let points = [(0.0, 1.0), (1.0, f64::NAN), (2.0, 2.0), (3.0, 3.0), (4.0, f64::INFINITY)];
        let html = plot(points.map(|(x, y)| Point::new(x, y)).to_vec(), Mark::Line, Axis::linear("step"));
        assert!(html.contains("2 points have no place on these axes"), "{html}");
        let path = html.split("class=\"line\" d=\"").nth(1).and_then(|rest| rest.split('"').next());
        let path = path.expect("a line");
        assert_eq!(
            (path.matches('M').count(), path.matches('L').count(), path.matches("h0").count()),
            (2, 1, 1)
        );
        assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
    }

    #[test]
    fn what_is_not_above_zero_has_no_place_on_a_logarithmic_axis() {
        let points = vec![Point::new(0.0, 1.0), Point::new(10.0, 1.0), Point::new(-1.0, 1.0)];
        let html = plot(points, Mark::Points, Axis::log("x"));
        assert!(html.contains("2 points have no place"), "{html}");
        assert_eq!(html.matches("class=\"dot\"").count(), 2, "one, at two sizes");
    }

    #[test]
    fn nothing_and_one_point_are_plots_too() {
        let none = plot(Vec::new(), Mark::Line, Axis::linear("x"));
        assert!(none.contains("nothing to show") && !none.contains("NaN"), "{none}");
        let one = plot(vec![Point::new(3.0, 0.5)], Mark::LineAndPoints, Axis::log("x"));
        assert!(one.contains("class=\"dot\"") && !one.contains("NaN") && !one.contains("nothing"), "{one}");
    }

    #[test]
    fn points_tell_what_they_are() {
        let point = Point::new(10.0, 0.5).between(0.4, 0.75).noted("seed <3>");
        let html = plot(vec![point], Mark::Points, Axis::log("size"));
        assert!(
            html.contains("<title>&lt;one&gt;\nsize: 10\ny: 0.5 (0.4 to 0.75)\nseed &lt;3&gt;</title>"),
            "{html}"
        );
        assert_eq!(html.matches("class=\"bar\"").count(), 2);
        assert!(html.contains("aria-label=\"a &amp; b: y over size. &lt;one&gt;: 0.5 at 10.\""), "{html}");
    }

    #[test]
    fn numbers_of_an_axis_never_touch() {
        for end in [0.003, 1.0, 7.0, 59.0, 1234.0, 65_000.0, 123_456_789.0] {
            for (scale, begin) in [(Axis::linear("x"), 0.0), (Axis::log("x"), 1e-6)] {
                let points = vec![Point::new(begin, 0.0), Point::new(end, 1.0)];
                let plot = Plot {
                    title: String::new(),
                    x: scale,
                    y: Axis::linear("y"),
                    series: vec![Series { points, ..Series::default() }],
                };
                for width in [760.0, 360.0] {
                    let drawing = Drawing::new(&plot, (width, 300.0));
                    assert!(drawing.x_ticks.len() >= 2, "{end} {width} {:?}", drawing.x_ticks);
                    for pair in drawing.x_ticks.windows(2) {
                        let half = |tick: &Tick| text_width(&tick.label) / 2.0;
                        let room = drawing.x(pair[1].place) - drawing.x(pair[0].place);
                        assert!(room > half(&pair[0]) + half(&pair[1]), "{pair:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_series_has_the_colour_that_it_is_told() {
        let series = |colour| Series { colour, ..Series::default() };
        let plot = Plot {
            title: String::new(),
            x: Axis::linear("x"),
            y: Axis::linear("y"),
            series: [Colour::Next, Colour::Before, Colour::Number(4), Colour::Next].map(series).into(),
        };
        assert_eq!(plot.colours(), [0, 0, 4, 5]);
    }

    #[test]
    fn error_bars_at_one_place_lie_side_by_side() {
        let series = |x: f64| Series {
            mark: Mark::Points,
            points: vec![Point::new(0.0, 0.0), Point::new(x, 1.0).between(0.0, 2.0)],
            ..Series::default()
        };
        let bars = |places: [f64; 2]| -> (Vec<f64>, bool) {
            let plot = Plot {
                title: String::new(),
                x: Axis::linear("x"),
                y: Axis::linear("y"),
                series: places.map(series).into(),
            };
            let html = plot.to_html().as_str().to_owned();
            let wide = html.split("class=\"bar\" d=\"M").skip(1).take(2);
            let left = wide.map(|path| path.split(' ').next().expect("a number").parse().expect("a number"));
            (left.collect(), html.contains("side by side"))
        };
        let (same, told) = bars([2.0, 2.0]);
        assert!((same[1] - same[0] - STEP).abs() < 0.11 && told, "{same:?}");
        let (apart, told) = bars([1.0, 2.0]);
        assert!(apart[1] - apart[0] > 100.0 && !told, "{apart:?}");
    }
}
