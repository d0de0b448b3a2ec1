//! How far a sweep is, and who is at work on it: read from the folder, without a model, while others write there.
//!
//! Enters: a sweep directory. Leaves: numbers, and the cells that are being made or have failed.

use super::claim;
use super::record::SweepRecord;
use super::store::{CELLS_FOLDER, State, Store};
use crate::units::count;
use std::collections::{BTreeMap, HashSet};

/// How far a sweep is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Cells, those in several places of the grid counted once.
    pub cells: usize,
    /// Complete ones.
    pub done: usize,
    /// Those that are being made, and by whom, as far as that is known.
    pub running: Vec<(String, String)>,
    /// Those that failed, and why.
    pub failed: Vec<(String, String)>,
    /// Those that nobody has begun, or whose maker was killed.
    pub missing: usize,
}

impl Tally {
    /// Of the cells in `sweep.json`. On a file system without locks a cell in the making counts as missing.
    pub fn of(store: &Store, record: &SweepRecord) -> Tally {
        let making: BTreeMap<String, String> = claim::making(&store.dir().join(CELLS_FOLDER)).into_iter().collect();
        let (mut tally, mut seen) = (Tally::default(), HashSet::new());
        for cell in record.cells.iter().filter(|cell| seen.insert(&cell.cell)) {
            let id = &cell.cell;
            match (store.state(id), making.get(id)) {
                (State::Complete, _) => tally.done += 1,
                (_, Some(maker)) => tally.running.push((id.clone(), maker.clone())),
                (State::Failed(why), None) => tally.failed.push((id.clone(), why)),
                (State::Missing, None) => tally.missing += 1,
            }
        }
        tally.cells = seen.len();
        tally
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (cells, running, failed) = (count(self.cells, "cell"), self.running.len(), self.failed.len());
        let Tally { done, missing, .. } = self;
        write!(f, "{cells}: {done} done, {running} running, {failed} failed, {missing} missing")
    }
}
