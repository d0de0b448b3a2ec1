//! What a run that looks into a picture, or begins from an inversion, cannot have.

use crate::error::{Error, Result};
use crate::record::plan::Plan;

/// Refuses it.
///
/// # Errors
/// Names it.
pub(super) fn check(plan: &Plan) -> Result<()> {
    let what = match (&plan.inversion, &plan.look, &plan.start) {
        (Some(_), ..) => "an inversion",
        (None, Some(_), _) => "a look into a picture",
        (None, None, Some(_)) => "a run that begins from an inversion",
        (None, None, None) => return Ok(()),
    };
    let looks = plan.looks_into_picture();
    let refused = [
        (plan.batch_size != 1, format!("{what} has one picture, not {}", plan.batch_size), "make a run for each"),
        (plan.strength.is_some(), format!("{what} has no strength"), "leave it out: the picture is not noised"),
        (looks && plan.hires.is_some(), format!("{what} has no second pass"), "leave out the second pass"),
        (looks && plan.eta != 0.0, format!("{what} draws no noise in its steps: eta is {}", plan.eta), "set eta to 0"),
        (
            plan.inversion.is_some() && !plan.edits.is_empty(),
            format!("{what} is not changed on its way"),
            "leave out the edits",
        ),
    ];
    match refused.into_iter().find(|(refused, ..)| *refused) {
        None => Ok(()),
        Some((_, message, hint)) => Err(Error::invalid(message, hint)),
    }
}
