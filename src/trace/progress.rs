//! Watching for the user: a progress bar on a terminal, and Ctrl-C.

use crate::error::Result;
use crate::say::bar;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::site::is_inner;
use indicatif::ProgressBar;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A progress bar on standard error, if that is a terminal.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar; an invisible one when `quiet`.
    pub fn new(quiet: bool) -> Progress {
        Progress { bar: bar(None, "{bar:32} step {pos}/{len} {msg} [{elapsed}, {eta} left]", quiet) }
    }
}

impl Observer for Progress {
    fn wants(&self, _: Ask) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Begin(run) => self.bar.set_length(run.last_step() as u64),
            Event::Step(step) => {
                self.bar.set_message(format!("σ {:.3}", step.level.sigma));
                self.bar.set_position(step.index as u64);
            }
            Event::Finished(_) => self.bar.finish_and_clear(),
            Event::Tensor(..) => {}
        }
        Ok(Flow::Continue)
    }
}

/// Stops the run, in the middle of a step too, when its flag is raised.
#[derive(Debug)]
pub struct Interrupt(pub Arc<AtomicBool>);

impl Observer for Interrupt {
    fn wants(&self, ask: Ask) -> bool {
        // Every module's output is a place to stop at; what lies inside is not, for some of that is formed only when asked
        // for.
        matches!(ask, Ask::Site(name, _) if !is_inner(name))
    }

    fn on_event(&mut self, _: &Event) -> Result<Flow> {
        Ok(if self.0.load(Ordering::Relaxed) { Flow::Stop } else { Flow::Continue })
    }
}
