//! `--donor` and what goes by a name: the runs that are copied from, and the edits that copy.
//!
//! Enters: what was typed, a model. Leaves: the plan with donors and edits, and the runs.

use super::args::DonorArgs;
use crate::edit::Edit;
use crate::edit::op::Op;
use crate::edit::preset::Preset;
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::record::edits::PlannedEdit;
use crate::record::plan::Plan;
use crate::run::donor;
use crate::trace::reader::Run;

/// Opens the donors.
///
/// # Errors
/// When one is no run.
pub fn open(args: &DonorArgs) -> Result<Vec<Run>> {
    args.donor.iter().map(Run::open).collect()
}

/// Puts the donors and what goes by a name into a plan, before the edits that were typed.
///
/// # Errors
/// When a share is none, or nothing is copied.
pub fn donors(args: &DonorArgs, runs: Vec<Run>, pipeline: &Pipeline, plan: &mut Plan) -> Result<Vec<Run>> {
    plan.donors = runs.iter().map(donor::planned).collect::<Result<_>>()?;
    let mut named = vec![];
    for preset in presets(args)? {
        named.extend(preset.edits(pipeline.sites()?).iter().map(PlannedEdit::asked));
    }
    plan.edits.splice(0..0, named);
    let copies = |edit: &PlannedEdit| edit.edit.parse::<Edit>().is_ok_and(|edit| matches!(edit.op, Op::Copy { .. }));
    if !runs.is_empty() && !plan.edits.iter().any(copies) {
        return Err(Error::invalid(
            "a donor, but nothing is copied from it",
            "say what: `--p2p`, `--pnp`, `--masactrl`, or `--edit 'copy unet.mid_block steps=1-8'`",
        ));
    }
    Ok(runs)
}

/// What was asked for by name.
fn presets(args: &DonorArgs) -> Result<Vec<Preset>> {
    let mut all = vec![];
    if let Some(shares) = &args.p2p {
        let &[cross, own] = shares.as_slice() else {
            return Err(Error::invalid("`--p2p` takes two shares", "write `--p2p 0.8,0.4`, or `--p2p` alone"));
        };
        if let Some(share) = [cross, own].into_iter().find(|share| !(0.0..=1.0).contains(share)) {
            return Err(Error::invalid(format!("`{share}` is no share of the steps"), "write two numbers from 0 to 1"));
        }
        all.push(Preset::PromptToPrompt { cross, own, blend: args.p2p_blend.clone() });
    }
    all.extend(args.pnp.then_some(Preset::PlugAndPlay));
    all.extend(args.masactrl.then_some(Preset::MasaCtrl));
    Ok(all)
}
