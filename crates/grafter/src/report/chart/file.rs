//! A chart as an SVG file of its own, for documents: the title, the legend, the notes and the style, which stand around it
//! on a page, are in the file. Light and dark as the reader's system is.

use std::fmt::Display;

use super::{STYLE, cut, text_width};
use crate::report::html::Html;
use crate::report::page::COLOURS;

/// What a file is made of.
pub(super) struct Figure<'a> {
    pub title: &'a str,
    /// Empty where there is nothing to tell apart.
    pub legend: Vec<Entry<'a>>,
    pub notes: &'a [String],
    /// What somebody hears who cannot see it.
    pub spoken: &'a str,
    /// What is inside the `svg` element of a page.
    pub drawing: Html,
    /// Of the drawing, in pixels.
    pub size: (f64, f64),
}

/// A series in a legend.
pub(super) struct Entry<'a> {
    /// 28 by 12 pixels.
    pub swatch: Html,
    pub name: &'a str,
}

const PADDING: f64 = 16.0;
const TITLE: f64 = 30.0;
/// Characters of it that are shown.
const LONGEST_TITLE: usize = 120;
const LINE: f64 = 20.0;
const SWATCH: f64 = 34.0;
/// Between two entries of the legend.
const GAP: f64 = 18.0;
/// The title's letters against those of other texts.
const LARGER: f64 = 1.3;
const OWN_STYLE: &str =
    "svg { font: 12px system-ui, -apple-system, \"Segoe UI\", Roboto, \"Liberation Sans\", sans-serif; }
svg .paper { fill: var(--paper); }
svg .title { fill: var(--ink); font-size: 15px; font-weight: 600; }
";

impl Figure<'_> {
    /// The whole file, UTF-8.
    pub fn to_svg(&self) -> String {
        let texts = self.notes.iter().map(|note| text_width(note));
        let entries = self.legend.iter().map(|entry| SWATCH + text_width(entry.name));
        let title = cut(self.title, LONGEST_TITLE);
        let width = texts.chain(entries).fold((LARGER * text_width(&title)).max(self.size.0), f64::max);
        let places = self.legend_places(width);
        let top = PADDING + TITLE + places.last().map_or(0.0, |(_, y)| y + LINE);
        let below = top + self.size.1;
        let height = below + LINE * self.notes.len() as f64 + PADDING;
        let width = width + 2.0 * PADDING;
        let mut html = Html::new();
        let attributes: &[(&'static str, &dyn Display)] = &[
            ("xmlns", &"http://www.w3.org/2000/svg"),
            ("viewBox", &format_args!("0 0 {width:.0} {height:.0}")),
            ("width", &format_args!("{width:.0}")),
            ("height", &format_args!("{height:.0}")),
            ("role", &"img"),
            ("aria-label", &self.spoken),
        ];
        html.element("svg", attributes, |svg| {
            svg.fixed("\n<style>\n").fixed(COLOURS).fixed(OWN_STYLE).fixed(STYLE).fixed("</style>\n");
            svg.empty("rect", &[("class", &"paper"), ("width", &"100%"), ("height", &"100%")]);
            text(svg, "title", (PADDING, PADDING + 14.0), &title);
            for (entry, (x, y)) in self.legend.iter().zip(places) {
                let (x, y) = (PADDING + x, PADDING + TITLE + y);
                moved(svg, (x, y), &entry.swatch);
                text(svg, "name", (x + SWATCH, y + 10.0), entry.name);
            }
            moved(svg, (PADDING, top), &self.drawing);
            for (line, note) in self.notes.iter().enumerate() {
                text(svg, "note", (PADDING, below + LINE * (line as f64 + 0.7)), note);
            }
        });
        html.fixed("\n");
        html.as_str().to_owned()
    }

    /// Where each entry of the legend begins, row after row.
    fn legend_places(&self, width: f64) -> Vec<(f64, f64)> {
        let (mut x, mut y) = (0.0, 0.0);
        let place = |entry: &Entry<'_>| {
            let needed = SWATCH + text_width(entry.name);
            if x > 0.0 && x + needed > width {
                (x, y) = (0.0, y + LINE);
            }
            let place = (x, y);
            x += needed + GAP;
            place
        };
        self.legend.iter().map(place).collect()
    }
}

fn text(svg: &mut Html, class: &'static str, (x, y): (f64, f64), text: &str) {
    let (x, y) = (format!("{x:.1}"), format!("{y:.1}"));
    svg.leaf("text", &[("class", &class), ("x", &x), ("y", &y)], text);
}

fn moved(svg: &mut Html, (x, y): (f64, f64), piece: &Html) {
    svg.element("g", &[("transform", &format_args!("translate({x:.1} {y:.1})"))], |group| {
        group.html(piece);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(legend: &[&'static str]) -> String {
        let entry = |name: &&'static str| Entry { swatch: Html::new(), name };
        let notes = ["a <note>".to_owned()];
        let legend = legend.iter().map(entry).collect();
        let drawing = Html::new();
        Figure { title: "<t>", legend, notes: &notes, spoken: "\"t\"", drawing, size: (200.0, 100.0) }
            .to_svg()
    }

    #[test]
    fn a_file_is_whole_and_loads_nothing() {
        let svg = figure(&["<one>"]);
        assert!(
            svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" ") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        for text in [">&lt;t&gt;<", ">&lt;one&gt;<", ">a &lt;note&gt;<", "aria-label=\"&quot;t&quot;\""] {
            assert!(svg.contains(text), "{text} {svg}");
        }
        assert_eq!(svg.matches("http").count(), 1, "{svg}");
        // In XML, which SVG files are, nothing of a style sheet may look like markup.
        for part in [COLOURS, OWN_STYLE, STYLE] {
            assert!(!part.contains(['<', '&']), "{part}");
        }
    }

    #[test]
    fn a_file_is_as_wide_as_its_texts_up_to_a_limit() {
        let width = |title: &str, names: &[&'static str]| -> f64 {
            let figure = Figure {
                title,
                legend: names.iter().map(|name| Entry { swatch: Html::new(), name }).collect(),
                notes: &[],
                spoken: "",
                drawing: Html::new(),
                size: (100.0, 100.0),
            };
            let svg = figure.to_svg();
            let width = svg.split(" width=\"").nth(1).and_then(|rest| rest.split('"').next());
            width.expect("a width").parse().expect("a number")
        };
        assert_eq!(width("t", &[]), 100.0 + 2.0 * PADDING);
        assert!(width("t", &["a name that is wider than the drawing"]) > 200.0);
        assert_eq!(width(&"t".repeat(200), &[]), width(&"t".repeat(10_000), &[]));
    }

    #[test]
    fn a_legend_goes_on_below_where_the_figure_ends() {
        let long = "a name of half the width";
        let wide = Figure {
            legend: [long; 3].map(|name| Entry { swatch: Html::new(), name }).into(),
            title: "",
            notes: &[],
            spoken: "",
            drawing: Html::new(),
            size: (0.0, 0.0),
        };
        let needed = SWATCH + text_width(long);
        let two_in_a_row = [(0.0, 0.0), (needed + GAP, 0.0), (0.0, LINE)];
        assert_eq!(wide.legend_places(2.0 * needed + GAP), two_in_a_row);
        assert_eq!(wide.legend_places(1.0), [(0.0, 0.0), (0.0, LINE), (0.0, 2.0 * LINE)]);
    }
}
