//! The report: one HTML file that shows a run, several, or a sweep, without a server or a network.
//!
//! Enters: runs, and how large the file may become. Leaves: the page's front end (`web/`, built and committed) with what
//! it needs of the records as inert blocks: `web/README.md` has their form. `describe` is what the page and the server
//! both say of a run; `budget` decides what is kept how; `tensors`, `attention` and `pictures` pack it; `page` writes the file.

mod attention;
mod budget;
mod describe;
mod page;
mod pictures;
mod tensors;

pub use attention::{KeptAttention, KeptHeads, KeptShare, KeptSize, KeptWord, heads_of, maps_of};
pub use describe::{
    Curves, Kept, KeptPicture, KeptPictures, RangesOf, Reduction, ReductionKind, RunData, curves, describe,
};
pub use page::{PAGE_SCRIPT, PAGE_STYLE};

use super::Outputs;
use crate::error::{Error, Result};
use crate::trace::reader::Run;
use budget::Block;
use serde::Serialize;

/// The report's file in a run directory.
pub const REPORT_FILE: &str = "index.html";
/// What a report is kept within unless something else is asked for, in bytes: it goes through most mail servers.
pub const DEFAULT_LIMIT: u64 = 10_000_000;
/// The largest number of runs in one page.
pub const MOST_RUNS: usize = 200;

/// How a report is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportOptions {
    /// The most bytes that the file may have; none keeps everything as it was recorded.
    pub limit: Option<u64>,
    /// Which picture of each batch.
    pub batch: usize,
}

impl Default for ReportOptions {
    fn default() -> Self {
        ReportOptions { limit: Some(DEFAULT_LIMIT), batch: 0 }
    }
}

/// A run of a report, and what it is called in it.
#[derive(Debug, Clone)]
pub struct NamedRun {
    /// What the page calls it: its folder's name, or what sets it apart in a sweep.
    pub name: String,
    /// The run.
    pub run: Run,
}

/// A sweep as a page shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepData {
    /// What its folder is called.
    pub name: String,
    /// What varies.
    pub axes: Vec<SweepAxis>,
    /// The cells.
    pub cells: Vec<SweepCell>,
}

/// An axis of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepAxis {
    /// The field's name.
    pub name: String,
    /// What stands on the grid.
    pub title: String,
    /// Its values as they are written.
    pub labels: Vec<String>,
}

/// A cell of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepCell {
    /// The cell's folder.
    pub id: String,
    /// Its place on each axis.
    pub at: Vec<usize>,
    /// The run's place in the page, as its id; none while it is not made.
    pub run: Option<String>,
}

/// Everything that a page shows, but tensors and pictures.
#[derive(Debug, Serialize)]
struct Report<'a> {
    format: u32,
    runs: Vec<RunData>,
    sweep: Option<&'a SweepData>,
    budget: Option<Spent>,
}

/// What the page's data came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// The most bytes that were allowed.
    pub limit: u64,
    /// Bytes of attention, as they stand in the file.
    pub attention: u64,
    /// Bytes of tensors.
    pub tensors: u64,
    /// Bytes of pictures.
    pub pictures: u64,
}

/// A finished page.
#[derive(Debug)]
pub struct Page {
    /// The file.
    pub html: Vec<u8>,
    /// What was reduced to keep it small, of any run, in words; empty if nothing was.
    pub reduced: Vec<String>,
}

/// Makes the page of some runs.
///
/// # Errors
/// When there is no run or there are too many, when a batch has no such picture, when a step cannot be read, or when not
/// even the least that a page holds fits into the limit.
pub fn page(runs: &[NamedRun], sweep: Option<&SweepData>, options: ReportOptions) -> Result<Page> {
    if runs.is_empty() || runs.len() > MOST_RUNS {
        let hint = format!("a page holds 1 to {MOST_RUNS} runs");
        return Err(Error::invalid(format!("a report of {} runs", runs.len()), hint));
    }
    let mut described = vec![];
    for (number, named) in runs.iter().enumerate() {
        described.push(describe(&named.run, &number.to_string(), &named.name, options.batch)?);
    }
    let fixed = page::fixed_size(&described, sweep)?;
    let share = options.limit.map(|limit| limit.saturating_sub(fixed) / runs.len() as u64);
    let mut blocks: Vec<Block> = vec![];
    let mut spent = Spent { limit: options.limit.unwrap_or(0), ..Spent::default() };
    for (named, data) in runs.iter().zip(&mut described) {
        let kept = budget::keep(&named.run, data, share)?;
        spent.attention += kept.attention;
        spent.tensors += kept.tensors;
        spent.pictures += kept.pictures;
        blocks.extend(kept.blocks);
    }
    let mut reduced: Vec<String> = described.iter().flat_map(|run| &run.reduced).map(Reduction::to_string).collect();
    reduced.sort_unstable();
    reduced.dedup();
    let title = title(&described, sweep);
    let budget = options.limit.map(|_| spent);
    let html = page::write(&title, &Report { format: 1, runs: described, sweep, budget }, &blocks)?;
    match options.limit {
        Some(limit) if html.len() as u64 > limit => Err(Error::invalid(
            format!("the report has {} bytes at the least, and may have {limit}", html.len()),
            "allow more with `--budget MB`, or name fewer runs",
        )),
        _ => Ok(Page { html, reduced }),
    }
}

/// What the browser's tab says.
fn title(runs: &[RunData], sweep: Option<&SweepData>) -> String {
    match (sweep, runs) {
        (Some(sweep), _) => format!("{} – sdviz", sweep.name),
        (None, [run]) => format!("{} – sdviz", super::settings::shortened(&run.record.plan.prompt, 60)),
        (None, runs) => {
            let names: Vec<&str> = runs.iter().take(4).map(|run| run.name.as_str()).collect();
            format!("{} – sdviz", names.join(", "))
        }
    }
}

/// The name of a run's folder, for the page.
pub fn folder_name(dir: &std::path::Path) -> String {
    let whole = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    whole.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// Makes `report.html` with the default settings, for the registry.
///
/// # Errors
/// As [`page`].
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    let named = NamedRun { name: folder_name(run.name()), run: run.clone() };
    let page = page(&[named], None, ReportOptions::default())?;
    outputs.write("report.html", &page.html)?;
    remark(&page, "report.html").into_iter().for_each(|remark| outputs.remark(remark));
    Ok(())
}

/// What to say of a page in which something was reduced.
pub fn remark(page: &Page, file: &str) -> Option<String> {
    (!page.reduced.is_empty()).then(|| format!("`{file}`: {}; `--full` keeps everything", page.reduced.join("; ")))
}
