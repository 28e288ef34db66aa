//! A page in one file: no network, no script, no font from elsewhere; light and dark as the reader's system is; for
//! phones and for wide screens.
//!
//! A page is made of sections, a section of blocks: [`Plot`](super::chart::Plot), [`HeatMap`](super::chart::HeatMap),
//! [`Table`](super::table::Table), [`Facts`](super::table::Facts), [`Paragraph`], [`Code`], [`Folded`].

use super::chart;
use super::html::Html;

/// The colours of a page and of a figure, light and dark.
pub(super) const COLOURS: &str = include_str!("colours.css");

/// Something that stands on a page.
pub trait Block {
    /// Its markup.
    fn to_html(&self) -> Html;
}

/// A page. `to_html` gives the whole file.
pub struct Page {
    title: String,
    subtitle: String,
    sections: Vec<Section>,
}

/// A titled part of a page.
pub struct Section {
    title: String,
    blocks: Vec<Html>,
}

impl Page {
    /// A page without sections.
    pub fn new(title: impl Into<String>, subtitle: impl Into<String>) -> Self {
        Self { title: title.into(), subtitle: subtitle.into(), sections: Vec::new() }
    }

    /// Appends a section.
    #[must_use]
    pub fn with(mut self, section: Section) -> Self {
        self.sections.push(section);
        self
    }

    /// The file, UTF-8. The same page always gives the same bytes.
    pub fn to_html(&self) -> String {
        let mut html = Html::new();
        html.fixed("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        html.fixed("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        // Whatever a text in it says, a browser loads nothing and runs nothing.
        html.fixed(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
             base-uri 'none'; form-action 'none'\">\n<meta name=\"color-scheme\" content=\"light dark\">\n",
        );
        html.leaf("title", &[], &self.title);
        html.fixed("\n<style>\n").fixed(COLOURS).fixed(include_str!("page.css")).fixed(chart::STYLE);
        html.fixed("</style>\n</head>\n<body>\n<header>\n");
        html.leaf("h1", &[], &self.title);
        html.leaf("p", &[("class", &"subtitle")], &self.subtitle);
        html.fixed("\n</header>\n");
        if self.sections.len() > 2 {
            html.element("nav", &[("aria-label", &"Sections")], |nav| {
                for (place, section) in self.sections.iter().enumerate() {
                    nav.leaf("a", &[("href", &format_args!("#section-{}", place + 1))], &section.title);
                    nav.fixed("\n");
                }
            });
        }
        html.fixed("\n<main>\n");
        for (place, section) in self.sections.iter().enumerate() {
            html.element("section", &[("id", &format_args!("section-{}", place + 1))], |part| {
                part.leaf("h2", &[], &section.title).fixed("\n");
                for block in &section.blocks {
                    part.html(block).fixed("\n");
                }
            });
            html.fixed("\n");
        }
        html.fixed("</main>\n</body>\n</html>\n");
        html.as_str().to_owned()
    }
}

impl Section {
    /// A section with nothing in it.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    /// Appends a block.
    #[must_use]
    pub fn with(mut self, block: &dyn Block) -> Self {
        self.blocks.push(block.to_html());
        self
    }
}

/// Text on its own.
pub struct Paragraph(pub String);

impl Block for Paragraph {
    fn to_html(&self) -> Html {
        let mut html = Html::new();
        html.leaf("p", &[], &self.0);
        html
    }
}

/// Text to copy, such as a command.
pub struct Code(pub String);

impl Block for Code {
    fn to_html(&self) -> Html {
        let mut html = Html::new();
        html.element("pre", &[("tabindex", &0)], |pre| {
            pre.leaf("code", &[], &self.0);
        });
        html
    }
}

/// Blocks that are shown when their title is clicked.
pub struct Folded {
    title: String,
    blocks: Vec<Html>,
}

impl Folded {
    /// Nothing in it yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    /// Appends a block.
    #[must_use]
    pub fn with(mut self, block: &dyn Block) -> Self {
        self.blocks.push(block.to_html());
        self
    }
}

impl Block for Folded {
    fn to_html(&self) -> Html {
        let mut html = Html::new();
        html.element("details", &[], |details| {
            details.leaf("summary", &[], &self.title);
            for block in &self.blocks {
                details.html(block);
            }
        });
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_write_is_never_markup_and_nothing_is_loaded() {
        let hostile = "<img src=x onerror=alert(1)>\"'&";
        let section = || {
            Section::new(hostile)
                .with(&Paragraph(hostile.to_owned()))
                .with(&Code(hostile.to_owned()))
                .with(&Folded::new(hostile).with(&Paragraph(hostile.to_owned())))
        };
        let page = Page::new(hostile, hostile).with(section()).with(section()).with(section()).to_html();
        assert!(!page.contains("<img") && page.contains("&lt;img src=x"), "{page}");
        for loads in ["<script", "<link", "@import", "url(", "<iframe", "http://", "https://"] {
            assert!(!page.contains(loads), "{loads}");
        }
        assert_eq!(page.matches("<section id=").count(), 3);
        assert_eq!(page.matches("href=\"#section-").count(), 3);
    }
}
