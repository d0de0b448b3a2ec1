//! A grid of pictures with titles: what a sweep over two settings looks like.
//!
//! Enters: pictures, or the reason why one is missing, with a title for each row and column and a name for each axis.
//! Leaves: one picture, or several pages where one would be larger than allowed. Made to be read from the back of a
//! room: small pictures are magnified, and the letters grow with the pictures.

use image::{Rgb, RgbImage, imageops};

use super::pixels::{WHITE, centred, fill, fit, magnify};
use super::text::{Align, TextStyle};
use crate::error::{Error, Result};

/// One direction of a grid.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Axis {
    /// What varies, `guidance scale`; may be empty.
    pub name: String,
    /// The title of each row or column, `7.5`; may be empty strings.
    pub labels: Vec<String>,
}

impl Axis {
    /// An axis from its name and titles.
    pub fn new(name: impl Into<String>, labels: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Axis { name: name.into(), labels: labels.into_iter().map(Into::into).collect() }
    }
}

/// One place of a grid.
#[derive(Debug, Clone, PartialEq)]
pub enum GridCell {
    /// What belongs there.
    Picture(RgbImage),
    /// Why it is not there: drawn as an empty box with these words.
    Missing(String),
}

/// A grid of pictures.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Grid {
    /// Stands above everything; may be empty.
    pub title: String,
    /// From top to bottom.
    pub rows: Axis,
    /// From left to right.
    pub columns: Axis,
    /// Row by row, `rows × columns` of them.
    pub cells: Vec<GridCell>,
}

/// How a grid looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GridStyle {
    /// Pictures whose shorter side is less are magnified, a whole number of times, until it is not.
    pub least_cell: u32,
    /// The largest page, width and height in pixels. A page holds one cell at the least, however large that is.
    pub largest_page: (u32, u32),
    /// The paper.
    pub background: Rgb<u8>,
    /// The letters.
    pub ink: Rgb<u8>,
}

impl Default for GridStyle {
    fn default() -> Self {
        let (background, ink) = (WHITE, Rgb([20; 3]));
        GridStyle { least_cell: 256, largest_page: (8192, 8192), background, ink }
    }
}

impl Grid {
    /// Draws the grid on as many pages as it needs, row of pages by row of pages. Every page carries the title and the
    /// titles of its rows and columns.
    ///
    /// An error if there is no cell, or not one for each row and column.
    pub fn draw(&self, style: &GridStyle) -> Result<Vec<RgbImage>> {
        let (rows, columns) = (self.rows.labels.len(), self.columns.labels.len());
        if rows * columns == 0 || self.cells.len() != rows * columns {
            let message = format!("a grid of {rows} × {columns} cannot be made of {} pictures", self.cells.len());
            return Err(Error::Invalid { message, hint: None });
        }
        let layout = Layout::of(self, style);
        let (per_page_rows, per_page_columns) = layout.per_page(rows, columns, style.largest_page);
        let pages = rows.div_ceil(per_page_rows) * columns.div_ceil(per_page_columns);
        let mut drawn = Vec::with_capacity(pages);
        for top in (0..rows).step_by(per_page_rows) {
            for left in (0..columns).step_by(per_page_columns) {
                let part = GridPage {
                    rows: top..rows.min(top + per_page_rows),
                    columns: left..columns.min(left + per_page_columns),
                    suffix: if pages > 1 { format!(" ({}/{pages})", drawn.len() + 1) } else { String::new() },
                };
                drawn.push(layout.draw(self, style, &part));
            }
        }
        Ok(drawn)
    }

    /// The size that all cells are brought to: the largest picture's, magnified if it is small.
    fn cell_size(&self, style: &GridStyle) -> (u32, u32) {
        let sizes = self.cells.iter().filter_map(|cell| match cell {
            GridCell::Picture(picture) => Some(picture.dimensions()),
            GridCell::Missing(_) => None,
        });
        let largest = sizes.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)));
        let (width, height) = largest.unwrap_or((style.least_cell, style.least_cell));
        let (width, height) = (width.max(1), height.max(1));
        let times = style.least_cell.div_ceil(width.min(height)).max(1);
        (width * times, height * times)
    }
}

/// More lines than these no title and no label gets: a prompt of all tokens that a model sees needs fewer on all but the
/// narrowest page.
const TITLE_LINES: usize = 40;
const LABEL_LINES: usize = 20;
const NAME_LINES: usize = 4;

/// A title of more lines than these makes a narrow page wider, up to so many em.
const EASY_LINES: usize = 5;
const WIDEST_TITLE: f32 = 36.0;

/// The cells of one page.
struct GridPage {
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
    suffix: String,
}

/// Where things stand on a page.
struct Layout {
    cell: (u32, u32),
    gap: u32,
    label: TextStyle,
    name: TextStyle,
    title: TextStyle,
    row_labels: Vec<String>,
    column_labels: Vec<String>,
    row_name: String,
    column_name: String,
    /// Widths of the strip with the rows' axis name and of the column of row titles.
    name_strip: u32,
    row_strip: u32,
    /// Height of the strip with the columns' axis name and titles.
    column_strip: u32,
    has_title: bool,
}

impl Layout {
    fn of(grid: &Grid, style: &GridStyle) -> Self {
        let cell = grid.cell_size(style);
        let px = (cell.0.min(cell.1) as f32 / 11.0).clamp(14.0, 48.0).round();
        let gap = (px / 2.0).ceil() as u32;
        let label = TextStyle::new(px, style.ink);
        let name = label.bold();
        let title = TextStyle { px: (px * 1.25).round(), ..name };
        let lines_beside = (cell.1 / label.line_height()).max(1) as usize;
        let row_label = |text: &String| {
            // As narrow as it can be without being cut.
            let widths = [3, 5, 8, 12].map(|quarters| cell.0 * quarters / 4);
            let fits = |width: &u32| label.wrap(text, *width).len() <= lines_beside.min(LABEL_LINES);
            let width = widths.into_iter().find(fits).unwrap_or(widths[3]);
            label.wrap_to(text, width, lines_beside.min(LABEL_LINES))
        };
        let row_labels: Vec<String> = grid.rows.labels.iter().map(row_label).collect();
        let column_labels: Vec<String> =
            grid.columns.labels.iter().map(|text| label.wrap_to(text, cell.0, LABEL_LINES)).collect();
        let along = |count: usize, side: u32| count as u32 * (side + gap) - gap;
        let row_name = name.wrap_to(&grid.rows.name, along(grid.rows.labels.len(), cell.1), NAME_LINES);
        let column_name = name.wrap_to(&grid.columns.name, along(grid.columns.labels.len(), cell.0), NAME_LINES);
        let widest = row_labels.iter().map(|text| label.measure(text).0).max().unwrap_or(0);
        let highest = column_labels.iter().map(|text| label.measure(text).1).max().unwrap_or(0);
        let strip = |text: &str| if text.is_empty() { 0 } else { name.measure(text).1 + gap / 2 };
        let spaced = |length: u32| if length == 0 { 0 } else { length + gap };
        Layout {
            cell,
            gap,
            label,
            name,
            title,
            name_strip: strip(&row_name),
            row_strip: spaced(widest),
            column_strip: strip(&column_name) + if highest == 0 { 0 } else { highest + gap / 2 },
            row_labels,
            column_labels,
            row_name,
            column_name,
            has_title: !grid.title.is_empty(),
        }
    }

    /// Left edge of the first cell.
    fn left(&self) -> u32 {
        self.gap + self.name_strip + self.row_strip
    }

    /// Upper edge of the first cell under a title of `lines` lines.
    fn top(&self, lines: u32) -> u32 {
        let title = if lines == 0 { 0 } else { lines * self.title.line_height() + self.gap };
        self.gap + title + self.column_strip
    }

    /// How many rows and columns one page takes.
    fn per_page(&self, rows: usize, columns: usize, (width, height): (u32, u32)) -> (usize, usize) {
        // The title is given two lines here: one that wraps more makes the page a little higher.
        let room =
            |length: u32, before: u32, cell: u32| (length.saturating_sub(before) / (cell + self.gap)).max(1) as usize;
        let top = self.top(if self.has_title { 2 } else { 0 });
        (room(height, top, self.cell.1).min(rows), room(width, self.left(), self.cell.0).min(columns))
    }

    fn draw(&self, grid: &Grid, style: &GridStyle, part: &GridPage) -> RgbImage {
        let (columns, rows) = (part.columns.len() as u32, part.rows.len() as u32);
        let cells = self.left() + columns * (self.cell.0 + self.gap);
        let (title, width) = self.titled(&format!("{}{}", grid.title, part.suffix), cells);
        let top = self.top(title.lines().count() as u32);
        let height = top + rows * (self.cell.1 + self.gap);
        let mut page = RgbImage::from_pixel(width, height, style.background);
        self.title.draw(&mut page, (i64::from(self.gap), i64::from(self.gap)), Align::Left, &title);
        self.draw_column_titles(&mut page, part, top);
        self.draw_row_titles(&mut page, part, top, style);
        for (down, row) in part.rows.clone().enumerate() {
            for (right, column) in part.columns.clone().enumerate() {
                let x = self.left() + right as u32 * (self.cell.0 + self.gap);
                let y = top + down as u32 * (self.cell.1 + self.gap);
                let picture = self.cell(&grid.cells[row * grid.columns.labels.len() + column], style);
                imageops::replace(&mut page, &picture, i64::from(x), i64::from(y));
            }
        }
        page
    }

    /// The title in lines, and the width of a page whose cells are `cells` pixels wide: that, or more where a long title
    /// would stand as a tower above few cells.
    fn titled(&self, title: &str, cells: u32) -> (String, u32) {
        if !self.has_title {
            return (String::new(), cells);
        }
        let lines = |width: u32| self.title.wrap(title, width - 2 * self.gap).len();
        let widest = cells.max((self.title.px * WIDEST_TITLE) as u32);
        let mut width = cells;
        while width < widest && lines(width) > EASY_LINES {
            width = widest.min(width + self.cell.0 / 2 + 1);
        }
        (self.title.wrap_to(title, width - 2 * self.gap, TITLE_LINES), width)
    }

    fn draw_column_titles(&self, page: &mut RgbImage, part: &GridPage, top: u32) {
        let mut y = i64::from(top - self.column_strip);
        if !self.column_name.is_empty() {
            let span = part.columns.len() as u32 * (self.cell.0 + self.gap) - self.gap;
            let name = self.name_within(&self.column_name, span);
            self.name.draw(page, (i64::from(self.left() + span / 2), y), Align::Centre, &name);
            y += i64::from(self.name.measure(&self.column_name).1 + self.gap / 2);
        }
        let room = i64::from(top) - y - i64::from(self.gap / 2);
        for (right, text) in self.column_labels[part.columns.clone()].iter().enumerate() {
            let x = self.left() + right as u32 * (self.cell.0 + self.gap) + self.cell.0 / 2;
            let lower = y + room - i64::from(self.label.measure(text).1);
            self.label.draw(page, (i64::from(x), lower), Align::Centre, text);
        }
    }

    fn draw_row_titles(&self, page: &mut RgbImage, part: &GridPage, top: u32, style: &GridStyle) {
        if !self.row_name.is_empty() {
            let span = part.rows.len() as u32 * (self.cell.1 + self.gap) - self.gap;
            let mut strip = RgbImage::from_pixel(span, self.name.measure(&self.row_name).1, style.background);
            let name = self.name_within(&self.row_name, span);
            self.name.draw(&mut strip, (i64::from(span / 2), 0), Align::Centre, &name);
            imageops::replace(page, &imageops::rotate270(&strip), i64::from(self.gap), i64::from(top));
        }
        let x = i64::from(self.left() - self.gap);
        for (down, text) in self.row_labels[part.rows.clone()].iter().enumerate() {
            let middle = top + down as u32 * (self.cell.1 + self.gap) + self.cell.1 / 2;
            let y = i64::from(middle) - i64::from(self.label.measure(text).1 / 2);
            self.label.draw(page, (x, y), Align::Right, text);
        }
    }

    /// An axis' name whose lines are made for a whole page, on one that may be shorter.
    fn name_within(&self, name: &str, span: u32) -> String {
        name.lines().map(|line| self.name.ellipsize(line, span)).collect::<Vec<_>>().join("\n")
    }

    /// A picture as large as a cell, or an empty box with a note.
    fn cell(&self, cell: &GridCell, style: &GridStyle) -> RgbImage {
        match cell {
            GridCell::Picture(picture) if picture.dimensions() == self.cell => picture.clone(),
            GridCell::Picture(picture) => centred(&fit(picture, self.cell), self.cell, style.background),
            GridCell::Missing(note) => {
                let towards = |share: f32| {
                    let mix =
                        |paper: u8, ink: u8| (f32::from(paper) + (f32::from(ink) - f32::from(paper)) * share) as u8;
                    Rgb([0, 1, 2].map(|c| mix(style.background.0[c], style.ink.0[c])))
                };
                let (width, height) = self.cell;
                let line = (self.label.px / 14.0).round().max(1.0) as u32;
                let mut empty = RgbImage::from_pixel(width, height, towards(0.35));
                let inside = (width.saturating_sub(2 * line), height.saturating_sub(2 * line));
                fill(&mut empty, (i64::from(line), i64::from(line)), inside, towards(0.04));
                let letters = TextStyle { px: (self.label.px * 0.8).max(12.0), colour: towards(0.7), ..self.label };
                let lines = (inside.1 / letters.line_height()).max(1) as usize;
                let words = letters.wrap_to(note, inside.0.saturating_sub(self.gap), lines);
                let y = i64::from(height / 2) - i64::from(letters.measure(&words).1 / 2);
                letters.draw(&mut empty, (i64::from(width / 2), y), Align::Centre, &words);
                empty
            }
        }
    }
}

/// Pictures one beside the other, each with its name above, `columns` in a row; all are magnified `times` with hard
/// pixels. For many small pictures that are no grid of two settings.
pub fn gallery(pictures: &[(String, RgbImage)], columns: usize, times: u32, label: &TextStyle) -> RgbImage {
    let columns = columns.clamp(1, pictures.len().max(1));
    let large: Vec<RgbImage> = pictures.iter().map(|(_, picture)| magnify(picture, times)).collect();
    let cell = large.iter().fold((1, 1), |(w, h), picture| (picture.width().max(w), picture.height().max(h)));
    let gap = (label.px / 2.0).ceil() as u32;
    let line = label.line_height();
    let rows = pictures.len().div_ceil(columns) as u32;
    let size = (columns as u32 * (cell.0 + gap), rows * (cell.1 + line + gap));
    let mut page = RgbImage::from_pixel(size.0.saturating_sub(gap), size.1.saturating_sub(gap), WHITE);
    for (number, ((name, _), picture)) in pictures.iter().zip(&large).enumerate() {
        let x = i64::from((number % columns) as u32 * (cell.0 + gap));
        let y = i64::from((number / columns) as u32 * (cell.1 + line + gap));
        let words = label.ellipsize(name, cell.0);
        label.draw(&mut page, (x + i64::from(cell.0 / 2), y), Align::Centre, &words);
        let inset = i64::from((cell.0 - picture.width()) / 2);
        imageops::replace(&mut page, picture, x + inset, y + i64::from(line));
    }
    page
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    const STYLE: GridStyle =
        GridStyle { least_cell: 192, largest_page: (8192, 8192), background: WHITE, ink: Rgb([20; 3]) };

    /// A grid whose cell in row r and column c is the plain colour (r, c, 200).
    fn plain(rows: usize, columns: usize, side: u32) -> Grid {
        let cell = |i: usize| {
            GridCell::Picture(RgbImage::from_pixel(side, side, Rgb([(i / columns) as u8, (i % columns) as u8, 200])))
        };
        Grid {
            title: "a photograph of an astronaut".into(),
            rows: Axis::new("guidance scale", (0..rows).map(|row| format!("{row}.5"))),
            columns: Axis::new("steps", (0..columns).map(|column| format!("{column}0"))),
            cells: (0..rows * columns).map(cell).collect(),
        }
    }

    fn count(page: &RgbImage, colour: [u8; 3]) -> usize {
        page.pixels().filter(|pixel| pixel.0 == colour).count()
    }

    #[test]
    fn every_cell_is_there_once_and_large() {
        let pages = plain(3, 4, 64).draw(&STYLE).unwrap();
        assert_eq!(pages.len(), 1);
        for (row, column) in (0..3).flat_map(|row| (0..4).map(move |column| (row, column))) {
            assert_eq!(count(&pages[0], [row, column, 200]), 192 * 192);
        }
        // Large pictures stay as they are.
        let pages = plain(1, 2, 300).draw(&STYLE).unwrap();
        assert_eq!(count(&pages[0], [0, 1, 200]), 300 * 300);
    }

    #[test]
    fn cells_stand_in_their_row_and_column() {
        let page = &plain(2, 3, 64).draw(&STYLE).unwrap()[0];
        let first = |colour: [u8; 3]| page.enumerate_pixels().find(|(_, _, pixel)| pixel.0 == colour).unwrap();
        let (a, right, below) = (first([0, 0, 200]), first([0, 1, 200]), first([1, 0, 200]));
        assert!(right.0 > a.0 + 192 && right.1 == a.1 && below.0 == a.0 && below.1 > a.1 + 192);
    }

    #[test]
    fn large_grids_become_pages() {
        let style = GridStyle { largest_page: (900, 800), ..STYLE };
        let pages = plain(7, 9, 64).draw(&style).unwrap();
        assert_eq!(pages.len(), 3 * 3, "{:?}", pages[0].dimensions());
        assert!(pages.iter().all(|page| page.width() <= 900 && page.height() <= 800));
        let shown: usize =
            pages.iter().map(|page| page.pixels().filter(|pixel| pixel.0[2] == 200 && pixel.0[0] < 9).count()).sum();
        assert_eq!(shown, 7 * 9 * 192 * 192);
        // A cell larger than the page still gets one.
        assert_eq!(plain(2, 1, 1000).draw(&style).unwrap().len(), 2);
    }

    #[test]
    fn words_on_a_narrow_grid_wrap_and_are_not_cut() {
        let mut grid = plain(1, 1, 64);
        let style = GridStyle { least_cell: 64, ..STYLE };
        let short = grid.draw(&style).unwrap()[0].height();
        let long = "a photograph of an astronaut who rides a horse over the moon, in the style of an old engraving";
        grid.title = format!("{long}\n{long}");
        grid.columns.labels = vec![long.into()];
        let layout = Layout::of(&grid, &style);
        for text in [&layout.column_labels[0], &layout.column_name, &layout.row_name] {
            assert!(!text.contains('…'), "{text}");
        }
        assert!(layout.column_name.lines().count() == 1 && layout.row_name.lines().count() > 1, "{}", layout.row_name);
        let page = &grid.draw(&style).unwrap()[0];
        // A title of 200 letters makes the page wider, so that it is no tower; it is whole.
        let (title, width) = layout.titled(&grid.title, layout.left() + 64 + layout.gap);
        assert_eq!(title.replace('\n', " "), format!("{long} {long}"));
        assert!((2..=EASY_LINES + 1).contains(&title.lines().count()), "{title}");
        assert!(page.width() == width && width <= (layout.title.px * WIDEST_TITLE) as u32, "{width}");
        assert!(page.height() > short + layout.title.line_height(), "{short} {}", page.height());
        assert_eq!(count(page, [0, 0, 200]), 64 * 64);
    }

    #[test]
    fn what_is_missing_is_an_empty_box_with_a_note() {
        let mut grid = plain(1, 2, 64);
        let box_only = |note: &str, grid: &mut Grid| {
            grid.cells[1] = GridCell::Missing(note.into());
            grid.draw(&STYLE).unwrap().remove(0)
        };
        let (silent, noted) = (box_only("", &mut grid), box_only("not run yet: out of memory", &mut grid));
        assert_eq!(silent.dimensions(), noted.dimensions());
        let differing = silent.pixels().zip(noted.pixels()).filter(|(a, b)| a != b).count();
        assert!((100..5000).contains(&differing), "{differing}");
        // A grid with nothing in it at all can be drawn, too.
        grid.cells = vec![GridCell::Missing("no".into()); 2];
        assert_eq!(grid.draw(&STYLE).unwrap()[0].dimensions(), noted.dimensions());
    }

    #[test]
    fn pictures_of_several_sizes_share_a_cell_size() {
        let mut grid = plain(1, 2, 64);
        grid.cells[1] = GridCell::Picture(RgbImage::from_pixel(32, 16, Rgb([9, 9, 200])));
        let page = &grid.draw(&STYLE).unwrap()[0];
        assert_eq!((count(page, [0, 0, 200]), count(page, [9, 9, 200])), (192 * 192, 192 * 96));
    }

    #[test]
    fn a_grid_with_a_hole_is_refused() {
        let mut grid = plain(2, 2, 8);
        grid.cells.pop();
        assert_eq!(grid.draw(&STYLE).unwrap_err().to_string(), "a grid of 2 × 2 cannot be made of 3 pictures");
        assert!(Grid::default().draw(&STYLE).is_err());
    }
}
