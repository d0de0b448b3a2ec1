//! Schedules side by side, without a run: what a scheduler does with the same number of steps.
//!
//! Enters: the noise levels of each scheduler. Leaves: one figure. Where the levels come from is the caller's matter, so
//! that nothing here needs a scheduler or libtorch.

use super::figure::{Across, Figure, Line, Panel};
use super::settings::scheduler_name;
use crate::record::schema::Level;

/// The noise levels of one scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedSchedule {
    /// The scheduler's name on the command line.
    pub name: String,
    /// Before each model call and after the last, as in a run's record.
    pub levels: Vec<Level>,
}

impl NamedSchedule {
    /// Model calls.
    pub fn calls(&self) -> usize {
        self.levels.len().saturating_sub(1)
    }
}

/// σ, ᾱ and timesteps of several schedules for `steps` steps, drawn over the share of model calls done: some schedulers
/// call the model more than once a step.
pub fn figure(schedules: &[NamedSchedule], model: &str, steps: usize) -> Figure {
    let panel = |y: &str, about: &str, log: bool, value: fn(&Level) -> Option<f64>| Panel {
        y: y.into(),
        about: about.into(),
        x: "step".into(),
        x_end: steps as f64,
        across: Across::Steps,
        log,
        curves: schedules.iter().enumerate().map(|(look, s)| line(s, look, steps, value)).collect(),
        stacked: false,
    };
    let calls: Vec<String> = schedules
        .iter()
        .filter(|s| s.calls() != steps)
        .map(|s| format!("{} calls it {} times", scheduler_name(&s.name), s.calls()))
        .collect();
    let note = match calls.is_empty() {
        true => String::new(),
        false => format!("The model is called once a step, but {}: drawn over the same width.", calls.join(", ")),
    };
    Figure {
        title: "Schedules compared".into(),
        subtitle: format!(
            "{} · {steps} steps · {model}",
            schedules.iter().map(|s| scheduler_name(&s.name)).collect::<Vec<_>>().join(", ")
        ),
        panels: vec![
            panel("σ", "noise beside a signal of 1; 0 left out", true, |l| Some(l.sigma)),
            panel("ᾱ", "share of the signal’s variance left", false, |l| Some(l.alpha_cumprod)),
            panel("t", "timestep given to the model", false, |l| l.timestep),
        ],
        note,
    }
}

fn line(schedule: &NamedSchedule, look: usize, steps: usize, value: fn(&Level) -> Option<f64>) -> Line {
    let width = steps as f64 / schedule.calls().max(1) as f64;
    let points = schedule.levels.iter().enumerate();
    Line {
        name: scheduler_name(&schedule.name),
        points: points.filter_map(|(call, level)| Some((call as f64 * width, value(level)?))).collect(),
        look,
        theory: false,
    }
}
