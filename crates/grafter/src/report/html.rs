//! Markup that cannot forget to escape: what is not a constant of this program goes through [`Html::text`] or an
//! attribute, and both escape. There is no way in for a ready string.

use std::fmt::{self, Display, Write};

/// A piece of HTML or SVG.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Html(String);

impl Html {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends markup that is a constant of the program.
    pub fn fixed(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Appends text, escaped.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = write!(Escaping(&mut self.0), "{text}");
        self
    }

    /// Appends another piece.
    pub fn html(&mut self, piece: &Html) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    /// Appends an element with attributes and what `inside` writes. Names are constants, values are escaped.
    pub fn element(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &dyn Display)],
        inside: impl FnOnce(&mut Self),
    ) -> &mut Self {
        self.open(name, attributes);
        self.0.push('>');
        inside(self);
        let _ = write!(self.0, "</{name}>");
        self
    }

    /// Appends an element that holds a text alone.
    pub fn leaf(
        &mut self,
        name: &'static str,
        attributes: &[(&'static str, &dyn Display)],
        text: impl Display,
    ) -> &mut Self {
        self.element(name, attributes, |inside| {
            inside.text(text);
        })
    }

    /// Appends an SVG element that holds nothing.
    pub fn empty(&mut self, name: &'static str, attributes: &[(&'static str, &dyn Display)]) -> &mut Self {
        self.open(name, attributes);
        self.0.push_str("/>");
        self
    }

    /// The markup.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn open(&mut self, name: &'static str, attributes: &[(&'static str, &dyn Display)]) {
        let _ = write!(self.0, "<{name}");
        for (name, value) in attributes {
            let _ = write!(self.0, " {name}=\"");
            let _ = write!(Escaping(&mut self.0), "{value}");
            self.0.push('"');
        }
    }
}

/// Escapes what is written into it, for text and for attributes in double quotes.
struct Escaping<'a>(&'a mut String);

impl Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // No character reference stands for NUL, and browsers do not take the others for text.
                c if c.is_control() && !matches!(c, '\n' | '\t') => self.0.push('\u{fffd}'),
                // No characters of XML, which SVG files are.
                '\u{fffe}' | '\u{ffff}' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_written_can_be_markup() {
        let hostile = "</script><b onload='x' \"y\">&amp;\0\u{1b}\u{ffff}";
        let mut html = Html::new();
        html.leaf("p", &[("title", &hostile)], hostile);
        let escaped =
            "&lt;/script&gt;&lt;b onload=&#39;x&#39; &quot;y&quot;&gt;&amp;amp;\u{fffd}\u{fffd}\u{fffd}";
        assert_eq!(html.as_str(), format!("<p title=\"{escaped}\">{escaped}</p>"));
    }

    #[test]
    fn elements_nest() {
        let mut html = Html::new();
        html.element("g", &[], |group| {
            group.empty("circle", &[("r", &3)]).fixed("<br>");
        });
        assert_eq!(html.as_str(), "<g><circle r=\"3\"/><br></g>");
    }
}
