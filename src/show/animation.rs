//! A run in motion: its decoded pictures, its predictions, or its latents as colours.

use crate::error::{Error, IoContext, Result};
use crate::export::animate::Pace;
use crate::export::encode::AnimationFormat;
use crate::export::latents::{self, PaintSettings};
use crate::export::panels::{Look, Panels, Shown, Size};
use crate::export::{Outputs, video};
use crate::files::atomic::{make_folder_of, write_atomically};
use crate::show::display;
use crate::trace::reader::Run;
use crate::viz::latents::ChannelTriple;
use std::fmt;
use std::path::Path;

/// The square in which a notebook shows an animation, in pixels.
const SHOWN: u32 = 256;

/// An animation of a run, made when it is shown or saved.
#[derive(Debug, Clone)]
pub struct Animation {
    run: Run,
    shown: Shown,
    pace: Pace,
    channels: ChannelTriple,
    size: Option<u32>,
}

impl Animation {
    /// Of a run's `images`, `latents` or `predicted` originals.
    ///
    /// # Errors
    /// When there is no such kind, or the run has not recorded it.
    pub(super) fn of(run: &Run, name: &str) -> Result<Animation> {
        let shown = if name == "predicted" { Shown::X0 } else { name.parse()? };
        Panels::open(&[run], &[shown], 0, Look { size: Size::Native, captions: false })?;
        let (pace, channels) = (Pace::default(), ChannelTriple::default());
        Ok(Animation { run: run.clone(), shown, pace, channels, size: None })
    }

    /// Runs at so many frames per second; 5 unless it is said.
    #[must_use]
    pub fn fps(mut self, fps: f64) -> Animation {
        self.pace.fps = fps;
        self
    }

    /// Shows these channels of latents as red, green and blue; the first three unless it is said.
    #[must_use]
    pub fn channels(mut self, channels: [usize; 3]) -> Animation {
        self.channels = ChannelTriple(channels);
        self
    }

    /// Takes every Nth step, and the last.
    #[must_use]
    pub fn every(mut self, n: usize) -> Animation {
        self.pace.every = n;
        self
    }

    /// Magnifies into a square of so many pixels; 512 in a file and 256 in a notebook unless it is said.
    #[must_use]
    pub fn size(mut self, side: u32) -> Animation {
        self.size = Some(side);
        self
    }

    /// Writes it as its name ends, into a folder that is made if need be: `.mp4`, `.gif`, `.webp`, or `.png` for an animated PNG.
    ///
    /// # Errors
    /// When the ending is none of these, when it cannot be drawn or the file not be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let format = match path.extension().and_then(|ending| ending.to_str()) {
            Some("mp4") => AnimationFormat::Mp4,
            Some("gif") => AnimationFormat::Gif,
            Some("webp") => AnimationFormat::WebP,
            Some("png" | "apng") => AnimationFormat::Apng,
            _ => {
                let message = format!("`{}` does not end like an animation", path.display());
                return Err(Error::invalid(message, "use .mp4, .gif, .webp or .png"));
            }
        };
        make_folder_of(path)?;
        write_atomically(path, &self.bytes(format, self.size.unwrap_or(latents::DEFAULT_SIZE))?)
    }

    /// The file of this format.
    fn bytes(&self, format: AnimationFormat, side: u32) -> Result<Vec<u8>> {
        let folder = tempfile::tempdir().at("write in", &std::env::temp_dir())?;
        let mut outputs = Outputs::in_folder(folder.path())?;
        let (pace, formats) = (self.pace, vec![format]);
        match self.shown {
            Shown::Latents => {
                let settings = PaintSettings { channels: self.channels, ..PaintSettings::default() };
                let options = latents::Options { settings, pace, formats, size: side, captions: true };
                latents::make(&self.run, &options, &mut outputs)?;
            }
            shown => {
                let look = Look { size: Size::asked(Some(side))?, captions: true };
                let options = video::Options { shown: vec![shown], pace, formats, look, batch: 0 };
                video::make(&[&self.run], &options, &mut outputs)?;
            }
        }
        let is_it = |path: &&std::path::PathBuf| path.extension().is_some_and(|ending| ending == format.extension());
        let file = outputs.written().iter().find(is_it);
        let file = file.ok_or_else(|| Error::Broken(format!("no {} was made", format.extension())))?;
        std::fs::read(file).at("read", file)
    }

    /// Shows it as a GIF where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        let gif = self.bytes(AnimationFormat::Gif, self.size.unwrap_or(SHOWN));
        display::bytes("image/gif", gif, &self.to_string());
    }
}

/// `animation of images, 5 frames per second`.
impl fmt::Display for Animation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "animation of {}, {} frames per second", self.shown, self.pace.fps)
    }
}
