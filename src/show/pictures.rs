//! The decoded pictures of a run's steps.

use crate::export::words;
use crate::show::display;
use crate::show::picture::{Picture, dense_sheet};
use crate::trace::metadata::png_bytes;
use std::fmt;

/// The most pictures on the sheet that a notebook shows.
const SHOWN: usize = 12;

/// The decoded pictures of a run, by step.
#[derive(Debug, Clone)]
pub struct Pictures(pub(super) Vec<(usize, Picture)>);

impl Pictures {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The picture of a step, if it was decoded.
    pub fn get(&self, step: usize) -> Option<&Picture> {
        self.iter().find(|(own, _)| *own == step).map(|(_, picture)| picture)
    }

    /// The steps and their pictures, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (usize, Picture)> {
        self.0.iter()
    }

    /// All of them on one sheet, each with its step above.
    pub fn sheet(&self) -> Picture {
        self.sheet_of(&self.steps())
    }

    /// Shows twelve of them, evenly spread, where a notebook's cell ends in it.
    pub fn evcxr_display(&self) {
        let sheet = self.sheet_of(&words::spread(&self.steps(), SHOWN));
        display::bytes("image/png", png_bytes(&sheet), &self.to_string());
    }

    fn steps(&self) -> Vec<usize> {
        self.iter().map(|(step, _)| *step).collect()
    }

    fn sheet_of(&self, steps: &[usize]) -> Picture {
        let wanted = self.iter().filter(|(step, _)| steps.contains(step));
        dense_sheet(&wanted.map(|(step, picture)| (format!("step {step}"), picture)).collect::<Vec<_>>())
    }
}

/// `26 pictures, of steps 0 to 25`.
impl fmt::Display for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match (self.0.first(), self.0.last()) {
            (Some((first, _)), Some((last, _))) if first != last => {
                write!(f, "{} pictures, of steps {first} to {last}", self.len())
            }
            (Some((only, _)), _) => write!(f, "1 picture, of step {only}"),
            _ => write!(f, "no pictures"),
        }
    }
}

impl IntoIterator for Pictures {
    type Item = (usize, Picture);
    type IntoIter = std::vec::IntoIter<(usize, Picture)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Pictures {
    type Item = &'a (usize, Picture);
    type IntoIter = std::slice::Iter<'a, (usize, Picture)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
