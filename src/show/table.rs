//! A table as text and as HTML.

use crate::show::display;
use comfy_table::{CellAlignment, ContentArrangement, presets};
use std::fmt;

/// A table: titles, rows, and from which column on there are numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Above the table, a line; may be empty.
    pub heading: String,
    /// One for each column.
    pub titles: Vec<&'static str>,
    /// As many cells in each as there are titles.
    pub rows: Vec<Vec<String>>,
    /// The columns that stand to the right, as numbers do.
    pub numbers: std::ops::Range<usize>,
}

impl Table {
    /// As HTML, without styles of its own but for the numbers.
    pub fn html(&self) -> String {
        let side = |column: usize| if self.numbers.contains(&column) { "right" } else { "left" };
        let cell = |tag: &str, (column, text): (usize, &str)| {
            format!("<{tag} style=\"text-align:{}\">{}</{tag}>", side(column), escaped(text))
        };
        let titles: String = self.titles.iter().enumerate().map(|(column, text)| cell("th", (column, text))).collect();
        let row = |row: &Vec<String>| {
            let cells: String = row.iter().enumerate().map(|(column, text)| cell("td", (column, text))).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = self.rows.iter().map(row).collect();
        let heading = match self.heading.as_str() {
            "" => String::new(),
            heading => format!("<div>{}</div>\n", escaped(heading)),
        };
        format!("{heading}<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{rows}</tbody></table>")
    }

    /// Shows it where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        display::html(&self.html(), &self.to_string());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(&self.titles).add_rows(&self.rows);
        for (place, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if self.numbers.contains(&place) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_string()).collect();
        let heading = Some(self.heading.clone()).filter(|heading| !heading.is_empty());
        f.write_str(&heading.into_iter().chain(lines).collect::<Vec<_>>().join("\n"))
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
