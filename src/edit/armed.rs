//! An edit that knows its run: where, when and to whose rows it is done.

use super::Edit;
use super::copy::Copying;
use super::selector::Branches;
use super::site::Target;
use super::words::WordPlaces;
use crate::record::edits::PlannedEdit;
use crate::watch::site::Grid;
use image::GrayImage;
use std::collections::{BTreeSet, HashMap};
use tch::Tensor;

/// An edit that knows its run.
#[derive(Debug)]
pub struct Armed {
    /// The edit.
    pub edit: Edit,
    /// What the record says of it.
    pub planned: PlannedEdit,
    /// Where it does what.
    pub targets: Vec<Target>,
    /// At which steps.
    pub steps: BTreeSet<usize>,
    /// In which predictions.
    pub branch: Branches,
    /// At which tokens.
    pub words: Option<WordPlaces>,
    /// In which part of the picture.
    pub area: Option<Cells>,
    /// The tensors that it reads, by site.
    pub files: HashMap<String, Tensor>,
    /// The embeddings of its own prompt, `[1, tokens, width]`, once they are known.
    pub context: Option<Tensor>,
    /// What it knows of the run that it copies from, if it copies.
    pub copying: Option<Copying>,
    /// How often it has changed a tensor.
    pub fired: usize,
}

/// A part of the picture, ready to be laid over grids of any size.
#[derive(Debug)]
pub enum Cells {
    /// Left, top, right, bottom as shares.
    Rectangle([f64; 4]),
    /// Where this is white.
    Mask(GrayImage),
}

impl Cells {
    /// Which cells of a grid belong to it, row by row: of a rectangle those whose centre lies in it, of a mask those of
    /// which at least half is white.
    pub fn cells(&self, (height, width): Grid) -> Vec<bool> {
        let cell = |y: i64, x: i64| match self {
            Cells::Rectangle([left, top, right, bottom]) => {
                let (x, y) = ((x as f64 + 0.5) / width as f64, (y as f64 + 0.5) / height as f64);
                (*left..*right).contains(&x) && (*top..*bottom).contains(&y)
            }
            Cells::Mask(mask) => {
                let span = |at: i64, of: i64, side: u32| {
                    let edge = |at: i64| (at as f64 / of as f64 * f64::from(side)) as u32;
                    let first = edge(at).min(side - 1);
                    first..edge(at + 1).clamp(first + 1, side)
                };
                let (rows, columns) = (span(y, height, mask.height()), span(x, width, mask.width()));
                let count = (rows.len() * columns.len()) as u64;
                let sum: u64 = rows
                    .flat_map(|y| columns.clone().map(move |x| (x, y)))
                    .map(|(x, y)| u64::from(mask.get_pixel(x, y).0[0]))
                    .sum();
                sum * 2 >= count * 255
            }
        };
        (0..height).flat_map(|y| (0..width).map(move |x| (y, x))).map(|(y, x)| cell(y, x)).collect()
    }
}
