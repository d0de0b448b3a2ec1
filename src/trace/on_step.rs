//! `--on-step`: hands each step to a program of the user's, once it is on disk.
//!
//! Enters: a run's events, after the recorder has written them. Leaves: for each step one start of the command, with a
//! JSON object on its standard input; what came of it, for `run.json`. The command goes on by exit code 0 and stops the
//! run by exit code 3; any other is a failure. `docs/plug-ins.md` describes the same in prose.

use crate::error::{Error, IoContext, Result};
use crate::record::answers::{OnStepRecord, StepFailure};
use crate::record::plan::Quantity;
use crate::record::schema::{self};
use crate::watch::observer::{Ask, Event, Flow, Observer, Step};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The exit code by which a command asks the run to stop.
pub const STOP: i32 = 3;
/// The exit code of a shell that did not find the command.
const NOT_FOUND: i32 = 127;
/// How long to wait before looking again whether a command has ended, at first and at most.
const NAPS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// The command, for `sh -c`.
    pub command: String,
    /// How long it may take for a step.
    pub limit: Duration,
    /// Whether its failure ends the run.
    pub strict: bool,
}

/// Starts a command for each step. It must come after the recorder among a run's observers.
#[derive(Debug)]
pub struct OnStep {
    options: Options,
    /// The run directory, absolute.
    dir: PathBuf,
    decode_what: Vec<Quantity>,
    last_step: usize,
    interrupted: Arc<AtomicBool>,
    record: OnStepRecord,
}

/// What the command reads: one line of JSON. Paths are absolute.
#[derive(Debug, Serialize)]
struct Notice {
    step: usize,
    last: usize,
    timestep: Option<f64>,
    sigma: f64,
    run: PathBuf,
    tensors: PathBuf,
    pictures: BTreeMap<&'static str, Vec<PathBuf>>,
}

/// What the command answered.
enum Answer {
    Continue,
    Stop,
    /// The user wants to stop; the command was ended.
    Interrupted,
    Failed(Option<i32>, String),
}

impl OnStep {
    /// For the run that is recorded in `dir`; `interrupted` is raised when the user wants to stop.
    ///
    /// # Errors
    /// When the system cannot say where it is.
    pub fn new(options: Options, dir: &Path, interrupted: Arc<AtomicBool>) -> Result<OnStep> {
        let record = OnStepRecord { command: options.command.clone(), ..OnStepRecord::default() };
        let dir = std::path::absolute(dir).at("find", dir)?;
        Ok(OnStep { options, dir, decode_what: vec![], last_step: 0, interrupted, record })
    }

    /// The words for a run that the command stopped.
    pub fn why_stopped(&self) -> Option<String> {
        let step = self.record.stopped_at?;
        Some(format!("stopped after step {step} of {}, as `--on-step` asked", self.last_step))
    }

    /// What came of it.
    pub fn into_record(self) -> OnStepRecord {
        self.record
    }

    fn notice(&self, step: &Step) -> Notice {
        let kept = step.pictures.iter().filter(|(what, _)| self.decode_what.contains(what));
        let files = |what: Quantity, count: usize| -> Vec<PathBuf> {
            (0..count).map(|batch| self.dir.join(schema::picture_file(step.index, what, batch))).collect()
        };
        Notice {
            step: step.index,
            last: step.last,
            timestep: step.timestep,
            sigma: step.level.sigma,
            run: self.dir.clone(),
            tensors: self.dir.join(schema::step_file(step.index)),
            pictures: kept.map(|(what, pictures)| (what.key(), files(*what, pictures.len()))).collect(),
        }
    }

    /// Starts the command, hands it the step and waits for it.
    fn ask(&self, notice: &Notice) -> Answer {
        let answer = serde_json::to_vec(notice).map_err(std::io::Error::other).and_then(|mut line| {
            line.push(b'\n');
            let mut child = self.start()?;
            // From a thread of its own: a command that reads nothing must not keep us.
            if let Some(mut stdin) = child.stdin.take() {
                std::thread::spawn(move || stdin.write_all(&line));
            }
            self.wait(&mut child)
        });
        answer.unwrap_or_else(|error| Answer::Failed(None, format!("cannot be started: {error}")))
    }

    fn start(&self) -> std::io::Result<Child> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.options.command).env("SDVIZ", std::env::current_exe()?).env("SDVIZ_RUN", &self.dir);
        // Our standard output is for our data: what the command says goes to standard error, without a pipe between.
        command.stdin(Stdio::piped()).stdout(Stdio::from(std::io::stderr()));
        // A group of its own, so that what the command has started can be ended with it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.spawn()
    }

    fn wait(&self, child: &mut Child) -> std::io::Result<Answer> {
        let (started, (mut nap, longest)) = (Instant::now(), NAPS);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(answer(status));
            }
            let interrupted = self.interrupted.load(Ordering::Relaxed);
            if interrupted || started.elapsed() >= self.options.limit {
                end(child)?;
                let limit = self.options.limit.as_secs_f64();
                let message = format!("ended after {limit} s without an answer");
                return Ok(if interrupted { Answer::Interrupted } else { Answer::Failed(None, message) });
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(longest);
        }
    }
}

impl Observer for OnStep {
    fn wants(&self, _: Ask) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Begin(run) => {
                self.decode_what.clone_from(&run.plan.decode_what);
                self.last_step = run.last_step();
            }
            Event::Step(step) => {
                self.record.calls += 1;
                match self.ask(&self.notice(step)) {
                    Answer::Continue => {}
                    Answer::Interrupted => return Ok(Flow::Stop),
                    // After the last step there is nothing left to stop.
                    Answer::Stop if step.index == step.last => {}
                    Answer::Stop => {
                        self.record.stopped_at = Some(step.index);
                        return Ok(Flow::Stop);
                    }
                    Answer::Failed(exit_code, message) => {
                        let told = format!("`--on-step` failed after step {}: {message}", step.index);
                        self.record.failures.push(StepFailure { step: step.index, exit_code, message });
                        if self.options.strict {
                            return Err(Error::invalid(told, "without `--strict` the run goes on all the same"));
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

fn answer(status: ExitStatus) -> Answer {
    match status.code() {
        Some(0) => Answer::Continue,
        Some(STOP) => Answer::Stop,
        Some(NOT_FOUND) => Answer::Failed(status.code(), format!("exit code {NOT_FOUND}, command not found")),
        Some(code) => Answer::Failed(Some(code), format!("exit code {code}")),
        None => Answer::Failed(None, format!("ended by a {status}")),
    }
}

/// Ends a command and what it has started.
fn end(child: &mut Child) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Ok(group) = i32::try_from(child.id()) {
        // SAFETY: sends a signal, to the group that the child leads; it was not waited for yet, so the number is its own.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    child.kill()?;
    child.wait().map(drop)
}
