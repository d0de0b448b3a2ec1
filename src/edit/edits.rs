//! Carrying out edits: the editor that a run's plan has.
//!
//! Enters: resolved edits, and tensors as they arise. Leaves: tensors in their place, in the order of the edits, and how
//! often each has changed one.

use super::apply::Act;
use super::armed::Armed;
use super::copy::{self, Lender};
use super::op::Op;
use super::site::{Role, beside_a_residual};
use crate::error::{Error, Result};
use crate::record::edits::PlannedEdit;
use crate::record::plan::Quantity;
use crate::watch::editor::Editor;
use crate::watch::site::Site;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use tch::Tensor;

/// The edits of a run.
#[derive(Debug)]
pub struct Edits {
    armed: Vec<Armed>,
    /// Which edits, by their places, do what at a site.
    by_site: HashMap<String, Vec<(usize, Role)>>,
    /// What modules were given that an edit skips, by edit and module, until they give something themselves.
    given: HashMap<(usize, String), Tensor>,
    /// The seeds of the batch's pictures.
    seeds: Vec<u64>,
}

impl Edits {
    /// Of resolved edits, in their order.
    pub fn new(armed: Vec<Armed>) -> Edits {
        let mut by_site: HashMap<String, Vec<(usize, Role)>> = HashMap::new();
        for (index, edit) in armed.iter().enumerate() {
            for (site, role) in &edit.targets {
                by_site.entry(site.clone()).or_default().push((index, *role));
            }
        }
        Edits { armed, by_site, given: HashMap::new(), seeds: vec![] }
    }

    /// Of pictures with these seeds: what an edit draws for a picture does not depend on its batch.
    pub fn of_pictures(&mut self, seeds: &[u64]) {
        self.seeds = seeds.to_vec();
    }

    /// What the run's plan says of them.
    pub fn planned(&self) -> Vec<PlannedEdit> {
        self.armed.iter().map(|armed| armed.planned.clone()).collect()
    }

    /// The prompts that some of them put in the place of the run's, which have to be encoded: with the edits' places.
    pub fn prompts(&self) -> Vec<(usize, String)> {
        let prompt = |(index, armed): (usize, &Armed)| match &armed.edit.op {
            Op::Prompt(text) => Some((index, text.clone())),
            _ => None,
        };
        self.armed.iter().enumerate().filter_map(prompt).collect()
    }

    /// Gives the edit at this place its prompt's embeddings, `[1, tokens, width]`.
    pub fn tell(&mut self, index: usize, context: Tensor) {
        if let Some(armed) = self.armed.get_mut(index) {
            armed.context = Some(context);
        }
    }

    /// The first step that one of them changes, 0 for what comes before all steps; none where all are switched off.
    pub fn first_step(&self) -> Option<usize> {
        self.armed.iter().filter_map(|armed| armed.steps.first().copied()).min()
    }

    /// Leaves out the steps up to one, which an earlier run has made: the text encoder runs all the same.
    pub fn begin_after(&mut self, made: usize) {
        for armed in &mut self.armed {
            let before = armed.targets.iter().any(|(name, _)| name.starts_with("text_encoder."));
            armed.steps.retain(|step| *step > made || (*step == 0 && before));
        }
    }

    /// The donors that are copied from, each with the steps at which its rows have to be there: not where only what was
    /// recorded of it is copied.
    pub fn lenders(&self) -> BTreeMap<usize, BTreeSet<usize>> {
        let mut all: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for armed in &self.armed {
            let Op::Copy { from, .. } = &armed.edit.op else { continue };
            let rows = armed.targets.iter().any(|(name, _)| copy::recorded_at(name).is_none());
            let steps = armed.steps.iter().copied().filter(|_| rows);
            all.entry(*from).or_default().extend(steps);
        }
        all
    }

    /// The steps at which what was recorded of a donor is copied, and what that is.
    pub fn recorded(&self) -> Vec<(usize, Quantity, BTreeSet<usize>)> {
        let of = |armed: &Armed| match &armed.edit.op {
            Op::Copy { from, .. } => armed
                .targets
                .iter()
                .filter_map(|(name, _)| Some((*from, copy::recorded_at(name)?, armed.steps.clone())))
                .collect(),
            _ => vec![],
        };
        self.armed.iter().flat_map(of).collect()
    }

    /// Gives the edits that copy from a donor the donor.
    pub fn lend(&mut self, donor: usize, lender: &Lender) {
        for armed in &mut self.armed {
            if let (Op::Copy { from, .. }, Some(copying)) = (&armed.edit.op, &mut armed.copying)
                && *from == donor
            {
                copying.lender = Some(lender.clone());
            }
        }
    }

    /// How often each has changed a tensor.
    pub fn fired(&self) -> Vec<usize> {
        self.armed.iter().map(|armed| armed.fired).collect()
    }

    /// Refuses a run that came to its end while an edit changed nothing in it, unless that was switched off.
    ///
    /// # Errors
    /// Names the edit.
    pub fn check_fired(&self) -> Result<()> {
        match self.armed.iter().find(|armed| armed.fired == 0 && !armed.steps.is_empty()) {
            None => Ok(()),
            Some(armed) => Err(Error::invalid(
                format!("the edit `{}` changed nothing in this run", armed.planned.edit),
                format!(
                    "it was to change {} at the steps {}: see `plan.edits` in run.json",
                    listed(&armed.planned.sites),
                    armed.planned.steps
                ),
            )),
        }
    }
}

/// The first of some sites, and how many more there are.
fn listed(sites: &[String]) -> String {
    match sites {
        [] => "nothing".into(),
        [one] => format!("`{one}`"),
        [first, rest @ ..] => format!("`{first}` and {} more", rest.len()),
    }
}

impl Editor for Edits {
    fn wants(&self, site: &str, step: usize) -> bool {
        let here = self.by_site.get(site);
        here.is_some_and(|edits| edits.iter().any(|(index, _)| self.armed[*index].steps.contains(&step)))
    }

    fn edit(&mut self, site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
        let here = self.by_site.get(site.name).into_iter().flatten();
        let here = here.filter(|(index, _)| self.armed[*index].steps.contains(&site.step));
        let here: Vec<(usize, Role)> = here.copied().collect();
        let mut now: Option<Tensor> = None;
        for (index, role) in here {
            let current = now.as_ref().unwrap_or(tensor);
            if role == Role::Watch {
                let armed = &mut self.armed[index];
                if let (Op::Copy { from, .. }, Some(copying)) = (&armed.edit.op, &mut armed.copying)
                    && let Some(outside) = &mut copying.outside
                {
                    outside.look(site, current, *from);
                }
                continue;
            }
            if role == Role::Keep {
                let module = site.name.trim_end_matches(".in").to_string();
                self.given.insert((index, module), current.shallow_clone());
                continue;
            }
            let skips = matches!(self.armed[index].edit.op, Op::Skip) && !beside_a_residual(site.name);
            let given = if skips { self.given.remove(&(index, site.name.to_string())) } else { None };
            let act = Act { armed: &self.armed[index], role, site, tensor: current, given, seeds: &self.seeds };
            if let Some(changed) = act.carry_out()? {
                self.armed[index].fired += 1;
                now = Some(changed);
            }
        }
        Ok(now)
    }
}
