//! What is written beside pictures of a run: which step, at which noise level, of which run.
//!
//! Enters: a run and a step. Leaves: words, without any picture.

use crate::error::{Error, Result};
use crate::record::plan::{Decode, Quantity};
use crate::record::schema::Status;
pub use crate::record::schema::batch_suffix;
use crate::trace::reader::Run;

/// Which step this is and how noisy it is, from the more to the less important: `step 12/25`, `t 481`, `σ 1.62`.
///
/// The level is that of the latents after step `step`; for the predicted original and the noise predictions it is the
/// one that they were made at, the level before. Where a scheduler calls the model more often than there are steps, the
/// calls are counted: `call 12/26`. In a run of two passes the second part says which.
pub fn place_in_run(run: &Run, step: usize, what: Quantity) -> Vec<String> {
    let noun = if counts_calls(run) { "call" } else { "step" };
    let mut parts = vec![match run.record().last_step() {
        0 => format!("{noun} {step}"),
        last => format!("{noun} {step}/{last}"),
    }];
    if run.record().hires.is_some() {
        parts.push(format!("pass {}", run.record().pass(step)));
    }
    let entered = if what == Quantity::Latents { Some(step) } else { step.checked_sub(1) };
    if let Some(level) = entered.and_then(|step| run.level(step)) {
        parts.extend(level.timestep.map(|t| if t.fract() == 0.0 { format!("t {t}") } else { format!("t {t:.1}") }));
        parts.push(format!("σ {}", short(level.sigma)));
    }
    parts
}

/// What stands beside a picture that the model's own decoder did not make.
pub const PREVIEW_DECODER: &str = "preview decoder";

/// What decoded the picture of a step: [`PREVIEW_DECODER`], or `decoder` for the model's own.
pub fn decoder(run: &Run, step: usize, what: Quantity) -> &'static str {
    if run.record().previewed(step, what).is_some() { PREVIEW_DECODER } else { "decoder" }
}

/// Whether the scheduler calls the model more or less often than there are steps, in the first pass.
pub fn counts_calls(run: &Run) -> bool {
    let record = run.record();
    let calls = record.hires.as_ref().map_or(record.last_step(), |second| second.first_step - 1);
    calls != record.plan.steps && calls > 0
}

/// A number in about three digits: `0`, `0.029`, `1.62`, `11.7`, `157`.
pub fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        v if v < 0.1 => format!("{value:.3}"),
        v if v < 10.0 => format!("{value:.2}"),
        v if v < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A share as a percentage: `0 %`, `0.04 %`, `2.7 %`.
pub fn percent(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0 %".into(),
        p if p < 0.01 => "under 0.01 %".into(),
        p if p < 1.0 => format!("{p:.2} %"),
        p => format!("{p:.1} %"),
    }
}

/// `count` of a run's steps as evenly as can be, the first and the last among them; a single one is the last. The places
/// are those among all steps of the run, whichever of them are there, so that what has no step 0, as the predictions,
/// shows the same steps as what has one: at each place the nearest step that is there.
pub fn spread(steps: &[usize], count: usize) -> Vec<usize> {
    let Some(&last) = steps.last() else { return vec![] };
    if steps.len() <= count {
        return steps.to_vec();
    }
    if count == 1 {
        return vec![last];
    }
    let wished = |i: usize| (i * last + (count - 1) / 2) / (count - 1);
    let nearest = |wish: usize| steps.iter().copied().min_by_key(|step| step.abs_diff(wish)).unwrap_or(last);
    let mut chosen: Vec<usize> = (0..count).map(|i| nearest(wished(i))).collect();
    chosen.dedup();
    // Where few steps are there, several wishes have one answer.
    for step in steps {
        if chosen.len() < count && !chosen.contains(step) {
            chosen.push(*step);
        }
    }
    chosen.sort_unstable();
    chosen
}

/// As [`spread`]; of a run with a second pass the step that ends the first is among three or more, in place of the nearest.
pub fn spread_of(run: &Run, steps: &[usize], count: usize) -> Vec<usize> {
    let end = run.record().hires.as_ref().map(|second| second.first_step - 1);
    match end.filter(|end| steps.contains(end)) {
        Some(end) => including(spread(steps, count), end),
        None => spread(steps, count),
    }
}

fn including(mut chosen: Vec<usize>, step: usize) -> Vec<usize> {
    let inner = 1..chosen.len().saturating_sub(1);
    if !chosen.contains(&step)
        && let Some(nearest) = inner.min_by_key(|i| chosen[*i].abs_diff(step))
    {
        chosen[nearest] = step;
    }
    chosen
}

/// A remark on a run that has not all its steps, of which `last` is the last one there.
pub fn unfinished(run: &Run, last: usize) -> Option<String> {
    let last_step = run.record().last_step();
    let state = match run.record().status {
        Status::Complete => return None,
        Status::Running => "is still going or was killed",
        Status::Killed => "was killed",
        Status::Failed => "failed",
    };
    let told = || format!("`{}` {state}: step {last} of {last_step} is the last one there", run.name().display());
    (last < last_step).then(told)
}

/// The steps of which there is a decoded picture of `what`.
///
/// # Errors
/// [`Error::NotRecorded`] when there is none, with what there is instead; when the batch has no such picture.
pub fn pictured(run: &Run, what: Quantity, batch: usize) -> Result<Vec<usize>> {
    check_batch(run, batch)?;
    let steps = run.pictured_steps(what, batch)?;
    if !steps.is_empty() {
        return Ok(steps);
    }
    let dir = run.name().display();
    let plan = &run.record().plan;
    let asked_for = plan.decode_what.contains(&what) && matches!(plan.decode, Decode::Every(_));
    if asked_for && run.record().status == Status::Running {
        return Err(Error::NotRecorded {
            message: format!("`{dir}` has no decoded picture of {} yet", thing(what)),
            hint: "wait for the run's next step; if it was killed, trace again".into(),
        });
    }
    let mut there = vec![];
    for (other, name) in [(Quantity::Latents, "images"), (Quantity::PredictedOriginal, "x0")] {
        if other != what && !run.pictured_steps(other, batch)?.is_empty() {
            there.push(format!("`--what {name}`"));
        }
    }
    if !plan.record.is_empty() && !run.steps()?.is_empty() {
        there.push("`sdviz latents`, which needs no decoding".into());
    }
    let flag = if what == Quantity::Latents { "latents" } else { "latents,x0" };
    let instead = if there.is_empty() { String::new() } else { format!("; there is {}", there.join(", and ")) };
    Err(Error::NotRecorded {
        message: format!("`{dir}` has no decoded picture of {}", thing(what)),
        hint: format!("trace again with `--decode every --decode-what {flag}`{instead}"),
    })
}

fn thing(what: Quantity) -> &'static str {
    match what {
        Quantity::PredictedOriginal => "the predicted original (x0)",
        _ => "the latents",
    }
}

/// Checks that the batch has a picture of this number.
///
/// # Errors
/// Says how many there are.
pub fn check_batch(run: &Run, batch: usize) -> Result<()> {
    let pictures = run.record().plan.batch_size;
    if batch < pictures {
        return Ok(());
    }
    Err(Error::invalid(
        format!("the batch has no picture {batch}: `{}` made {pictures}", run.name().display()),
        "pictures of a batch are counted from 0",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_step_are_always_there() {
        let steps: Vec<usize> = (0..=26).collect();
        assert_eq!(spread(&steps, 8), [0, 4, 7, 11, 15, 19, 22, 26]);
        assert_eq!(spread(&steps, 2), [0, 26]);
        assert_eq!(spread(&steps, 1), [26]);
        assert_eq!(spread(&steps[..3], 8), [0, 1, 2]);
        for count in 2..27 {
            let chosen = spread(&steps, count);
            assert!(chosen.len() == count && chosen.windows(2).all(|pair| pair[0] < pair[1]), "{chosen:?}");
            assert_eq!((chosen[0], chosen[count - 1]), (0, 26));
        }
        // The predictions begin at step 1, and stand at the same steps else.
        assert_eq!(spread(&steps[1..], 8), [1, 4, 7, 11, 15, 19, 22, 26]);
        // Of a killed run, or one that decoded every fifth step.
        assert_eq!(spread(&[0, 5, 10, 15, 20, 26], 4), [0, 10, 15, 26]);
        assert_eq!(spread(&[0, 1, 2, 3, 26], 4), [0, 1, 3, 26]);
    }

    #[test]
    fn the_end_of_a_first_pass_takes_the_place_of_the_nearest() {
        assert_eq!(including(vec![0, 4, 8, 12, 16], 7), [0, 4, 7, 12, 16]);
        assert_eq!(including(vec![0, 4, 8], 1), [0, 1, 8]);
        assert_eq!(including(vec![0, 4, 8], 4), [0, 4, 8]);
        assert_eq!([including(vec![0, 8], 4), including(vec![8], 4)].concat(), [0, 8, 8]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.02917, 1.6249, 11.676, 157.4].map(short), ["0", "0.029", "1.62", "11.7", "157"]);
        assert_eq!([0.0, 0.00001, 0.0004, 0.027].map(percent), ["0 %", "under 0.01 %", "0.04 %", "2.7 %"]);
    }
}
