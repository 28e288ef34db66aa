//! Charts as inline SVG, coloured by the page's style so that light and dark both work; or as SVG files of their own.
//!
//! - [`Plot`]: lines and points with error bars over a linear or logarithmic axis, in several series.
//! - [`HeatMap`]: a matrix with named rows and columns, its values printed.
//!
//! ```
//! use grafter::report::chart::{Axis, Mark, Plot, Point, Series};
//! use grafter::report::page::{Page, Section};
//!
//! let sizes = Series {
//!     name: "adapters".to_owned(),
//!     mark: Mark::LineAndPoints,
//!     points: vec![
//!         Point::new(9.6e3, 0.80).between(0.78, 0.82),
//!         Point::new(6.1e5, 0.86).between(0.85, 0.87).noted("bottleneck 64"),
//!     ],
//!     ..Series::default()
//! };
//! let plot = Plot {
//!     title: "Accuracy by trained parameters".to_owned(),
//!     x: Axis::log("trained parameters"),
//!     y: Axis::linear("accuracy"),
//!     series: vec![sizes],
//! };
//! let html = Page::new("Comparison", "").with(Section::new("Sizes").with(&plot)).to_html();
//! assert!(html.contains("bottleneck 64"));
//! ```

mod file;
mod heat_map;
mod plot;
mod scale;

pub use heat_map::{Cell, HeatMap, Labels};
pub use plot::{Colour, Mark, Plot, Point, Series};
pub use scale::{Axis, Scale, number};

/// The style of what is drawn; its colours are the page's.
pub(super) const STYLE: &str = include_str!("chart.css");

/// How wide a text in the charts' size is, in pixels: a little more than most fonts need.
fn text_width(text: &str) -> f64 {
    let width = |c: char| match c {
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 11.5,
        'A'..='Z' => 9.0,
        c if c.is_ascii() => 7.2,
        // Letters of other alphabets, and the wide ones of East Asia.
        c if c < '\u{2e80}' => 8.5,
        _ => 12.5,
    };
    text.chars().map(width).sum()
}

/// A text of at most `most` characters, cut with `…`.
fn cut(text: &str, most: usize) -> String {
    crate::text::escape(text, most)
}
