//! Blocks of text and numbers: tables, facts, tiles.

use std::fmt::Display;

use super::html::Html;
use super::page::Block;

/// How a column of a [`Table`] is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// A short name: the heading of its row where it is the first column.
    Name,
    /// Short parts with commas between them, none of which is broken.
    Parts,
    /// A number, to the right.
    Number,
    /// Running text, which takes the room that is left.
    Text,
}

impl Column {
    fn class(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Parts => "parts",
            Self::Number => "number",
            Self::Text => "text",
        }
    }
}

/// A table. Where it is wider than the page it scrolls in its own frame; one with running text stands as a list on a phone.
pub struct Table {
    /// What it shows; may be empty.
    pub caption: String,
    /// The headings.
    pub columns: Vec<(String, Column)>,
    /// The cells of each row, as many as there are columns.
    pub rows: Vec<Vec<String>>,
}

impl Block for Table {
    fn to_html(&self) -> Html {
        let mut html = Html::new();
        html.element("div", &[("class", &"scroll")], |frame| {
            let class =
                if self.columns.iter().any(|(_, column)| *column == Column::Text) { "stacked" } else { "" };
            frame.element("table", &[("class", &class)], |table| {
                if !self.caption.is_empty() {
                    table.leaf("caption", &[], &self.caption);
                }
                table.fixed("<thead><tr>");
                for (name, column) in &self.columns {
                    table.leaf("th", &[("scope", &"col"), ("class", &column.class())], name);
                }
                table.fixed("</tr></thead>\n<tbody>\n");
                for row in &self.rows {
                    table.element("tr", &[], |line| {
                        for (place, (cell, (name, column))) in row.iter().zip(&self.columns).enumerate() {
                            if place == 0 && *column == Column::Name {
                                let heading: &[(&'static str, &dyn Display)] =
                                    &[("scope", &"row"), ("class", &"name"), ("data-name", name)];
                                line.leaf("th", heading, cell);
                                continue;
                            }
                            let attributes: &[(&'static str, &dyn Display)] =
                                &[("class", &column.class()), ("data-name", name)];
                            match column {
                                Column::Parts => line.element("td", attributes, |inside| parts(inside, cell)),
                                _ => line.leaf("td", attributes, cell),
                            };
                        }
                    });
                    table.fixed("\n");
                }
                table.fixed("</tbody>");
            });
        });
        html
    }
}

fn parts(html: &mut Html, cell: &str) {
    for (place, part) in cell.split_inclusive(", ").enumerate() {
        if place > 0 {
            html.fixed(" ");
        }
        html.leaf("span", &[], part.trim_end());
    }
}

/// Names and their values, one under another.
pub struct Facts(pub Vec<(&'static str, String)>);

impl Block for Facts {
    fn to_html(&self) -> Html {
        let mut html = Html::new();
        html.element("dl", &[("class", &"facts")], |list| {
            for (name, value) in &self.0 {
                list.leaf("dt", &[], name).leaf("dd", &[], value).fixed("\n");
            }
        });
        html
    }
}

/// A number that is to be seen first.
pub struct Tile {
    /// What it is.
    pub name: String,
    /// The number.
    pub value: String,
    /// What it is to be held against; may be empty.
    pub more: String,
}

/// Numbers side by side.
pub struct Tiles(pub Vec<Tile>);

impl Block for Tiles {
    fn to_html(&self) -> Html {
        let mut html = Html::new();
        html.element("dl", &[("class", &"tiles")], |list| {
            for tile in &self.0 {
                list.element("div", &[], |box_| {
                    box_.leaf("dt", &[], &tile.name).element("dd", &[], |value| {
                        value.text(&tile.value);
                        if !tile.more.is_empty() {
                            value.fixed(" ").leaf("span", &[("class", &"more")], &tile.more);
                        }
                    });
                });
                list.fixed("\n");
            }
        });
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_escaped_and_the_first_name_heads_its_row() {
        let table = Table {
            caption: "a < b".to_owned(),
            columns: [("label", Column::Name), ("of", Column::Parts), ("rows", Column::Number)]
                .map(|(name, column)| (name.to_owned(), column))
                .into(),
            rows: vec![["<b>", "lr 1e-3, <2>", "3"].map(str::to_owned).into()],
        };
        let html = table.to_html();
        assert!(html.as_str().contains("<caption>a &lt; b</caption>"));
        assert!(html.as_str().contains(
            "<th scope=\"row\" class=\"name\" data-name=\"label\">&lt;b&gt;</th>\
             <td class=\"parts\" data-name=\"of\"><span>lr 1e-3,</span> <span>&lt;2&gt;</span></td>\
             <td class=\"number\" data-name=\"rows\">3</td>"
        ));
    }
}
