//! Figures in the hand: saving and showing, and the figure of several runs.

use crate::error::{Error, Result};
use crate::export::figure::{Figure, Format};
use crate::export::plots::Plot;
use crate::files::atomic::{make_folder_of, write_atomically};
use crate::show::display;
use crate::trace::reader::Run;
use std::fmt;
use std::path::Path;

impl Figure {
    /// Writes it as its name ends, into a folder that is made if need be: `.png`, `.svg`, `.pdf`, or `.csv` and `.json` for the numbers.
    ///
    /// # Errors
    /// When the ending is none of these, when it cannot be drawn or the file not be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let known = Format::ALL.into_iter().find(|format| format.extension() == ending);
        let format = known.ok_or_else(|| {
            let message = format!("`{}` does not end like a figure", path.display());
            Error::invalid(message, "use .png, .svg, .pdf, .csv or .json")
        })?;
        make_folder_of(path)?;
        write_atomically(path, &format.bytes(self)?)
    }

    /// Shows it where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        display::bytes("image/png", self.png(), &self.to_string());
    }
}

/// Its title, and the name of each panel.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let panels: Vec<&str> = self.panels.iter().map(|panel| panel.y.as_str()).collect();
        write!(f, "{}: {}", self.title, panels.join("; "))
    }
}

/// The figure of several runs, by its name: `schedule`, `norms`, `guidance`, `change`, `distance`, `plane`, `pca`,
/// `cosines`, `spectrum`, `bands`, `blocks` or `attention`.
///
/// # Errors
/// When there is no such figure, when no run has recorded what it shows, or there are too many runs.
pub fn plot_runs(name: &str, runs: &[&Run]) -> Result<Figure> {
    name.parse::<Plot>()?.figure(runs, 0)
}
