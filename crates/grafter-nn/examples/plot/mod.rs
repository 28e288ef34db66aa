//! Line charts as SVG: panels side by side under one legend, each line a mean with a band. Light and dark by the reader's
//! `prefers-color-scheme`. No clock and no hash order: the same numbers give the same bytes.

#![allow(dead_code, reason = "each example has a part of this file to itself")]

use std::fmt::Write;
use std::path::PathBuf;

/// Size of the plotting area of a panel, and what is around it, in pixels.
const WIDTH: f64 = 310.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 22.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = 54.0;

const STYLE: &str = "\
text{font:12px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#30363d}
.title{font-size:15px;font-weight:600}.head{font-weight:600}.small{fill:#57606a}
.paper{fill:#fff}.grid{stroke:#d8dee4}.axis{stroke:#8c959f}.line{fill:none;stroke-width:2}.band{opacity:.16}
.s0{stroke:#c2410c}.f0{fill:#c2410c}.s1{stroke:#0969b5}.f1{fill:#0969b5}
.s2{stroke:#a16207}.f2{fill:#a16207}.s3{stroke:#0f766e}.f3{fill:#0f766e}
@media (prefers-color-scheme:dark){
text{fill:#d7dde3}.small{fill:#9aa4ae}.paper{fill:#0d1117}
.grid{stroke:#272d35}.axis{stroke:#6e7781}.band{opacity:.24}
.s0{stroke:#ff8f5a}.f0{fill:#ff8f5a}.s1{stroke:#5eb1ff}.f1{fill:#5eb1ff}
.s2{stroke:#e0b13c}.f2{fill:#e0b13c}.s3{stroke:#3cc9b4}.f3{fill:#3cc9b4}
}";

/// One axis; the marks decide what it spans.
pub struct Axis {
    pub label: &'static str,
    pub logarithmic: bool,
    /// Values in ascending order and how they are written.
    pub marks: Vec<(f64, String)>,
}

impl Axis {
    pub fn percent(label: &'static str) -> Self {
        let marks = [0, 25, 50, 75, 100].map(|percent| (f64::from(percent), percent.to_string()));
        Self { label, logarithmic: false, marks: marks.to_vec() }
    }

    /// Logarithmic, marked at these values.
    pub fn doublings(label: &'static str, values: &[usize]) -> Self {
        let marks = values.iter().map(|value| (*value as f64, value.to_string())).collect();
        Self { label, logarithmic: true, marks }
    }

    /// Logarithmic, marked at the powers of ten with these exponents.
    pub fn powers(label: &'static str, exponents: &[i32]) -> Self {
        let raised = |c| "⁻⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth("-0123456789".find(c).unwrap_or_default());
        let mark = |exponent: &i32| {
            let exponent_raised: String = exponent.to_string().chars().filter_map(raised).collect();
            (10f64.powi(*exponent), format!("10{exponent_raised}"))
        };
        Self { label, logarithmic: true, marks: exponents.iter().map(mark).collect() }
    }

    /// Where a value lies between the first and the last mark, as a share; what lies outside is drawn at the edge.
    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let [first, last] = [0, self.marks.len() - 1].map(|mark| scale(self.marks[mark].0));
        ((scale(value) - first) / (last - first)).clamp(0.0, 1.0)
    }
}

/// A line of one panel.
pub struct Line {
    pub name: &'static str,
    /// Which of the four colours.
    pub colour: usize,
    pub dashed: bool,
    /// x, mean, and the limits of the band.
    pub points: Vec<[f64; 4]>,
}

pub struct Panel {
    pub title: &'static str,
    pub x: Axis,
    pub y: Axis,
    pub lines: Vec<Line>,
}

/// The chart; the legend names the lines of the last panel.
pub fn svg(title: &str, seeds: u64, panels: &[Panel]) -> String {
    let panel_width = LEFT + WIDTH + RIGHT;
    let [width, height] = [panel_width * panels.len() as f64, TOP + HEIGHT + BOTTOM];
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
         <rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n"
    );
    text(&mut out, [20.0, 27.0], "class=\"title\"", title);
    let note = format!("mean of {seeds} seeds; band: smallest to largest");
    text(&mut out, [width - RIGHT, 27.0], "class=\"small\" text-anchor=\"end\"", &note);
    let mut x = 20.0;
    for line in panels.last().map_or(&[][..], |panel| &panel.lines) {
        stroke(&mut out, line, &[[x, 47.0], [x + 28.0, 47.0]], &[[x + 14.0, 47.0]]);
        text(&mut out, [x + 35.0, 51.0], "", line.name);
        x += 56.0 + 6.6 * line.name.chars().count() as f64;
    }
    for (index, panel) in panels.iter().enumerate() {
        draw(&mut out, panel, LEFT + panel_width * index as f64);
    }
    out + "</svg>\n"
}

fn draw(out: &mut String, panel: &Panel, left: f64) {
    let bottom = TOP + HEIGHT;
    let x_of = |value: f64| left + WIDTH * panel.x.place(value);
    let y_of = |value: f64| bottom - HEIGHT * panel.y.place(value);
    text(out, [left, TOP - 14.0], "class=\"head\"", panel.title);
    for (value, mark) in &panel.y.marks {
        segment(out, "grid", [left, y_of(*value)], [left + WIDTH, y_of(*value)]);
        text(out, [left - 8.0, y_of(*value) + 4.0], "class=\"small\" text-anchor=\"end\"", mark);
    }
    for (value, mark) in &panel.x.marks {
        segment(out, "axis", [x_of(*value), bottom], [x_of(*value), bottom + 5.0]);
        text(out, [x_of(*value), bottom + 19.0], "class=\"small\" text-anchor=\"middle\"", mark);
    }
    segment(out, "axis", [left, bottom], [left + WIDTH, bottom]);
    text(out, [left + WIDTH / 2.0, bottom + 40.0], "text-anchor=\"middle\"", panel.x.label);
    let [x, y] = [left - LEFT + 16.0, TOP + HEIGHT / 2.0];
    let turned = format!("text-anchor=\"middle\" transform=\"rotate(-90 {x:.1} {y:.1})\"");
    text(out, [x, y], &turned, panel.y.label);
    for line in &panel.lines {
        let upper = line.points.iter().map(|[x, _, _, high]| [x_of(*x), y_of(*high)]);
        let lower = line.points.iter().rev().map(|[x, _, low, _]| [x_of(*x), y_of(*low)]);
        let band: Vec<_> = upper.chain(lower).collect();
        let _ = writeln!(out, "<polygon class=\"band f{}\" points=\"{}\"/>", line.colour, places(&band));
    }
    for line in &panel.lines {
        let means: Vec<_> = line.points.iter().map(|[x, mean, ..]| [x_of(*x), y_of(*mean)]).collect();
        stroke(out, line, &means, &means);
    }
}

/// A line through `points`, with dots.
fn stroke(out: &mut String, line: &Line, points: &[[f64; 2]], dots: &[[f64; 2]]) {
    let dashes = if line.dashed { " stroke-dasharray=\"6 4\"" } else { "" };
    let colour = line.colour;
    let _ = writeln!(out, "<polyline class=\"line s{colour}\"{dashes} points=\"{}\"/>", places(points));
    for [x, y] in dots {
        let _ = writeln!(out, "<circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
    }
}

fn places(points: &[[f64; 2]]) -> String {
    points.iter().map(|[x, y]| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ")
}

fn segment(out: &mut String, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    let [from, to] = [format!("x1=\"{x1:.1}\" y1=\"{y1:.1}\""), format!("x2=\"{x2:.1}\" y2=\"{y2:.1}\"")];
    let _ = writeln!(out, "<line class=\"{class}\" {from} {to}/>");
}

fn text(out: &mut String, [x, y]: [f64; 2], attributes: &str, words: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{words}</text>");
}

/// FILE of `--svg FILE` on the command line.
pub fn svg_argument() -> Result<Option<PathBuf>, String> {
    let mut arguments = std::env::args_os().skip(1);
    match (arguments.next(), arguments.next(), arguments.next()) {
        (None, ..) => Ok(None),
        (Some(flag), Some(file), None) if flag == "--svg" => Ok(Some(file.into())),
        _ => Err("the only argument is `--svg FILE`".to_owned()),
    }
}
