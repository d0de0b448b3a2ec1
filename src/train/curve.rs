//! The loss curve.
//!
//! Enters: the lines of a log. Leaves: a figure with the loss and the learning rate over the steps.

use super::log::LogLine;
use crate::export::figure::{Across, Figure, Line, Panel};

/// How much of its neighbours' mean each point of the smooth curve keeps.
const SMOOTHING: f64 = 0.9;

/// The figure of a stage, `steps` long when it is done.
pub fn figure(stage: &str, lines: &[LogLine], steps: u64) -> Figure {
    let points = |value: fn(&LogLine) -> f64| lines.iter().map(|l| (l.step as f64, value(l))).collect::<Vec<_>>();
    let raw = points(|line| line.loss);
    let mut mean = raw.first().map_or(0.0, |(_, loss)| *loss);
    let smooth = raw.iter().map(|(step, loss)| {
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss;
        (*step, mean)
    });
    let curves = vec![
        Line { name: "smoothed".into(), points: smooth.collect(), look: 0, theory: false },
        Line { name: "mean since the last line of the log".into(), points: raw, look: 2, theory: false },
    ];
    let panel = |y: &str, log, curves| Panel {
        y: y.into(),
        about: String::new(),
        x: "step".into(),
        x_end: steps as f64,
        across: Across::Steps,
        log,
        curves,
        stacked: false,
    };
    let rate =
        vec![Line { name: "learning rate".into(), points: points(|line| line.learning_rate), look: 1, theory: false }];
    Figure {
        title: format!("Training: {stage}"),
        subtitle: format!("{} of {steps} steps", lines.last().map_or(0, |line| line.step)),
        panels: vec![panel("loss", true, curves), panel("learning rate", false, rate)],
        note: String::new(),
    }
}
