//! Pictures of a run side by side: decoded latents, decoded predictions, latents as colours, of one run or of several.
//!
//! Enters: runs, and what to show of them. Leaves: one picture per step, all of one size. A step that a panel has no
//! picture of shows the one before, so that runs of different lengths stay in step; before a panel's first picture it
//! is empty. One picture per panel is in memory at a time.

use super::footer::{FOOTER_PROMPT, with_footer_of_panels};
use super::latents::{self, PaintSettings, Painter};
use super::words::PREVIEW_DECODER;
use super::{settings, sizes, words};
use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use crate::viz::caption::{CaptionStyle, with_caption};
use crate::viz::pixels::{centred, fit, magnification, magnify, side_by_side};
use crate::viz::text::Align;
use image::{Rgb, RgbImage};
use std::fmt;
use std::str::FromStr;

/// Behind and between the pictures: that of the captions.
pub const DARK: Rgb<u8> = Rgb([17; 3]);
/// Pixels between two panels; even, as video likes it.
const GAP: u32 = 8;
/// The most lines that the name of a panel takes.
const LABEL_LINES: u32 = 3;

/// What a panel shows of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The latents, decoded.
    Images,
    /// The predicted original, decoded.
    X0,
    /// Three channels of the latents as colours.
    Latents,
}

impl Shown {
    /// All of them.
    pub const ALL: [Shown; 3] = [Shown::Images, Shown::X0, Shown::Latents];

    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Shown::Images => "images",
            Shown::X0 => "x0",
            Shown::Latents => "latents",
        }
    }

    /// The recorded quantity that is shown.
    pub fn quantity(self) -> Quantity {
        match self {
            Shown::X0 => Quantity::PredictedOriginal,
            Shown::Images | Shown::Latents => Quantity::Latents,
        }
    }

    /// What stands below a panel where there are several.
    fn label(self) -> &'static str {
        match self {
            Shown::Images => "x, decoded",
            Shown::X0 => "x₀ as predicted",
            Shown::Latents => "latents",
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Shown {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let name = name.trim();
        let hit = Shown::ALL.into_iter().find(|shown| shown.name() == name);
        hit.ok_or_else(|| Error::unknown("kind of picture", name, Shown::ALL.map(Shown::name)))
    }
}

/// One picture among those of a frame.
#[derive(Debug)]
struct Panel<'a> {
    run: &'a Run,
    shown: Shown,
    batch: usize,
    label: String,
    steps: Vec<usize>,
    painter: Option<Painter>,
}

impl Panel<'_> {
    /// The step that is shown at `step`: the latest one not after it.
    fn latest(&self, step: usize) -> Option<usize> {
        let after = self.steps.partition_point(|&own| own <= step);
        self.steps.get(after.checked_sub(1)?).copied()
    }

    fn picture(&self, step: usize) -> Result<RgbImage> {
        if let Some(painter) = &self.painter {
            return Ok(painter.paint(self.run, step)?.0);
        }
        let picture = self.run.picture(step, self.shown.quantity(), self.batch)?;
        picture.map(|picture| sizes::picture(self.run, step, picture)).ok_or_else(|| Error::NotRecorded {
            message: format!("the picture of step {step} of `{}` has gone", self.run.name().display()),
            hint: "is another program clearing the run's folder?".into(),
        })
    }
}

/// The panels of an animation, and how they are laid out.
#[derive(Debug)]
pub struct Panels<'a> {
    panels: Vec<Panel<'a>>,
    cell: (u32, u32),
    captions: Option<CaptionStyle>,
    /// Below all of them: what made them; empty for the decoded pictures of one run.
    footer: String,
}

/// What made the panels: the settings that all of them share, and what is seen where no label says it: the predictions,
/// which channels.
fn footer(runs: &[&Run], shown: &[Shown], painted: &Option<(Painter, Vec<Vec<usize>>)>, batch: usize) -> String {
    let channels = painted.as_ref().map(|(painter, _)| painter.describe());
    let alone = (shown == [Shown::X0]).then(|| Shown::X0.label().to_string());
    let settings = settings::common(runs, batch, FOOTER_PROMPT);
    let parts = [alone, Some(settings), channels].into_iter().flatten().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(" · ")
}

/// How large pictures become. They are magnified a whole number of times, with hard pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Size {
    /// Small ones as large as a square of 512 pixels holds; larger ones stay as they are.
    #[default]
    Watchable,
    /// As large as a square of so many pixels holds; larger ones are made smaller.
    Within(u32),
    /// As they are.
    Native,
}

impl Size {
    /// From the side of the square, if one is asked for.
    ///
    /// # Errors
    /// When it is 0 or more than 8192 pixels.
    pub fn asked(side: Option<u32>) -> Result<Size> {
        let Some(side) = side else { return Ok(Size::Watchable) };
        latents::check_size(side)?;
        Ok(Size::Within(side))
    }

    /// The picture in this size.
    pub fn apply(self, picture: &RgbImage) -> RgbImage {
        let square = (latents::DEFAULT_SIZE, latents::DEFAULT_SIZE);
        match self {
            Size::Watchable => magnify(picture, magnification(picture.dimensions(), square)),
            Size::Within(side) => fit(picture, (side, side)),
            Size::Native => picture.clone(),
        }
    }
}

/// How the panels look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// How large each picture becomes.
    pub size: Size,
    /// Write step, timestep and σ below, and what it is where there are several panels.
    pub captions: bool,
}

impl<'a> Panels<'a> {
    /// A panel of each of `shown` for each of `runs`, for picture `batch`.
    ///
    /// # Errors
    /// [`Error::NotRecorded`] when a run has nothing of what is asked; when a file cannot be read.
    pub fn open(runs: &[&'a Run], shown: &[Shown], batch: usize, look: Look) -> Result<Panels<'a>> {
        let names = settings::names(runs, batch);
        let mut painted = None;
        if shown.contains(&Shown::Latents) {
            painted = Some(Painter::prepare(runs, PaintSettings { batch, ..PaintSettings::default() })?);
        }
        let mut panels = vec![];
        for (place, (&run, name)) in runs.iter().zip(&names).enumerate() {
            for &shown in shown.iter() {
                let (steps, painter) = match (&painted, shown) {
                    (Some((painter, steps)), Shown::Latents) => (steps[place].clone(), Some(*painter)),
                    _ => (words::pictured(run, shown.quantity(), batch)?, None),
                };
                panels.push(Panel { run, shown, batch, label: name.clone(), steps, painter });
            }
        }
        let mut cell = (1, 1);
        for panel in &mut panels {
            let first = panel.picture(panel.steps.first().copied().unwrap_or(0))?;
            let (width, height) = look.size.apply(&first).dimensions();
            cell = (cell.0.max(width), cell.1.max(height));
            let parts =
                [(runs.len() > 1).then_some(panel.label.as_str()), (shown.len() > 1).then(|| panel.shown.label())];
            panel.label = parts.into_iter().flatten().collect::<Vec<_>>().join(" · ");
        }
        let mut style = CaptionStyle::for_width(cell.0);
        if panels.len() > 1 {
            let room = cell.0.saturating_sub(2 * style.padding);
            let lines = |panel: &Panel| style.text.wrap(&panel.label, room).len() as u32;
            style.lines = 1 + panels.iter().map(lines).max().unwrap_or(1).clamp(1, LABEL_LINES);
        }
        // Decoded pictures of one run speak for themselves.
        let footer = if shown == [Shown::Images] && runs.len() == 1 {
            String::new()
        } else {
            footer(runs, shown, &painted, batch)
        };
        Ok(Panels { panels, cell, captions: look.captions.then_some(style), footer })
    }

    /// The steps that at least one panel has, in order.
    pub fn steps(&self) -> Vec<usize> {
        let mut steps: Vec<usize> = self.panels.iter().flat_map(|panel| panel.steps.iter().copied()).collect();
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// Remarks on runs that are not complete, and on what the colours of latents mean.
    pub fn remarks(&self) -> Vec<String> {
        let note = |panel: &Panel| words::unfinished(panel.run, panel.steps.last().copied()?);
        let mut remarks: Vec<String> = self.panels.iter().filter_map(note).collect();
        remarks.dedup();
        remarks.extend(self.panels.iter().find_map(|panel| panel.painter).map(|painter| painter.describe()));
        remarks
    }

    /// The frame of a step.
    ///
    /// # Errors
    /// When a picture or a step cannot be read.
    pub fn draw(&self, step: usize) -> Result<RgbImage> {
        let parts: Result<Vec<RgbImage>> = self.panels.iter().map(|panel| self.part(panel, step)).collect();
        let mut parts = parts?;
        let frame = if parts.len() == 1 { parts.remove(0) } else { side_by_side(&parts, GAP, DARK) };
        Ok(if self.captions.is_some() { with_footer_of_panels(&frame, &self.footer, self.cell.0) } else { frame })
    }

    fn part(&self, panel: &Panel, step: usize) -> Result<RgbImage> {
        let own = panel.latest(step);
        let picture = match own {
            Some(own) => {
                let picture = fit(&panel.picture(own)?, self.cell);
                if picture.dimensions() == self.cell { picture } else { centred(&picture, self.cell, DARK) }
            }
            None => self.empty(),
        };
        let Some(style) = &self.captions else { return Ok(picture) };
        let what = panel.shown.quantity();
        let numbers = own.map(|own| latents::caption(panel.run, own, what, style, picture.width())).unwrap_or_default();
        let room = picture.width().saturating_sub(2 * style.padding);
        let previewed =
            own.filter(|own| panel.shown != Shown::Latents && panel.run.record().previewed(*own, what).is_some());
        let more = format!("{numbers} · {PREVIEW_DECODER}");
        let numbers = if previewed.is_some() && style.text.width(&more) <= room { more } else { numbers };
        let caption = match style.lines {
            1 => numbers,
            lines => format!("{}\n{numbers}", style.text.wrap_to(&panel.label, room, lines as usize - 1)),
        };
        Ok(with_caption(&picture, &caption, style))
    }

    /// A panel before its first picture.
    fn empty(&self) -> RgbImage {
        let mut empty = RgbImage::from_pixel(self.cell.0, self.cell.1, DARK);
        if let Some(style) = &self.captions {
            let words = "not yet";
            let letters = crate::viz::text::TextStyle { colour: Rgb([150; 3]), ..style.text };
            let middle =
                (i64::from(self.cell.0 / 2), i64::from(self.cell.1 / 2) - i64::from(letters.line_height() / 2));
            letters.draw(&mut empty, middle, Align::Centre, words);
        }
        empty
    }
}
