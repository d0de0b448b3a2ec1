//! The plots of a run, and of several in one: schedule, norms, guidance, change, distance, the geometry of its way, what
//! its layers add, who gets the attention, and what its words cause.
//!
//! Enters: runs. Leaves: one figure each, or [`Error::NotRecorded`] with the `--record` that it would take. The numbers
//! come from [`super::measures`] and [`super::geometry`].

pub mod attention;
mod attribution;
mod layers;
mod together;

use super::figure::{Across, Figure, Format, Line, Panel};
use super::geometry::trajectory::Choice;
use super::geometry::{self, Measure};
use super::manager::Outputs;
use super::measures::{self, Curve};
use super::settings::{self, shortened};
use super::words;
use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use serde_json::{Map, Value, json};
use std::fmt;
use std::str::FromStr;

/// Characters of a prompt that a figure's second line shows.
const PROMPT: usize = 60;

/// A plot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plot {
    /// ᾱ, σ and the signal-to-noise ratio.
    Schedule,
    /// Norms of the latents and of the noise predictions.
    Norms,
    /// What guidance changes.
    Guidance,
    /// How far the predicted picture moves at each step.
    Change,
    /// How far each step is from the finished picture.
    Distance,
    /// The geometry of its way.
    Geometry(Measure),
    /// What each layer adds.
    Layers,
    /// Who gets the attention, and how words' maps move.
    Attention,
    /// What each word causes.
    Attribution,
}

impl Plot {
    /// The plots that every run can have, made unasked, in their order.
    pub const USUAL: [Plot; 5] = [Plot::Schedule, Plot::Norms, Plot::Guidance, Plot::Change, Plot::Distance];

    /// All plots.
    pub fn all() -> impl Iterator<Item = Plot> {
        Plot::USUAL.into_iter().chain(Measure::ALL.map(Plot::Geometry)).chain([
            Plot::Layers,
            Plot::Attention,
            Plot::Attribution,
        ])
    }

    /// Its name: `--what` takes it, the file bears it.
    pub fn name(self) -> &'static str {
        match self {
            Plot::Schedule => "schedule",
            Plot::Norms => "norms",
            Plot::Guidance => "guidance",
            Plot::Change => "change",
            Plot::Distance => "distance",
            Plot::Geometry(measure) => measure.name(),
            Plot::Layers => "blocks",
            Plot::Attention => "attention",
            Plot::Attribution => "attribution",
        }
    }

    /// The figure for picture `batch` of each run's batch: the curves of one run, or those of several together.
    ///
    /// # Errors
    /// [`Error::NotRecorded`] when no run has it; when a step cannot be read, or a batch has no such picture.
    pub fn figure(self, runs: &[&Run], batch: usize) -> Result<Figure> {
        Ok(self.with_numbers(runs, batch, &Choice::default())?.0)
    }

    /// The figure and its numbers: of the geometry those of `geometry.json`, of `choice`; of others those of the figure.
    ///
    /// # Errors
    /// As [`Plot::figure`]; also when what is chosen cannot be.
    pub fn with_numbers(self, runs: &[&Run], batch: usize, choice: &Choice) -> Result<(Figure, Value)> {
        let Plot::Geometry(measure) = self else {
            let figure = self.of_steps(runs, batch)?;
            let numbers = figure.as_json();
            return Ok((figure, numbers));
        };
        let measured = measure.take(runs, batch, choice)?;
        Ok((measured.figure(settings::common(runs, batch, PROMPT)), json!(measured.numbers)))
    }

    fn of_steps(self, runs: &[&Run], batch: usize) -> Result<Figure> {
        let [run] = runs else { return together::figure(self, runs, batch) };
        let Parts { title, panels, notes } = self.parts(run, batch)?;
        let subtitle = settings::about(run, batch, PROMPT);
        Ok(Figure { title: title.into(), subtitle, panels, note: notes.join(" ") })
    }

    /// What the figure of one run is made of.
    pub(super) fn parts(self, run: &Run, batch: usize) -> Result<Parts> {
        let mut parts = match self {
            Plot::Schedule => schedule(run),
            Plot::Norms => norms(run, batch),
            Plot::Guidance => guidance(run, batch),
            Plot::Change => change(run, batch),
            Plot::Distance => distance(run, batch),
            Plot::Layers => layers::parts(run, batch),
            Plot::Attention => attention::parts(run, batch),
            Plot::Attribution => attribution::parts(run, batch),
            // These are made of all runs together.
            Plot::Geometry(_) => Err(Error::Broken(format!("the {self} of one run among others"))),
        }?;
        parts.notes.extend(second_pass(run, self));
        Ok(parts)
    }
}

/// What a figure is made of.
pub(super) struct Parts {
    pub title: &'static str,
    pub panels: Vec<Panel>,
    /// Sentences.
    pub notes: Vec<String>,
}

impl fmt::Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Plot {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Plot::all().map(Plot::name);
        Plot::all().find(|p| p.name() == name).ok_or_else(|| Error::unknown("plot", name, known))
    }
}

/// Which plots, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The plots.
    pub what: Vec<Plot>,
    /// The files of each.
    pub formats: Vec<Format>,
    /// Which picture of the batch.
    pub batch: usize,
    /// What the geometry is taken of.
    pub choice: Choice,
    /// Another title than the plot's own; an empty one leaves out both the title and the line below it.
    pub title: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        let (what, formats) = (Plot::USUAL.to_vec(), vec![Format::Png]);
        Options { what, formats, batch: 0, choice: Choice::default(), title: None }
    }
}

/// Every plot as PNG, for the registry.
///
/// # Errors
/// As [`make`].
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    let mut options = Options::default();
    options.what.extend(run.record().attention.as_ref().map(|_| Plot::Attention));
    make(&[run], &options, outputs).map(drop)
}

/// Makes `plot-NAME.png` and so on of each plot; of several runs `plot-NAME-compared.png`. What was not recorded is left
/// out and noted. Where the geometry is among them, `geometry.json` has its numbers. Gives the numbers of all, by name.
///
/// # Errors
/// [`Error::NotRecorded`] when nothing of it was recorded; when a step cannot be read or a file not be written.
pub fn make(runs: &[&Run], options: &Options, outputs: &mut Outputs) -> Result<Value> {
    for run in runs {
        words::check_batch(run, options.batch)?;
    }
    let several = if runs.len() > 1 { "-compared" } else { "" };
    let (mut made, mut missing) = (0, vec![]);
    let (mut all, mut geometry) = (Map::new(), Map::new());
    for plot in &options.what {
        let (mut figure, numbers) = match plot.with_numbers(runs, options.batch, &options.choice) {
            Ok(made) => made,
            Err(error @ Error::NotRecorded { .. }) => {
                missing.push((plot, error));
                continue;
            }
            Err(error) => return Err(error),
        };
        match options.title.as_deref() {
            Some("") => (figure.title, figure.subtitle) = Default::default(),
            Some(title) => figure.title = title.into(),
            None => {}
        }
        for format in &options.formats {
            outputs.write(&format!("plot-{plot}{several}.{}", format.extension()), &format.bytes(&figure)?)?;
            made += 1;
        }
        if matches!(plot, Plot::Geometry(_)) {
            geometry.insert(plot.to_string(), numbers.clone());
        }
        all.insert(plot.to_string(), numbers);
    }
    if !geometry.is_empty() {
        let file = format!("{}{several}.json", geometry::FILE);
        let text = serde_json::to_string_pretty(&geometry).map_err(|e| Error::Broken(e.to_string()))?;
        outputs.write(&file, (text + "\n").as_bytes())?;
    }
    leave_out(runs, made, missing, outputs)?;
    Ok(Value::Object(all))
}

/// Says which plots could not be made; an error if none was.
fn leave_out(runs: &[&Run], made: usize, mut missing: Vec<(&Plot, Error)>, outputs: &mut Outputs) -> Result<()> {
    if made == 0 && missing.len() == 1 {
        return Err(missing.remove(0).1);
    }
    if made == 0 {
        let names: Vec<_> = missing.iter().map(|(plot, _)| plot.name()).collect();
        let folders: Vec<_> = runs.iter().map(|run| format!("`{}`", run.name().display())).collect();
        return Err(Error::NotRecorded {
            message: format!("{} recorded nothing to plot of {}", folders.join(" and "), names.join(", ")),
            hint: "trace again with `--record all`".into(),
        });
    }
    for (plot, error) in missing {
        let (message, hint) = (format!("plot `{plot}`: {error}"), error.hint().unwrap_or_default());
        outputs.leave_out(Error::NotRecorded { message, hint });
    }
    Ok(())
}

/// What a second pass means for a plot.
fn second_pass(run: &Run, plot: Plot) -> Option<String> {
    let second = run.record().hires.as_ref()?;
    let begins = format!("A second pass, {}×{}, begins at step {}", second.width, second.height, second.first_step);
    Some(match plot {
        Plot::Schedule | Plot::Guidance | Plot::Change | Plot::Layers | Plot::Attention | Plot::Attribution => {
            format!("{begins}.")
        }
        Plot::Norms => format!("{begins}: its vectors have more numbers, and are longer."),
        Plot::Distance => format!("{begins}; steps of another size than the last have no distance."),
        Plot::Geometry(_) => return None,
    })
}

fn schedule(run: &Run) -> Result<Parts> {
    let levels = &run.record().schedule;
    if levels.is_empty() {
        return Err(Error::NotRecorded {
            message: format!("`{}` has no schedule in its record", run.name().display()),
            hint: "it was made by an early version: trace again".into(),
        });
    }
    let curve = |value: fn(f64, f64) -> f64| -> Curve {
        levels.iter().enumerate().map(|(step, level)| (step, value(level.alpha_cumprod, level.sigma))).collect()
    };
    let mut notes = vec![];
    if levels.windows(2).any(|pair| pair[0].timestep == pair[1].timestep) {
        notes.push("Where two model calls share a timestep, the curve is flat.".into());
    }
    if levels.last().is_some_and(|level| level.sigma == 0.0) {
        notes.push("At the end σ = 0 and the SNR is infinite: that point is left out.".into());
    }
    let panels = vec![
        one(run, "ᾱ", "share of the signal’s variance left", false, curve(|alpha, _| alpha)),
        one(run, "σ", "noise beside a signal of scale 1", false, curve(|_, sigma| sigma)),
        one(run, "SNR = 1/σ²", "signal to noise, variances", true, curve(|_, sigma| 1.0 / (sigma * sigma))),
    ];
    Ok(Parts { title: "How much noise is left: the schedule", panels, notes })
}

fn norms(run: &Run, batch: usize) -> Result<Parts> {
    let (mut panels, mut missing) = (vec![], vec![]);
    match measures::norms(run, Quantity::Latents, batch) {
        Ok(raw) => {
            let mut curves = vec![line("x, as the scheduler holds it", 0, raw)];
            if let Some(scaled) = measures::scaled_latent_norms(run, batch)? {
                curves.push(line("x/√(σ²+1), as the model sees it", 1, scaled));
            }
            panels.push(panel(run, "‖x‖, the latents", "Euclidean norm", curves.len() > 1, curves));
        }
        Err(Error::NotRecorded { .. }) => missing.push(Quantity::Latents),
        Err(error) => return Err(error),
    }
    let mut curves = vec![];
    for (what, name, look) in [
        (Quantity::NoiseUncond, "ε(∅), without the prompt", 0),
        (Quantity::NoiseText, "ε(prompt)", 1),
        (Quantity::NoiseGuided, "ε guided, what the step uses", 2),
    ] {
        match measures::norms(run, what, batch) {
            Ok(curve) => curves.push(line(name, look, curve)),
            // Without guidance there is only one prediction to record.
            Err(Error::NotRecorded { .. }) if what == Quantity::NoiseUncond && !run.record().is_guided() => {}
            Err(Error::NotRecorded { .. }) => missing.push(what),
            Err(error) => return Err(error),
        }
    }
    if !curves.is_empty() {
        panels.push(panel(run, "‖ε‖, the noise predictions", "Euclidean norm", false, curves));
    }
    if panels.is_empty() {
        return Err(measures::not_recorded(run, &missing));
    }
    let names: Vec<_> = missing.iter().map(|q| q.key()).collect();
    let notes = if names.is_empty() { vec![] } else { vec![format!("Not recorded: {}.", names.join(", "))] };
    Ok(Parts { title: "How long the vectors are: latents and noise predictions", panels, notes })
}

fn guidance(run: &Run, batch: usize) -> Result<Parts> {
    let guidance = measures::guidance(run, batch)?;
    let percent: Curve = guidance.share.iter().map(|(step, share)| (*step, 100.0 * share)).collect();
    let beyond = percent.iter().any(|(_, share)| *share > 100.0);
    let panels = vec![
        one(run, "‖ε(prompt) − ε(∅)‖", "what the prompt changes", false, guidance.difference),
        one(run, "∠ ε(∅), ε(prompt)", "degrees; 0: they agree", false, guidance.angle),
        one(run, "share of the update, %", "‖s·(ε(prompt) − ε(∅))‖ / ‖ε guided‖", false, percent),
    ];
    let mut notes = vec!["ε guided = ε(∅) + s·(ε(prompt) − ε(∅)), with s the guidance scale.".to_string()];
    let plan = &run.record().plan;
    notes.push(match plan.negative_prompt.as_str() {
        "" => "∅ is the empty prompt.".to_string(),
        negative => format!("∅ is the negative prompt “{}”.", shortened(negative, 30)),
    });
    if beyond {
        // A part can be longer than the sum: the other part then points the other way.
        notes.push("Above 100 % the two parts of ε guided point against each other.".into());
    }
    Ok(Parts { title: "How hard the prompt pulls: guidance", panels, notes })
}

fn change(run: &Run, batch: usize) -> Result<Parts> {
    let percent = measures::change(run, batch)?.into_iter().map(|(step, value)| (step, 100.0 * value)).collect();
    let formula = "‖x₀(k) − x₀(k−1)‖ / ‖x₀(k)‖, where x₀(k) is the clean picture that model call k predicts";
    let panels = vec![one(run, "change of x₀, %", formula, false, percent)];
    Ok(Parts { title: "How much the predicted picture changes from step to step", panels, notes: vec![] })
}

fn distance(run: &Run, batch: usize) -> Result<Parts> {
    let distance = measures::distance(run, batch)?;
    let kept = |curve: &Curve| !curve.is_empty();
    let latents = [("x, the latents", 0, distance.latents), ("x₀, the prediction", 1, distance.predicted)];
    let curves: Vec<Line> =
        latents.into_iter().filter(|(.., c)| kept(c)).map(|(name, look, c)| line(name, look, c)).collect();
    let mut panels = vec![panel(run, "distance in latents", "root mean square", false, curves)];
    let mut curves = vec![];
    for (what, name, look) in
        [(Quantity::Latents, "x, the latents", 0), (Quantity::PredictedOriginal, "x₀, the prediction", 1)]
    {
        let curve = measures::picture_distance(run, what, batch)?;
        if kept(&curve) {
            curves.push(line(name, look, curve));
        }
    }
    if !curves.is_empty() {
        panels.push(panel(run, "distance in pixels", "root mean square, grey levels of 255", false, curves));
    }
    let (to, last) = (distance.to, run.record().last_step());
    let early = format!("Distance to step {to}, the last one that is there; the run has {last}.");
    let notes = if to == last { vec![] } else { vec![early] };
    Ok(Parts { title: "How far from the finished picture", panels, notes })
}

/// A panel of one curve.
fn one(run: &Run, y: &str, about: &str, log: bool, curve: Curve) -> Panel {
    panel(run, y, about, log, vec![line(y, 0, curve)])
}

fn panel(run: &Run, y: &str, about: &str, log: bool, curves: Vec<Line>) -> Panel {
    let x = if words::counts_calls(run) { "model call" } else { "step" };
    let last = curves.iter().flat_map(|line| line.points.last()).map(|p| p.0).fold(0.0, f64::max);
    let x_end = last.max(run.record().last_step() as f64);
    Panel { y: y.into(), about: about.into(), x: x.into(), x_end, across: Across::Steps, log, curves, stacked: false }
}

fn line(name: &str, look: usize, curve: Curve) -> Line {
    Line {
        name: name.into(),
        points: curve.into_iter().map(|(step, value)| (step as f64, value)).collect(),
        look,
        theory: false,
    }
}
