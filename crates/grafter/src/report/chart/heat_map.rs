//! A matrix as coloured cells with their values printed.

use std::fmt::Display;

use super::file::Figure;
use super::scale::number;
use super::{cut, text_width};
use crate::report::html::Html;
use crate::report::page::Block;

/// A matrix. Where it is wider than the page it scrolls in its own frame.
#[derive(Clone, Debug)]
pub struct HeatMap {
    /// What it shows.
    pub title: String,
    /// What the rows are, from top to bottom.
    pub rows: Labels,
    /// What the columns are, from left to right.
    pub columns: Labels,
    /// The cells of each row.
    pub cells: Vec<Vec<Cell>>,
    /// The values of the palest and of the strongest colour; those of the cells if absent.
    pub range: Option<(f64, f64)>,
    /// What the colour stands for.
    pub scale: String,
}

/// The names along one side of a matrix.
#[derive(Clone, Debug)]
pub struct Labels {
    /// What they are names of.
    pub name: String,
    /// The names.
    pub labels: Vec<String>,
}

/// One place of a matrix.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Decides the colour; NaN has none.
    pub value: f64,
    /// What is printed.
    pub text: String,
}

impl Cell {
    /// A cell that prints its value.
    pub fn of(value: f64) -> Self {
        Self { value, text: if value.is_finite() { number(value) } else { "–".to_owned() } }
    }
}

/// Characters of a name that are shown; its tooltip has all.
const LONGEST_LABEL: usize = 24;
const CELL_HEIGHT: f64 = 28.0;
const SQRT_HALF: f64 = std::f64::consts::FRAC_1_SQRT_2;
/// Steps of the colour scale that is drawn below.
const SCALE_STEPS: usize = 24;

impl Block for HeatMap {
    fn to_html(&self) -> Html {
        let mut html = Html::new();
        html.element("figure", &[], |figure| {
            figure.leaf("figcaption", &[], &self.title);
            figure.leaf("p", &[("class", &"note")], self.sides());
            figure.element("div", &[("class", &"scroll")], |frame| {
                frame.html(&Layout::new(self).draw());
            });
        });
        html
    }
}

impl HeatMap {
    /// The heat map as an SVG file of its own.
    pub fn to_svg(&self) -> String {
        let layout = Layout::new(self);
        let figure = Figure {
            title: &self.title,
            legend: Vec::new(),
            notes: &[self.sides()],
            spoken: &self.spoken(),
            drawing: layout.inside(),
            size: (layout.width, layout.height),
        };
        figure.to_svg()
    }

    /// What its sides are.
    fn sides(&self) -> String {
        format!("Rows: {}. Columns: {}.", self.rows.name, self.columns.name)
    }

    /// What somebody hears who cannot see it.
    fn spoken(&self) -> String {
        let (rows, columns) = (self.rows.labels.len(), self.columns.labels.len());
        let mut text = format!(
            "{}: {rows} rows ({}) and {columns} columns ({}).",
            self.title, self.rows.name, self.columns.name
        );
        if rows * columns <= 36 {
            for (name, cells) in self.rows.labels.iter().zip(&self.cells) {
                let values: Vec<&str> = cells.iter().map(|cell| cell.text.as_str()).collect();
                text += &format!(" {name}: {}.", values.join(", "));
            }
        }
        text
    }
}

/// A heat map's measures, in pixels.
struct Layout<'a> {
    map: &'a HeatMap,
    low: f64,
    high: f64,
    left: f64,
    top: f64,
    cell: f64,
    /// Whether the columns' names are too long to lie.
    slanted: bool,
    width: f64,
    height: f64,
}

fn longest<'a>(texts: impl Iterator<Item = &'a String>) -> f64 {
    texts.map(|text| text_width(&cut(text, LONGEST_LABEL))).fold(0.0, f64::max)
}

impl<'a> Layout<'a> {
    fn new(map: &'a HeatMap) -> Self {
        let values = || map.cells.iter().flatten().map(|cell| cell.value).filter(|value| value.is_finite());
        let (low, high) = map.range.unwrap_or_else(|| {
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max))
        });
        let printed = longest(map.cells.iter().flatten().map(|cell| &cell.text));
        let cell = (printed + 14.0).max(if map.columns.labels.len() <= 8 { 44.0 } else { 34.0 });
        let names = longest(map.columns.labels.iter());
        let slanted = names + 8.0 > cell;
        let left = longest(map.rows.labels.iter()) + 12.0;
        let top = if slanted { names * SQRT_HALF + 14.0 } else { 22.0 };
        let over = if slanted { (names * SQRT_HALF - cell / 2.0).max(0.0) } else { 0.0 };
        let width = left + cell * map.columns.labels.len() as f64 + over + 6.0;
        let height = top + CELL_HEIGHT * map.rows.labels.len() as f64 + 46.0;
        // The scale below has to fit as well.
        let width = width.max(left + 220.0);
        Self { map, low, high, left, top, cell, slanted, width, height }
    }

    /// How strong the colour of a value is, 0 to 1.
    fn strength(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        // All values the same: one colour between the ends.
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.5 }
    }

    fn draw(&self) -> Html {
        let mut html = Html::new();
        let spoken = self.map.spoken();
        let attributes: &[(&'static str, &dyn Display)] = &[
            ("class", &"heat"),
            ("width", &format_args!("{:.0}", self.width)),
            ("height", &format_args!("{:.0}", self.height)),
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
        self.names(&mut svg);
        for (row, cells) in self.map.cells.iter().enumerate().take(self.map.rows.labels.len()) {
            for (column, cell) in cells.iter().enumerate().take(self.map.columns.labels.len()) {
                self.cell(&mut svg, (row, column), cell);
            }
        }
        self.scale(&mut svg);
        svg
    }

    fn names(&self, svg: &mut Html) {
        for (row, name) in self.map.rows.labels.iter().enumerate() {
            let attributes: &[(&'static str, &dyn Display)] = &[
                ("class", &"label"),
                ("x", &format_args!("{:.1}", self.left - 8.0)),
                ("y", &format_args!("{:.1}", self.top + CELL_HEIGHT * (row as f64 + 0.5) + 4.0)),
                ("text-anchor", &"end"),
            ];
            self.name(svg, attributes, name);
        }
        for (column, name) in self.map.columns.labels.iter().enumerate() {
            let (x, y) = (self.left + self.cell * (column as f64 + 0.5), self.top - 7.0);
            let turn = format!("translate({x:.1} {y:.1}) rotate({})", if self.slanted { -45 } else { 0 });
            let attributes: &[(&'static str, &dyn Display)] = &[
                ("class", &"label"),
                ("transform", &turn),
                ("text-anchor", if self.slanted { &"start" } else { &"middle" }),
            ];
            self.name(svg, attributes, name);
        }
    }

    fn name(&self, svg: &mut Html, attributes: &[(&'static str, &dyn Display)], name: &str) {
        svg.element("text", attributes, |text| {
            text.text(cut(name, LONGEST_LABEL));
            if name.chars().count() > LONGEST_LABEL {
                text.leaf("title", &[], name);
            }
        });
    }

    fn cell(&self, svg: &mut Html, (row, column): (usize, usize), cell: &Cell) {
        let (x, y) = (self.left + self.cell * column as f64, self.top + CELL_HEIGHT * row as f64);
        let strength = cell.value.is_finite().then(|| self.strength(cell.value));
        svg.element("g", &[], |group| {
            self.rectangle(group, (x, y, self.cell - 1.0), CELL_HEIGHT - 1.0, strength);
            let attributes: &[(&'static str, &dyn Display)] = &[
                ("class", &"value"),
                ("x", &format_args!("{:.1}", x + self.cell / 2.0)),
                ("y", &format_args!("{:.1}", y + CELL_HEIGHT / 2.0 + 4.0)),
            ];
            group.leaf("text", attributes, &cell.text);
            let (rows, columns) = (&self.map.rows, &self.map.columns);
            let tooltip = format!(
                "{} {}, {} {}: {}",
                rows.name, rows.labels[row], columns.name, columns.labels[column], cell.text
            );
            group.leaf("title", &[], tooltip);
        });
    }

    fn rectangle(&self, svg: &mut Html, at: (f64, f64, f64), height: f64, strength: Option<f64>) {
        let (x, y, width) = at;
        // Even the palest cell is told from the page.
        let opacity = strength.map_or(1.0, |strength| 0.06 + 0.94 * strength);
        let attributes: &[(&'static str, &dyn Display)] = &[
            ("class", if strength.is_some() { &"cell" } else { &"empty" }),
            ("x", &format_args!("{x:.1}")),
            ("y", &format_args!("{y:.1}")),
            ("width", &format_args!("{width:.1}")),
            ("height", &format_args!("{height:.1}")),
            ("fill-opacity", &format_args!("{opacity:.3}")),
        ];
        svg.empty("rect", attributes);
    }

    /// What the colours mean.
    fn scale(&self, svg: &mut Html) {
        // With one value only, or none, there is nothing to tell apart.
        if self.low.partial_cmp(&self.high) != Some(std::cmp::Ordering::Less) {
            return;
        }
        let (y, step) = (self.height - 28.0, 5.0);
        let ends = [number(self.low), number(self.high)];
        let begin = self.left + text_width(&ends[0]) + 6.0;
        for place in 0..SCALE_STEPS {
            let strength = place as f64 / (SCALE_STEPS - 1) as f64;
            self.rectangle(svg, (begin + step * place as f64, y, step), 10.0, Some(strength));
        }
        let end = begin + step * SCALE_STEPS as f64 + 6.0;
        for (x, y, text) in
            [(self.left, y + 9.0, &ends[0]), (end, y + 9.0, &ends[1]), (self.left, y + 23.0, &self.map.scale)]
        {
            let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
            svg.leaf("text", &[("x", &x), ("y", &y)], cut(text, 40));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(labels: &[&str], values: &[&[f64]]) -> HeatMap {
        let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
        HeatMap {
            title: "<t>".to_owned(),
            rows: Labels { name: "label".to_owned(), labels: labels.clone() },
            columns: Labels { name: "answer".to_owned(), labels },
            cells: values.iter().map(|row| row.iter().map(|value| Cell::of(*value)).collect()).collect(),
            range: None,
            scale: "score".to_owned(),
        }
    }

    #[test]
    fn the_smallest_value_is_palest_and_the_largest_strongest() {
        let map = map(&["a", "<b>"], &[&[0.0, 1.0], &[0.25, f64::NAN]]);
        let html = map.to_html();
        let html = html.as_str();
        for opacity in ["\"0.060\"", "\"1.000\"", "\"0.295\""] {
            assert!(html.contains(&format!("fill-opacity={opacity}")), "{opacity} {html}");
        }
        assert!(html.contains("class=\"empty\"") && html.contains(">–<") && !html.contains("NaN"));
        assert!(html.contains("<title>label &lt;b&gt;, answer a: 0.25</title>"), "{html}");
    }

    #[test]
    fn odd_matrices_are_drawn_as_far_as_they_go() {
        for map in [
            map(&[], &[]),
            map(&["a"], &[&[0.5]]),
            map(&["a", "b"], &[&[1.0]]),
            map(&["a"], &[&[1.0, 2.0], &[3.0]]),
            map(&["a"], &[&[f64::NAN]]),
        ] {
            for drawn in [map.to_html().as_str(), &map.to_svg()] {
                assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
            }
        }
    }

    #[test]
    fn long_names_are_cut_and_slanted() {
        let long = "a name that is longer than any column could be";
        let html = map(&[long, "b"], &[&[0.0, 1.0], &[1.0, 0.0]]).to_html();
        assert!(html.as_str().contains("rotate(-45)"));
        assert!(html.as_str().contains(&format!("…<title>{long}</title>")));
        assert!(map(&["a", "b"], &[&[0.0], &[1.0]]).to_html().as_str().contains("rotate(0)"));
    }
}
