//! The cells of a patching: made from two runs, kept on disk one by one.
//!
//! Enters: two runs, their model, sites and windows. Leaves: each cell's numbers and its picture, and those that are there.

use crate::cli::plan::ablation::Ablation;
use crate::cli::report::Talk;
use crate::draw::model::Model;
use crate::edit::selector::Ranges;
use crate::error::{Error, Result};
use crate::eval::ablation::{Measured, Unedited};
use crate::eval::judge::Judge;
use crate::files::atomic::write_atomically;
use crate::files::pictures;
use crate::model::fingerprint;
use crate::record::plan::{Decode, Quantity};
use crate::trace::metadata::png_bytes;
use crate::trace::reader::Run;
use image::RgbImage;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Cells by row and window, each with its picture.
pub type Cells = BTreeMap<(usize, usize), (Cell, RgbImage)>;

/// The numbers, each with what it is.
pub const MEASURES: [(&str, &str); 5] = [
    (
        "latents",
        "recovered of the last latents: 1 − ‖x − x_clean‖ / ‖x_corrupted − x_clean‖; 1 is the clean run, 0 nothing",
    ),
    ("direct", "the same of noise_text at the window's first step alone, before it feeds back"),
    ("psnr", "PSNR of the finished picture to the clean run's, in dB"),
    ("object", "the judge's probability of the clean prompt's object, less that in the clean run"),
    ("background", "the share of the border in the clean prompt's background colour, less that in the clean run"),
];

/// What was measured of a cell; a number that means nothing there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cell {
    pub row: String,
    pub window: String,
    pub edit: String,
    pub latents: Option<f64>,
    pub direct: Option<f64>,
    pub psnr: Option<f64>,
    pub object: Option<f64>,
    pub background: Option<f64>,
}

impl Cell {
    /// A measure's number, if it has one.
    pub fn get(&self, measure: &str) -> Option<f64> {
        match measure {
            "latents" => self.latents,
            "direct" => self.direct,
            "psnr" => self.psnr,
            "object" => self.object,
            _ => self.background,
        }
    }
}

/// What cells are made from.
pub struct Patching {
    /// The run that is copied from.
    pub clean: Run,
    /// The run that it is copied into.
    pub corrupted: Run,
    /// The model of both.
    pub model: Model,
    /// Who judges the pictures, if anybody.
    pub judge: Option<Judge>,
    /// What the clean run's picture is compared by.
    pub unedited: Unedited,
    /// What the two runs are known by.
    pub sums: [String; 2],
    /// The folder of the cells.
    pub cells: PathBuf,
    /// The sites and windows.
    pub table: Ablation,
    /// The first step of the windows that were asked for.
    pub firsts: RefCell<BTreeMap<usize, usize>>,
}

impl Patching {
    /// Makes what is missing of the part `k` of `n`, counted from 1.
    ///
    /// # Errors
    /// When one cannot be made or written.
    pub fn make_part(&self, (k, n): (usize, usize), talk: Talk) -> Result<()> {
        let (rows, windows) = (self.table.rows.len(), self.table.windows.len());
        let (mut made, mut there, mut others) = (0, 0, 0);
        for row in 0..rows {
            for window in 0..windows {
                let count = match (self.read(row, window)?, (row * windows + window) % n == k - 1) {
                    (Some(_), _) => &mut there,
                    (None, false) => &mut others,
                    (None, true) => {
                        self.make(row, window)?;
                        &mut made
                    }
                };
                *count += 1;
            }
            talk.say(format!("{} of {} cells: {}", (row + 1) * windows, rows * windows, self.table.rows[row].0));
        }
        let rest = if others > 0 { format!(", {others} are left to the other parts") } else { String::new() };
        talk.say(format!("{made} made, {there} were there{rest}"));
        Ok(())
    }

    /// The cells that are there.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn there(&self) -> Result<Cells> {
        let mut all = Cells::new();
        for row in 0..self.table.rows.len() {
            for window in 0..self.table.windows.len() {
                all.extend(self.read(row, window)?.map(|cell| ((row, window), cell)));
            }
        }
        Ok(all)
    }

    /// A cell's numbers and its picture on disk.
    fn files(&self, row: usize, window: usize) -> [PathBuf; 2] {
        let judged = if self.judge.is_some() { "judged" } else { "" };
        let edit = self.table.edit(row, window);
        let name = fingerprint::of_bytes(format!("{:?} {edit} {judged}", self.sums).as_bytes());
        ["json", "png"].map(|ending| self.cells.join(format!("{}.{ending}", &name[..16])))
    }

    /// A cell, if it is on disk.
    fn read(&self, row: usize, window: usize) -> Result<Option<(Cell, RgbImage)>> {
        let [numbers, drawn] = self.files(row, window);
        let cell = std::fs::read(&numbers).ok().and_then(|text| serde_json::from_slice(&text).ok());
        cell.map(|cell| Ok((cell, pictures::open(&drawn, "picture")?.into_rgb8()))).transpose()
    }

    /// The first step of a window, which is the same for all rows.
    fn first(&self, row: usize, window: usize) -> Result<usize> {
        if let Some(first) = self.firsts.borrow().get(&window) {
            return Ok(*first);
        }
        let whole = self.model.branch(&self.corrupted, 0)?.donor(&self.clean).edit(self.table.edit(row, window));
        let planned = whole.plan()?.edits.last().map(|edit| edit.steps.clone()).unwrap_or_default();
        let steps: Ranges = planned.parse()?;
        let first = (1..=self.corrupted.record().last_step()).find(|step| steps.contains(*step)).unwrap_or(1);
        self.firsts.borrow_mut().insert(window, first);
        Ok(first)
    }

    /// Makes a cell. Its numbers are written last: a cell that has them is whole.
    fn make(&self, row: usize, window: usize) -> Result<()> {
        let (first, edit) = (self.first(row, window)?, self.table.edit(row, window));
        let drawing = self.model.branch(&self.corrupted, first - 1)?.donor(&self.clean).edit(edit.as_str());
        let drawing = drawing.record([Quantity::Latents, Quantity::NoiseText]).decode(Decode::Final);
        let run = drawing.run()?;
        let last = run.record().last_step();
        let Measured { psnr, object, background, .. } = self.unedited.measure(&run, self.judge.as_ref())?;
        let cell = Cell {
            row: self.table.rows[row].0.clone(),
            window: self.table.windows[window].clone(),
            edit,
            latents: self.recovered(&run, last, Quantity::Latents)?,
            direct: self.recovered(&run, first, Quantity::NoiseText)?,
            psnr: Some(psnr),
            object,
            background,
        };
        let [numbers, drawn] = self.files(row, window);
        write_atomically(&drawn, &png_bytes(&run.final_picture(0)?.unwrap_or_default())?)?;
        let bad = |error| Error::bad_file(&numbers, "cell", error);
        write_atomically(&numbers, &serde_json::to_vec_pretty(&cell).map_err(bad)?)
    }

    /// How much of the way from the corrupted run to the clean one a quantity has come; none where it is not recorded in
    /// one of them, or the two are the same.
    fn recovered(&self, run: &Run, step: usize, what: Quantity) -> Result<Option<f64>> {
        let tensor = |run: &Run| run.tensors(step, what);
        let (Some(now), Some(clean), Some(corrupted)) = (tensor(run)?, tensor(&self.clean)?, tensor(&self.corrupted)?)
        else {
            return Ok(None);
        };
        if now.dim() != clean.dim() || clean.dim() != corrupted.dim() {
            return Ok(None);
        }
        let apart = |a: &ndarray::Array4<f32>| {
            let square = |(a, b): (&f32, &f32)| f64::from(a - b).powi(2);
            a.iter().zip(&clean).map(square).sum::<f64>().sqrt()
        };
        let all = apart(&corrupted);
        Ok((all > 0.0).then(|| 1.0 - apart(&now) / all))
    }
}
