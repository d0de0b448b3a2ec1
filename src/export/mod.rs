//! Exporters: from the record of a run to what people look at.
//!
//! Enters: a [`Run`], in whatever state it is. Leaves: files, through [`Outputs`], which checks the folder before any work
//! and remembers what was written. Nothing here knows a model or libtorch. This file is the only registry; an exporter
//! is one file with a function like [`Exporter::make`], and one line here. An exporter with settings of its own has a
//! verb of its own too; the registry runs it with the defaults.

pub mod animate;
pub mod asked;
pub mod attention;
pub mod attribution;
pub mod diff;
pub mod diff_maps;
pub mod features;
pub mod figure;
pub mod filmstrip;
mod footer;
pub mod frames;
pub mod geometry;
pub mod imagefolder;
pub mod latents;
pub mod look;
pub mod manager;
pub mod measures;
pub mod moments;
pub mod panels;
pub mod plots;
pub mod preview;
pub mod report;
pub mod schedules;
pub mod settings;
mod sizes;
pub mod tensorboard;
pub mod video;
pub(crate) mod words;

use crate::error::{Error, Result};
use crate::trace::reader::Run;
pub use manager::Outputs;
pub use sdviz_base::encode;

/// One line of the registry.
#[derive(Debug, Clone, Copy)]
pub struct Exporter {
    /// Its name, as `sdviz export RUN NAME` has it.
    pub name: &'static str,
    /// What it makes, in a line.
    pub about: &'static str,
    /// Makes the files with the default settings, one [`Outputs::write`] or [`Outputs::stream`] each.
    ///
    /// Errors: [`Error::NotRecorded`] when the run holds nothing it could use, which `--all` passes over. A part that
    /// is missing goes to [`Outputs::leave_out`], and the rest is made.
    pub make: fn(&Run, &mut Outputs) -> Result<()>,
}

/// The exporters, in the order in which `--all` runs them.
pub const EXPORTERS: &[Exporter] = &[
    Exporter {
        name: "plot",
        about: "schedule, norms, guidance, change, distance and recorded attention over the steps, as PNG",
        make: plots::export,
    },
    Exporter {
        name: "video",
        about: "the decoded pictures as MP4 and GIF, also beside the predicted originals where those were decoded",
        make: video::export,
    },
    Exporter {
        name: "latents",
        about: "channels 0, 1, 2 as colours, as MP4, GIF and APNG; a sheet of all channels and mappings",
        make: latents::export,
    },
    Exporter {
        name: "preview",
        about: "a linear map from latents to colours, fitted on the run, beside the decoder, as MP4",
        make: preview::export,
    },
    Exporter {
        name: "attention",
        about: "recorded attention: the words of the prompt over the picture, as a sheet, GIF and MP4",
        make: attention::export,
    },
    Exporter { name: "filmstrip", about: "eight steps on one picture", make: filmstrip::export },
    Exporter { name: "frames", about: "the decoded pictures as numbered PNGs", make: frames::export },
    Exporter {
        name: "tensorboard",
        about: "curves, pictures, prompt and settings as TensorBoard's event files",
        make: tensorboard::export,
    },
    Exporter {
        name: "imagefolder",
        about: "the pictures as a data set in Hugging Face's imagefolder layout; also of a sweep",
        make: imagefolder::export,
    },
    Exporter { name: "report", about: "one page to explore the run in, which needs no network", make: report::export },
];

/// The exporter of this name.
///
/// # Errors
/// [`Error::Unknown`], with the nearest name.
pub fn exporter(name: &str) -> Result<&'static Exporter> {
    let known = EXPORTERS.iter().map(|e| e.name);
    EXPORTERS.iter().find(|e| e.name == name).ok_or_else(|| Error::unknown("exporter", name, known))
}
