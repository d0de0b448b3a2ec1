//! Copying from another run: its rows run beside this run's through the network, and what is theirs at a site is put in the
//! place of what is this run's.
//!
//! Enters: a tensor with the donors' rows behind the run's own, or one that arises once, as latents do. Leaves: the donor's
//! numbers in the place of the run's own; the donors' rows are as they were.

use crate::edit::blend::Outside;
use crate::edit::token_map::Mapped;
use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::watch::recorded::Recorded;
use crate::watch::site::{Branch, Site};
use std::collections::BTreeMap;
use std::sync::Arc;
use tch::{Kind, Tensor};

/// A run that is copied from.
#[derive(Debug, Clone)]
pub struct Lender {
    /// The run.
    pub run: Arc<dyn Recorded>,
    /// For each step of this run the donor's step that has the same noise level.
    pub steps: BTreeMap<usize, usize>,
    /// Whether its steps go up to noise: then what the model predicts at a level stands with the latents of that level, and
    /// not with those of the next.
    pub ascends: bool,
}

/// What a copying edit knows of its run.
#[derive(Debug, Default)]
pub struct Copying {
    /// The donor, once it is there.
    pub lender: Option<Lender>,
    /// How its tokens belong to the run's.
    pub mapped: Option<Mapped>,
    /// Where the run's own latents stay.
    pub outside: Option<Outside>,
}

/// The quantities that can be copied as they were recorded.
pub const RECORDED: [Quantity; 4] =
    [Quantity::NoiseUncond, Quantity::NoiseText, Quantity::NoiseGuided, Quantity::Latents];

/// The quantity that arises at a site, if a donor has it as it was recorded.
pub fn recorded_at(site: &str) -> Option<Quantity> {
    RECORDED.into_iter().find(|what| what.key() == site)
}

/// What a donor has at a site in the place of a tensor, of its shape: in each of the run's own predictions what the donor
/// has with its prompt.
///
/// # Errors
/// When the donor's rows are not there, or were not recorded.
pub fn copied(
    site: &Site,
    tensor: &Tensor,
    (from, lender): (usize, Option<&Lender>),
    mapped: Option<&Mapped>,
    blend: f64,
) -> Result<Tensor> {
    let theirs = match (recorded_at(site.name), lender) {
        (Some(what), Some(lender)) => of_record(lender, what, site, tensor)?,
        _ => of_rows(site, tensor, from)?,
    };
    let theirs = match mapped {
        None => theirs,
        Some(mapped) => {
            let mapped = mapped.to(tensor.device());
            theirs.to_kind(Kind::Float).matmul(&mapped.shares) + tensor * &mapped.kept
        }
    };
    if blend == 1.0 {
        return Ok(theirs);
    }
    Ok(theirs * blend + tensor * (1.0 - blend))
}

fn of_rows(site: &Site, tensor: &Tensor, from: usize) -> Result<Tensor> {
    let rows = site.rows.of(Branch::Donor(from)).filter(|rows| rows.end <= tensor.size()[0]);
    let rows = rows.ok_or_else(|| Error::Broken(format!("the donor {from} has no rows at `{}`", site.name)))?;
    let theirs = tensor.narrow(0, rows.start, rows.end - rows.start);
    Ok(Tensor::cat(&vec![&theirs; site.rows.branches.len()], 0))
}

fn of_record(lender: &Lender, what: Quantity, site: &Site, like: &Tensor) -> Result<Tensor> {
    let name = lender.run.name();
    let step = lender.steps.get(&site.step).copied();
    // What is predicted in a step belongs to the level before it.
    // An inversion is told the level that its step goes to.
    let before = site
        .step
        .checked_sub(1)
        .and_then(|before| lender.steps.get(&before))
        .map(|before| before + usize::from(!lender.ascends));
    let step = if what == Quantity::Latents { step } else { before };
    let missing = || Error::NotRecorded {
        message: format!("`{name}` does not have `{what}` of step {}", site.step),
        hint: format!("record it: `--record latents,{what}` when it is made"),
    };
    let tensor = step.map(|step| lender.run.tensor(step, what.key())).transpose()?.flatten().ok_or_else(missing)?;
    let tensor = tensor.to_device(like.device()).to_kind(like.kind());
    Ok(tensor.expand_as(like))
}
