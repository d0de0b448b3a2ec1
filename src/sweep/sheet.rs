//! The grid as still pictures, and the table of the cells: drawn from whatever is there.
//!
//! Enters: a sweep directory, and what to see of it. Leaves: PNG pages and `cells.csv`, the same bytes for the same
//! cells, in whatever order and by how many processes they were made.

use super::field::label;
use super::picture::{CellView, Shown, What, mapped_words, preview};
use super::record::SweepRecord;
use super::store::{State, Store};
use super::view::{self, Choice, Page};
use crate::error::{IoContext, Result};
use crate::files::atomic::write_atomically;
use crate::record::schema;
use crate::trace::metadata::png_bytes;
use crate::viz::grid::{Axis, Grid, GridCell, GridStyle};
use crate::viz::linear_map::LinearMap;
use crate::viz::pixels::{self, WHITE};
use image::RgbImage;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Pictures are shown at least this wide, so that they can be seen from the back of a room.
pub const LEAST_SIDE: u32 = 192;

/// Says how many pages of each kind were drawn where, so that the next grid can remove those it no longer has.
const PAGES_FILE: &str = ".pages.json";
/// More pages than this no grid has.
const MOST_PAGES: usize = 100_000;

/// How to lay a sweep out.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// Which cells stand where.
    pub choice: Choice,
    /// What each shows.
    pub what: What,
    /// Width of a cell's picture in pixels; without one, the picture's own, small ones magnified.
    pub cell_size: Option<u32>,
    /// Where the files go; without a folder, `exports/` in the sweep.
    pub out: Option<PathBuf>,
}

impl Default for Layout {
    fn default() -> Self {
        Layout { choice: Choice::default(), what: What::Final, cell_size: None, out: None }
    }
}

/// A page with its cells opened.
#[derive(Debug)]
pub struct Opened {
    /// Where the cells stand.
    pub page: Page,
    /// What is to be seen in their places.
    pub views: Vec<CellView>,
    /// The size of the largest picture in pixels: each cell's area.
    pub area: (u32, u32),
}

impl Layout {
    /// The folder for the files, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, store: &Store) -> Result<PathBuf> {
        let folder = self.out.clone().unwrap_or_else(|| store.dir().join("exports"));
        std::fs::create_dir_all(&folder).at("create", &folder)?;
        Ok(folder)
    }

    /// The pages with their cells.
    ///
    /// # Errors
    /// When the sweep has no such axes or cells.
    pub fn open(&self, store: &Store, record: &SweepRecord) -> Result<Vec<Opened>> {
        let open = |page: Page| {
            let id = |index: &Option<usize>| index.map(|i| record.cells[i].cell.as_str());
            let views: Vec<CellView> = page.cells.iter().map(|cell| CellView::of(store, id(cell))).collect();
            let sizes = shown(&views).map(|cell| cell.size());
            let area = sizes.fold((1, 1), |area, size| (area.0.max(size.0), area.1.max(size.1)));
            let area = if area == (1, 1) { (LEAST_SIDE, LEAST_SIDE) } else { area };
            Opened { page, views, area }
        };
        Ok(view::pages(record, &self.choice)?.into_iter().map(open).collect())
    }

    /// Removes the pages that an earlier grid of the same kind had more than this one's `pages`, and notes for the next
    /// time how many there are now. What the sweep does not know to have drawn stays.
    ///
    /// # Errors
    /// When a page cannot be removed.
    pub fn remove_stale(&self, store: &Store, extension: &str, pages: usize) -> Result<()> {
        let folder = self.folder(store)?;
        let names = |pages| (0..pages).map(move |index| format!("{}.{extension}", self.stem(index, pages)));
        let place = match &self.out {
            None => String::new(),
            Some(_) => std::fs::canonicalize(&folder).at("find", &folder)?.display().to_string(),
        };
        let (path, kind) = (store.dir().join(PAGES_FILE), format!("{}.{extension}", self.stem(0, 1)));
        let mut known: BTreeMap<String, BTreeMap<String, usize>> =
            std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let before = known.entry(place).or_default().insert(kind, pages).unwrap_or(0);
        if before == pages {
            return Ok(());
        }
        let kept: Vec<String> = names(pages).collect();
        for stale in names(before.min(MOST_PAGES)).filter(|name| !kept.contains(name)).map(|name| folder.join(name)) {
            match std::fs::remove_file(&stale) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).at("remove", &stale),
                _ => {}
            }
        }
        // A sweep that may only be read can be drawn elsewhere: then nothing is remembered.
        let _ = write_atomically(&path, serde_json::json!(known).to_string().as_bytes());
        Ok(())
    }

    /// The name of a page's file, without its extension: `grid`, `grid-x0-10`, with a number where there are several.
    pub fn stem(&self, index: usize, pages: usize) -> String {
        let what = match self.what {
            What::Final => String::new(),
            what => format!("-{}", what.to_string().replace('@', "-").replace('%', "pc")),
        };
        let number = if pages > 1 { format!("-{}", index + 1) } else { String::new() };
        format!("grid{what}{number}")
    }
}

/// The cells that can be shown.
pub fn shown(views: &[CellView]) -> impl Iterator<Item = &Shown> {
    views.iter().filter_map(|view| match view {
        CellView::Run(shown) => Some(shown.as_ref()),
        CellView::Words(_) => None,
    })
}

impl Opened {
    /// What stands above the grid: the prompt, and below it what the pictures show (`words`, which may be empty) and what
    /// else made them.
    pub fn heading(&self, words: &[String]) -> String {
        let made = made_with(&self.views);
        let rest = words.iter().chain([&self.page.common]).chain(&made).filter(|part| !part.is_empty());
        let rest = rest.map(String::as_str).collect::<Vec<_>>().join(" · ");
        match self.page.prompt.as_deref() {
            Some(prompt) if rest.is_empty() => prompt.into(),
            Some(prompt) => format!("{prompt}\n{rest}"),
            None => rest,
        }
    }

    /// A picture in the middle of the cell's area: its own size counts, so that a smaller run looks smaller; the small
    /// pictures of latents are magnified to it.
    pub fn place(&self, cell: &Shown, picture: &RgbImage, cell_size: Option<u32>) -> RgbImage {
        let placed = pixels::centred(&pixels::fit(picture, cell.size()), self.area, WHITE);
        match cell_size {
            Some(width) => {
                let height = (u64::from(width) * u64::from(self.area.1)).div_ceil(u64::from(self.area.0)) as u32;
                pixels::centred(&pixels::fit(&placed, (width, height)), (width, height), WHITE)
            }
            None => pixels::magnify(&placed, LEAST_SIDE.div_ceil(self.area.0.min(self.area.1))),
        }
    }

    /// The grid of these pictures.
    ///
    /// # Errors
    /// Those of the drawing.
    pub fn draw(&self, heading: String, cells: Vec<GridCell>) -> Result<Vec<RgbImage>> {
        let axis = |title: &str, labels: &[String]| Axis::new(title, labels.iter().map(|label| breakable(label)));
        let grid = Grid {
            title: heading,
            rows: axis(&self.page.row_title, &self.page.row_labels),
            columns: axis(&self.page.col_title, &self.page.col_labels),
            cells,
        };
        // Pages are made before, and pictures brought to their size.
        grid.draw(&GridStyle { least_cell: 1, largest_page: (u32::MAX, u32::MAX), ..GridStyle::default() })
    }
}

/// What all of these pictures were made with and no axis can say: the picture they began from, its mask, LoRAs and
/// embeddings.
fn made_with(views: &[CellView]) -> Vec<String> {
    let of = |cell: &Shown| {
        let (plan, model) = (&cell.run.record().plan, &cell.run.record().model);
        let from = plan.init_image.iter().map(|picture| format!("from {}", picture.file));
        let mask = plan.mask.iter().map(|mask| format!("mask {}", mask.file));
        let loras = model.loras.iter().map(|lora| format!("LoRA {} {}", lora.file, lora.weight));
        let words = model.embeddings.iter().map(|word| format!("embedding {}", word.name));
        from.chain(mask).chain(loras).chain(words).collect::<Vec<String>>()
    };
    let mut cells = shown(views).map(of);
    let mut common = cells.next().unwrap_or_default();
    cells.for_each(|cell| common.retain(|words| cell.contains(words)));
    common
}

/// A label that is too long for its place breaks between words: so a long name's parts become words.
fn breakable(label: &str) -> String {
    if label.chars().count() > 12 && !label.contains(' ') { label.replace('_', " ") } else { label.into() }
}

/// Draws the pages of a sweep. Gives the files. `progress` hears how many pictures of how many are drawn.
///
/// # Errors
/// When the sweep cannot be read, has no such axes or cells, or a file cannot be written.
pub fn write_pages(store: &Store, layout: &Layout, progress: &dyn Fn(usize, usize)) -> Result<Vec<PathBuf>> {
    let (_, record) = Store::open(store.dir())?;
    let pages = layout.open(store, &record)?;
    let preview = match layout.what {
        What::Final => None,
        What::Step(..) => preview(pages.iter().flat_map(|page| shown(&page.views)))?,
    };
    let folder = layout.folder(store)?;
    let (all, mut done) = (pages.iter().map(|page| page.views.len()).sum(), 0);
    let mut written = vec![];
    for (index, page) in pages.iter().enumerate() {
        let mut cells = vec![];
        for view in &page.views {
            cells.push(still(page, view, layout, preview.as_ref())?);
            done += 1;
            progress(done, all);
        }
        let mut words = vec![layout.what.words()];
        if let (Some(map), What::Step(quantity, _)) = (&preview, layout.what)
            && !all_of(&page.views, |cell| cell.is_decoded(layout.what))?
        {
            words.push(mapped_words(map, quantity));
        }
        let path = folder.join(format!("{}.png", layout.stem(index, pages.len())));
        for picture in page.draw(page.heading(&words), cells)?.iter().take(1) {
            write_atomically(&path, &png_bytes(picture)?)?;
        }
        written.push(path);
    }
    layout.remove_stale(store, "png", pages.len())?;
    Ok(written)
}

/// Whether something is true of all cells that can be shown.
pub fn all_of(views: &[CellView], is_true: impl Fn(&Shown) -> Result<bool>) -> Result<bool> {
    for cell in shown(views) {
        if !is_true(cell)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn still(page: &Opened, view: &CellView, layout: &Layout, preview: Option<&LinearMap>) -> Result<GridCell> {
    let shown = match view {
        CellView::Words(words) => return Ok(GridCell::Missing((*words).into())),
        CellView::Run(shown) => shown,
    };
    Ok(match shown.picture(layout.what, preview)? {
        Some(picture) => GridCell::Picture(page.place(shown, &picture, layout.cell_size)),
        None => GridCell::Missing("not recorded".into()),
    })
}

/// The titles and rows of the table of all cells: the axes' values, the cell's folder, how far it is, its picture.
pub fn table(store: &Store, record: &SweepRecord) -> (Vec<String>, Vec<Vec<String>>) {
    let titles = record.axes.iter().map(super::plan::Axis::title).chain(["cell", "state", "picture"]);
    let row = |cell: &super::record::CellRecord| {
        let picture = Path::new(super::store::CELLS_FOLDER).join(&cell.cell).join(schema::final_file(0));
        let (state, picture) = match store.state(&cell.cell) {
            State::Complete => ("complete".to_string(), picture.display().to_string()),
            State::Missing => ("not made yet".to_string(), String::new()),
            State::Failed(reason) => (format!("failed: {reason}"), String::new()),
        };
        let values = record.axes.iter().map(|axis| label(cell.at.get(&axis.name).unwrap_or(&Value::Null)));
        values.chain([cell.cell.clone(), state, picture]).collect()
    };
    (titles.map(String::from).collect(), record.cells.iter().map(row).collect())
}

/// Writes the table as `cells.csv`. Gives the file.
///
/// # Errors
/// When the sweep cannot be read or the file not be written.
pub fn write_table(store: &Store) -> Result<PathBuf> {
    let (_, record) = Store::open(store.dir())?;
    let (titles, rows) = table(store, &record);
    let quoted = |text: &String| {
        if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.clone() }
    };
    let line = |parts: &Vec<String>| parts.iter().map(quoted).collect::<Vec<_>>().join(",") + "\n";
    let text: String = std::iter::once(&titles).chain(&rows).map(line).collect();
    let path = Layout::default().folder(store)?.join("cells.csv");
    write_atomically(&path, text.as_bytes())?;
    Ok(path)
}
