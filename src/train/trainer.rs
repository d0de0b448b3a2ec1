//! The loop that learns: loss, gradients, a step of the optimiser, and now and then a line in the log, a checkpoint,
//! samples.
//!
//! Enters: a [`Task`] and a [`Course`]. Leaves: weights that have learned, in the folder of the stage `log.jsonl`,
//! `loss.png` and the last checkpoint. A training that is killed goes on from there to the same numbers: every step seeds
//! its random numbers from the training's seed and its own number.

use super::checkpoint::{self, About, Checkpoint, Sums};
use super::config::Course;
use super::curve;
use super::log::{self, LogLine};
use super::optimizer::{AdamW, Memory};
use super::parameters::{Layout, Parameters};
use crate::error::{Error, IoContext, Result};
use crate::say::{bar, say};
use indicatif::ProgressBar;
use serde_json::Value;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tch::{Device, Kind, Tensor};

/// What is learned.
pub trait Task {
    /// The loss of one batch and its gradients by the weights that learn, in the layout's order. Draws all its random
    /// numbers from libtorch's generator.
    ///
    /// # Errors
    /// When libtorch refuses.
    fn learn(&mut self, weights: &[&Tensor]) -> Result<Lesson>;

    /// Shows how far the averaged weights have come, in `folder`: samples, the model. Gives figures for the log.
    ///
    /// # Errors
    /// When something cannot be drawn or written.
    fn show(&self, averaged: &Parameters, step: u64, folder: &Path) -> Result<Vec<(&'static str, f64)>>;
}

/// A number with gradients, and what of it is worth a column in the log.
pub type Loss = (Tensor, Vec<(&'static str, Tensor)>);

/// What one batch teaches. Its numbers stay where they were computed: on a GPU, whoever looks at them waits.
#[derive(Debug)]
pub struct Lesson {
    /// The loss, one number in f64.
    pub loss: Tensor,
    /// What of it is worth a column in the log, in f64 too.
    pub parts: Vec<(&'static str, Tensor)>,
    /// Its gradient by each weight, in the layout's order.
    pub gradients: Vec<Tensor>,
}

impl Lesson {
    /// The gradients of a loss by the weights.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn of<T: std::borrow::Borrow<Tensor>>((loss, parts): Loss, weights: &[T]) -> Result<Lesson> {
        let number = |t: &Tensor| t.detach().f_to_kind(Kind::Double);
        let value = number(&loss)?;
        let parts = parts.iter().map(|(name, part)| Ok((*name, number(part)?))).collect::<Result<_>>()?;
        let gradients = Tensor::f_run_backward(&[loss], weights, false, false)?;
        Ok(Lesson { loss: value, parts, gradients })
    }

    /// The mean of lessons that each count their share; the same parts in each.
    pub fn mean(lessons: Vec<Lesson>, shares: &[f64]) -> Lesson {
        let mut all = Lesson { loss: Tensor::from(0.0f64), parts: vec![], gradients: vec![] };
        for (lesson, share) in lessons.into_iter().zip(shares) {
            all.loss += lesson.loss * *share;
            let own = lesson.gradients.into_iter().map(|gradient| gradient.to_kind(Kind::Float) * *share);
            if all.parts.is_empty() {
                all.parts = lesson.parts.iter().map(|(name, value)| (*name, value * *share)).collect();
                all.gradients = own.collect();
            } else {
                all.parts.iter_mut().zip(lesson.parts).for_each(|(sum, (_, value))| sum.1 += value * *share);
                all.gradients = all.gradients.into_iter().zip(own).map(|(sum, gradient)| sum + gradient).collect();
            }
        }
        all
    }
}

/// The loss curve's.
pub const CURVE: &str = "loss.png";
/// How the names of the samples begin.
pub const SAMPLES: &str = "samples-";

/// The name of the samples of a step.
pub fn samples_file(step: u64) -> String {
    format!("{SAMPLES}{step:06}.png")
}

/// How a training ended.
#[derive(Debug)]
pub struct Trained {
    /// The averaged weights.
    pub averaged: Parameters,
    /// The last step made.
    pub step: u64,
    /// Whether it was interrupted before its end.
    pub stopped: bool,
}

/// A training in its folder.
pub struct Trainer<'a> {
    /// How long and how fast.
    pub course: &'a Course,
    /// What the random numbers of each step are seeded with.
    pub seed: u64,
    /// The folder of the stage.
    pub folder: PathBuf,
    /// What a checkpoint must have been begun with.
    pub settings: Value,
    /// Raised to stop it after the step.
    pub interrupted: Arc<AtomicBool>,
    /// Whether to say nothing on the way.
    pub quiet: bool,
}

impl Trainer<'_> {
    /// Trains from `begin` (or from the folder's checkpoint, if there is one) on `device`. `task` is built once from the
    /// weights that learn.
    ///
    /// # Errors
    /// When a loss or a gradient is not finite: names the step; the last checkpoint stays. When something cannot be
    /// written.
    pub fn run<T: Task>(
        &self,
        layout: &Rc<Layout>,
        begin: impl FnOnce() -> Result<Tensor>,
        device: Device,
        task: impl FnOnce(&Parameters) -> Result<T>,
    ) -> Result<Trained> {
        std::fs::create_dir_all(&self.folder).at("create", &self.folder)?;
        let path = self.folder.join(checkpoint::FILE);
        let (first, seconds, weights, mut memory, sums) = match checkpoint::read(&path, &self.settings, layout)? {
            Some(Checkpoint { step, seconds, weights, memory, sums }) => {
                (step, seconds, weights.to_device(device), memory.on(device), sums)
            }
            None => {
                let weights = begin()?.to_device(device);
                let memory = Memory::new(&weights);
                // At once: what is wrong with the disk shows now and not in an hour.
                checkpoint::write(&path, self.about(0, 0.0, &Sums::default()), &weights, &memory)?;
                (0, 0.0, weights, memory, Sums::default())
            }
        };
        let clock = Clock { before: seconds, started: Instant::now() };
        if first > 0 {
            self.say(format!("going on after step {first}"));
        }
        log::cut(&self.folder, first)?;
        let parameters = Parameters::new(layout.clone(), weights, true);
        let mut task = task(&parameters)?;
        if device.is_cuda() {
            // Every step has the same shapes.
            tch::Cuda::cudnn_set_benchmark(true);
        }
        let bar = self.bar(first);
        let mut since = Since::going_on(sums);
        let mut step = first;
        let over = |step: u64| self.course.share(step, clock.seconds()) >= 1.0;
        // One that was killed after its time, while it wrote the model.
        let mut last = step < self.course.steps && over(step);
        if last {
            let averaged = Parameters::new(layout.clone(), memory.averaged.shallow_clone(), false);
            let _no_gradients = tch::no_grad_guard();
            task.show(&averaged, step, &self.folder)?;
        }
        last |= step >= self.course.steps;
        while !last && !self.interrupted.load(Ordering::Relaxed) {
            step += 1;
            let share = self.course.share(step, clock.seconds());
            self.step(&mut task, &parameters, &mut memory, (step, share), &mut since)?;
            bar.set_position(step);
            last = over(step);
            let shows = last || self.course.sample_every > 0 && step.is_multiple_of(self.course.sample_every);
            let logs = shows || step.is_multiple_of(self.course.log_every);
            let keeps = last || step.is_multiple_of(self.course.checkpoint_every);
            if logs || keeps || !device.is_cuda() {
                since.look()?;
            }
            if logs {
                let mut line = since.line(step, share, self.course);
                bar.set_message(format!("loss {:.4}, {:.0} pictures/s", line.loss, line.pictures_per_second));
                if self.course.minutes.is_some() {
                    bar.set_length((step as f64 / share.clamp(1e-3, 1.0)) as u64);
                }
                if shows {
                    let averaged = Parameters::new(layout.clone(), memory.averaged.shallow_clone(), false);
                    let _no_gradients = tch::no_grad_guard();
                    let figures = task.show(&averaged, step, &self.folder)?;
                    line.more.extend(figures.into_iter().map(|(name, value)| (name.to_string(), value.into())));
                }
                log::append(&self.folder, &line)?;
                if shows {
                    self.draw_curve()?;
                    self.say(&line);
                }
                since = Since::going_on(Sums::default());
            }
            if keeps {
                let about = self.about(step, clock.seconds(), &since.sums);
                checkpoint::write(&path, about, parameters.flat(), &memory)?;
            }
        }
        bar.finish_and_clear();
        if !last {
            since.look()?;
            checkpoint::write(&path, self.about(step, clock.seconds(), &since.sums), parameters.flat(), &memory)?;
        }
        Ok(Trained { averaged: Parameters::new(layout.clone(), memory.averaged, false), step, stopped: !last })
    }

    fn about<'a>(&'a self, step: u64, seconds: f64, sums: &'a Sums) -> About<'a> {
        About { step, seconds: self.course.minutes.map(|_| seconds), settings: &self.settings, sums }
    }

    /// One step; what it found waits in `since` until somebody looks.
    fn step<T: Task>(
        &self,
        task: &mut T,
        parameters: &Parameters,
        memory: &mut Memory,
        (step, share): (u64, f64),
        since: &mut Since,
    ) -> Result<()> {
        tch::manual_seed(seed_of(self.seed, step));
        let Lesson { loss, parts, gradients } = task.learn(&parameters.views())?;
        let adamw = AdamW {
            betas: (0.9, 0.99),
            eps: 1e-8,
            weight_decay: self.course.weight_decay,
            clip: self.course.clip,
            ema: self.course.ema,
        };
        if !loss.device().is_cuda() {
            check(step, f64::try_from(&loss)?, 0.0)?;
        }
        let rate = self.course.learning_rate_at(step, share);
        let norm = adamw.step(parameters.flat(), memory, &gradients, step, rate)?;
        since.push(step, loss, norm, parts)
    }

    fn draw_curve(&self) -> Result<()> {
        let lines = log::read(&self.folder)?;
        let name = self.folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let made = lines.last().map_or(1, |line| line.step);
        let steps = if self.course.minutes.is_some() { made } else { self.course.steps };
        let picture = curve::figure(&name, &lines, steps).png()?;
        crate::files::atomic::write_atomically(&self.folder.join(CURVE), &picture)
    }

    fn bar(&self, first: u64) -> ProgressBar {
        let template = "{bar:32} step {pos}/{len} {msg} [{elapsed}, {eta} left]";
        bar(Some(self.course.steps), template, self.quiet).with_position(first)
    }

    fn say(&self, text: impl Display) {
        if !self.quiet {
            say(text);
        }
    }
}

impl Memory {
    /// The same on a device.
    fn on(self, device: Device) -> Memory {
        let Memory { mean, square, averaged } = self;
        Memory { mean: mean.to_device(device), square: square.to_device(device), averaged: averaged.to_device(device) }
    }
}

/// The seed of a step's random numbers: SplitMix64's scrambling (Steele et al. 2014), so that neighbours have nothing in
/// common.
fn seed_of(seed: u64, step: u64) -> i64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(step);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) as i64
}

/// Refuses a step whose loss or gradients are not finite.
fn check(step: u64, loss: f64, norm: f64) -> Result<()> {
    if loss.is_finite() && norm.is_finite() {
        return Ok(());
    }
    let what = if loss.is_finite() { "gradient" } else { "loss" };
    let found = if loss.is_nan() || what == "gradient" { "not a number" } else { "infinite" };
    Err(Error::invalid(
        format!("the {what} is {found} at step {step}: training stopped, the last checkpoint is kept"),
        "go on from it with a lower `learning_rate`, or a lower `clip`",
    ))
}

/// How long a training has been going on, with what it took before it was interrupted.
struct Clock {
    before: f64,
    started: Instant,
}

impl Clock {
    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }
}

/// What has come together since the last line of the log, some of it perhaps before the training was interrupted.
struct Since {
    sums: Sums,
    /// Steps whose numbers nobody has looked at: loss, norm of the gradients, parts of the loss.
    unseen: Vec<(u64, Tensor)>,
    names: Vec<&'static str>,
    /// The norm of the last one looked at.
    gradient: f64,
    /// Since when, and the steps before that.
    started: Instant,
    before: u64,
}

impl Since {
    fn going_on(sums: Sums) -> Since {
        let started = Instant::now();
        Since { before: sums.steps, sums, unseen: vec![], names: vec![], gradient: 0.0, started }
    }

    fn push(&mut self, step: u64, loss: Tensor, norm: Tensor, parts: Vec<(&'static str, Tensor)>) -> Result<()> {
        self.names = parts.iter().map(|(name, _)| *name).collect();
        let mut numbers = vec![loss, norm.f_to_kind(Kind::Double)?];
        numbers.extend(parts.into_iter().map(|(_, part)| part));
        self.unseen.push((step, Tensor::f_stack(&numbers, 0)?));
        Ok(())
    }

    /// Fetches the numbers of the steps since the last look, all at once.
    fn look(&mut self) -> Result<()> {
        let unseen = std::mem::take(&mut self.unseen);
        if unseen.is_empty() {
            return Ok(());
        }
        let rows: Vec<&Tensor> = unseen.iter().map(|(_, row)| row).collect();
        let numbers: Vec<f64> = Vec::try_from(Tensor::f_stack(&rows, 0)?.to_device(Device::Cpu).view(-1))?;
        for ((step, _), row) in unseen.iter().zip(numbers.chunks(2 + self.names.len())) {
            check(*step, row[0], row[1])?;
            self.gradient = row[1];
            self.sums.add(row[0], self.names.iter().copied().zip(row[2..].iter().copied()).collect());
        }
        Ok(())
    }

    fn line(&self, step: u64, share: f64, course: &Course) -> LogLine {
        let Sums { steps, loss, parts } = &self.sums;
        let (mean, seconds) = (|sum: &f64| sum / (*steps).max(1) as f64, self.started.elapsed().as_secs_f64());
        LogLine {
            step,
            loss: mean(loss),
            learning_rate: course.learning_rate_at(step, share),
            gradient: self.gradient,
            pictures_per_second: ((steps - self.before) as i64 * course.batch) as f64 / seconds.max(1e-9),
            more: parts.iter().map(|(name, sum)| (name.clone(), mean(sum).into())).collect(),
        }
    }
}
