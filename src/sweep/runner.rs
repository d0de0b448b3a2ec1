//! Makes the cells that are missing: one model at a time, text embeddings and noise once, a whole run directory for each.
//!
//! Enters: checked cells. Leaves: `cells/NAME`, and a word on each. A cell that fails is kept as a failed run and told;
//! the others go on. Only a disk that takes no more, or the user, ends a sweep early.

use super::claim::Claim;
use super::identity::Identity;
use super::plan::{Cell, Draft};
use super::split::Split;
use super::store::{State, Store};
use crate::error::{Error, Result};
use crate::model::fingerprint::Fingerprints;
use crate::model::resolve::{self, ModelChoice};
use crate::pipeline::device::dtype_name;
use crate::pipeline::init_image::{InitImage, Input};
use crate::pipeline::past::Past;
use crate::pipeline::shared::Shared;
use crate::pipeline::{LoadOptions, Pipeline, Resolved};
use crate::record::plan::Plan;
use crate::record::schema::Status;
use crate::run::{self, Company, Hashes, Job, Place};
use crate::trace::reader::Run;
use crate::trace::writer::Recorder;
use crate::watch::observer::Observer;
use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A loaded model, and what its cells share.
#[derive(Debug)]
pub struct Loaded {
    name: Option<String>,
    /// The autoencoder that was named to take the place of the model's own.
    vae: Option<String>,
    /// How it was found.
    pub choice: ModelChoice,
    /// The pipeline.
    pub pipeline: Pipeline,
    /// What shapes its cells' bytes.
    identity: Identity,
    shared: Shared,
    options: LoadOptions,
    /// The picture that its cells begin from.
    init: Option<Rc<InitImage>>,
}

impl Loaded {
    /// Loads the model of this name; without one, the default. `vae` names another autoencoder for it. The weights' hashes
    /// are computed here once for all cells.
    ///
    /// # Errors
    /// When it cannot be found or loaded.
    pub fn load(name: Option<&str>, vae: Option<&str>, options: &LoadOptions) -> Result<Loaded> {
        let choice = resolve::resolve_with(name, vae)?;
        let pipeline = Pipeline::load(&choice, options.clone())?;
        let weights = Fingerprints::start(&choice, pipeline.model()).finish()?;
        let identity = Identity::new(&choice.files, weights, dtype_name(options.kind))?;
        let (name, vae, options) = (name.map(String::from), vae.map(String::from), options.clone());
        Ok(Loaded { name, vae, choice, pipeline, identity, shared: Shared::new(), options, init: None })
    }

    /// The same, its cells beginning from a picture.
    pub fn beginning_from(self, init: Option<Rc<InitImage>>) -> Loaded {
        Loaded { init, ..self }
    }

    /// The picture at the size of a cell's plan.
    fn input(&self, plan: &Plan) -> Option<Input> {
        self.init.as_ref().map(|init| init.fit(plan.width, plan.height, plan.resize.unwrap_or_default()))
    }

    /// Where it computes.
    pub fn device(&self) -> tch::Device {
        self.options.device
    }

    /// The cell of a draft of this model.
    ///
    /// # Errors
    /// When the plan cannot be carried out with this model.
    pub fn cell(&self, draft: &Draft) -> Result<Cell> {
        draft.complete(&self.pipeline, self.init.as_deref(), &self.identity)
    }
}

/// Files that a run may need to have open at once, beside those that hold its claims.
const SPARE_FILES: usize = 16;

/// Whether the system gives this process no more open files.
#[cfg(unix)]
fn out_of_files(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)))
}

#[cfg(not(unix))]
fn out_of_files(_: &Error) -> bool {
    false
}

/// What became of a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CellOutcome {
    /// It was there.
    There,
    /// It was made now.
    Made,
    /// Another process is making it.
    Elsewhere,
    /// It failed, for this reason.
    Failed(String),
}

/// Who is told of the cells, as they are done.
pub trait CellReporter {
    /// An observer of the runs, for a progress bar.
    fn observer(&mut self) -> &mut dyn Observer;
    /// A cell is done; `seconds` is what it took.
    fn done(&mut self, cell: &Cell, outcome: &CellOutcome, seconds: f64);
}

/// The part of the cells that falls to shard `k` of `n` (from 1), and of it groups of cells that differ in nothing but the
/// seed, at most `batch` in each. Cells of one model stay together. Places whose cells are the same picture, as the same
/// prompt written in two ways, are made once.
pub fn groups(cells: &[Cell], batch: usize, (k, n): (usize, usize)) -> Vec<Vec<Cell>> {
    let mut groups: Vec<Vec<Cell>> = vec![];
    let mut seen = HashSet::new();
    for cell in cells.iter().filter(|cell| seen.insert(&cell.id)) {
        let alike = |other: &Cell| {
            other.model == cell.model && Plan { seed: cell.plan.seed, ..other.plan.clone() } == cell.plan
        };
        // What an edit selects of a batch is a cell's own.
        let together = batch > 1 && cell.plan.edits.is_empty();
        // Not looked for where it would not be used: among many cells that is a walk over all pairs.
        let found = if together { groups.iter_mut().find(|g| g.len() < batch && alike(&g[0])) } else { None };
        match found {
            Some(group) => group.push(cell.clone()),
            None => groups.push(vec![cell.clone()]),
        }
    }
    groups.into_iter().enumerate().filter(|(i, _)| i % n == k - 1).map(|(_, group)| group).collect()
}

/// Makes the cells of a sweep.
pub struct Runner<'a> {
    /// Where.
    pub store: &'a Store,
    /// The model that is loaded now.
    pub loaded: Loaded,
    /// Raised when the user wants to stop.
    pub interrupted: Arc<AtomicBool>,
    /// Who is told.
    pub reporter: &'a mut dyn CellReporter,
    /// The cells without edits, whose first steps those with edits take over where they are the same: up to the first that
    /// an edit changes. None where every cell makes all of its steps.
    pub unedited: Vec<Cell>,
}

impl Runner<'_> {
    /// Makes what is missing of these groups. Gives false when the user stopped it.
    ///
    /// # Errors
    /// When the disk takes no more, or a model cannot be loaded a second time. A cell's own failure is no error here.
    pub fn run(&mut self, groups: &[Vec<Cell>]) -> Result<bool> {
        for group in groups {
            let mut left = VecDeque::from(group.clone());
            while !left.is_empty() {
                let claimed = self.claim(&mut left)?;
                let Some(first) = claimed.first() else { continue };
                if self.loaded.name != first.0.model {
                    let Loaded { vae, options, init, .. } = &self.loaded;
                    let loaded = Loaded::load(first.0.model.as_deref(), vae.as_deref(), options)?;
                    self.loaded = loaded.beginning_from(init.clone());
                }
                if !self.make_group(claimed)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Takes cells from the front of a group and claims those that are to be made. Each claim keeps files open: where the
    /// system gives no more of them, the rest is left for later. Those that the work needs are set aside meanwhile.
    fn claim(&mut self, left: &mut VecDeque<Cell>) -> Result<Vec<(Cell, Claim)>> {
        let mut claimed: Vec<(Cell, Claim)> = vec![];
        let spare = if left.len() > 1 { SPARE_FILES } else { 0 };
        let mut set_aside: Vec<_> = (0..spare).map_while(|_| tempfile::tempfile().ok()).collect();
        while let Some(cell) = left.pop_front() {
            if self.store.state(&cell.id) == State::Complete {
                self.reporter.done(&cell, &CellOutcome::There, 0.0);
                continue;
            }
            match self.store.claim(&cell.id) {
                // Another process may have finished it in this very moment.
                Ok(Some(_)) if self.store.state(&cell.id) == State::Complete => {
                    self.reporter.done(&cell, &CellOutcome::There, 0.0);
                }
                Ok(Some(claim)) => claimed.push((cell, claim)),
                Ok(None) => self.reporter.done(&cell, &CellOutcome::Elsewhere, 0.0),
                Err(error) if out_of_files(&error) && !claimed.is_empty() => {
                    left.push_front(cell);
                    break;
                }
                // Not even one beside what was set aside: then it has to be enough for both.
                Err(error) if out_of_files(&error) && !set_aside.is_empty() => {
                    left.push_front(cell);
                    set_aside.clear();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(claimed)
    }

    /// Makes the cells of a group together; if that fails, one by one, so that one cell's failure, or too little memory
    /// for all, does not touch the others.
    fn make_group(&mut self, cells: Vec<(Cell, Claim)>) -> Result<bool> {
        if cells.len() > 1 {
            match self.attempt(&cells)? {
                Attempt::Stopped => return Ok(false),
                Attempt::Done(seconds) => return self.place(cells, &CellOutcome::Made, seconds),
                Attempt::Failed(..) => {}
            }
        }
        for one in cells {
            let one = [one];
            match self.attempt(&one)? {
                Attempt::Stopped => return Ok(false),
                Attempt::Done(seconds) => self.place(one, &CellOutcome::Made, seconds)?,
                Attempt::Failed(reason, seconds) => self.place(one, &CellOutcome::Failed(reason), seconds)?,
            };
        }
        Ok(true)
    }

    fn place(
        &mut self,
        cells: impl IntoIterator<Item = (Cell, Claim)>,
        outcome: &CellOutcome,
        seconds: f64,
    ) -> Result<bool> {
        for (cell, claim) in cells {
            claim.place()?;
            self.reporter.done(&cell, outcome, seconds);
        }
        Ok(true)
    }

    /// The steps that a cell with edits has in common with the same cell without them, if that is there.
    fn begun(&self, cell: &Cell, resolved: &Resolved) -> Option<Past> {
        let until = resolved.edits.as_ref()?.first_step()?.checked_sub(1).filter(|until| *until > 0)?;
        let plan = Plan { edits: vec![], ..cell.plan.clone() };
        let base = self.unedited.iter().find(|base| base.model == cell.model && base.plan == plan)?;
        let run = Run::open(self.store.cell(&base.id)).ok()?;
        (run.record().status == Status::Complete).then(|| Past { run: Box::new(run), until, pictures: true })
    }

    /// One run for these cells, each recorded in its claim's folder.
    fn attempt(&mut self, cells: &[(Cell, Claim)]) -> Result<Attempt> {
        let Some((first, _)) = cells.first() else { return Ok(Attempt::Done(0.0)) };
        let Loaded { pipeline, identity, shared, .. } = &self.loaded;
        // Cells that are made together differ in nothing but the seed.
        let plan = Plan { batch_size: cells.len(), ..first.plan.clone() };
        let input = self.loaded.input(&plan);
        let (mut records, mut recorders) = (vec![], vec![]);
        for (cell, claim) in cells {
            records.push(pipeline.plan(&cell.plan)?.0);
            recorders.push(Recorder::create_private(claim.folder(), &cell.plan)?);
        }
        // Alone each of them can be made; together they may be too large.
        let resolved = match pipeline.resolve(&plan) {
            Ok(resolved) => resolved,
            Err(error) => return Ok(Attempt::Failed(error.to_string(), 0.0)),
        };
        let resolved = match self.begun(first, &resolved) {
            // What is not recorded of the steps before is made again.
            Some(past) => resolved.going_on(past).or_else(|_| pipeline.resolve(&plan))?,
            None => resolved,
        };
        let job = Job {
            seeds: Some(cells.iter().map(|(cell, _)| cell.plan.seed).collect()),
            input: input.as_ref(),
            shared: Some(shared),
            ..Job::new(pipeline, resolved, Hashes::Known(&identity.weights))
        };
        let mut split;
        let place: &mut dyn Place = match recorders.as_mut_slice() {
            [one] => one,
            several => {
                split = Split::new(records.iter().zip(several).collect());
                &mut split
            }
        };
        let observers = vec![self.reporter.observer()];
        let interrupted = self.interrupted.clone();
        let ended = run::carry_out(job, place, Company { observers, interrupted, ..Company::default() });
        if self.interrupted.load(Ordering::Relaxed) {
            return Ok(Attempt::Stopped);
        }
        let seconds = ended.timings.total_seconds / cells.len() as f64;
        match ended.outcome {
            Ok(outcome) if outcome.stopped => Ok(Attempt::Stopped),
            Err(Error::Cancelled) => Ok(Attempt::Stopped),
            Ok(_) => ended.kept.map(|_| Attempt::Done(seconds)),
            // What the disk says to one cell it says to all.
            Err(error @ Error::Io { .. }) => Err(error),
            Err(error) => ended.kept.map(|_| Attempt::Failed(error.to_string(), seconds)),
        }
    }
}

/// How a run ended.
enum Attempt {
    Done(f64),
    Failed(String, f64),
    Stopped,
}
