//! Donors of a run: recorded runs that its edits copy from.
//!
//! Enters: recorded runs. Leaves: what a plan says of them, and the plan resolved with them.

use crate::error::Result;
use crate::model::fingerprint;
use crate::pipeline::Resolved;
use crate::record::plan::{Parent, Quantity};
use crate::trace::reader::Run;
use crate::watch::recorded::Recorded;
use std::sync::Arc;

/// What a plan says of a donor.
///
/// # Errors
/// When its steps cannot be read.
pub fn planned(run: &Run) -> Result<Parent> {
    let steps = run.steps()?;
    let mut all = vec![];
    for step in &steps {
        let latents = run.tensors(*step, Quantity::Latents)?;
        all.extend(latents.iter().flatten().flat_map(|value| value.to_le_bytes()));
    }
    Ok(Parent {
        run: run.name().display().to_string(),
        step: steps.last().copied().unwrap_or_default(),
        sha256: fingerprint::of_bytes(&all),
        plan: run.record().plan.clone(),
    })
}

/// A plan that names these donors, resolved with them.
///
/// # Errors
/// When one does not fit the run, or has not recorded what is needed.
pub fn lend(resolved: Resolved, donors: &[Run]) -> Result<Resolved> {
    if donors.is_empty() {
        return Ok(resolved);
    }
    let recorded = |run: &Run| (Arc::new(run.clone()) as Arc<dyn Recorded>, run.record().clone());
    resolved.with_donors(donors.iter().map(recorded).collect())
}
