//! The plots of one run: schedule, norms, guidance, change, distance.
//!
//! Enters: a run. Leaves: one figure each, or [`Error::NotRecorded`] with the `--record` that it would take. The numbers
//! come from [`super::measures`].

use super::figure::{Figure, Line, Panel};
use super::manager::Outputs;
use super::measures::{self, Curve};
use super::words;
use crate::error::{Error, Result};
use crate::trace::reader::Run;
use crate::trace::schema::{Quantity, Status};
use std::fmt;
use std::str::FromStr;

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
}

impl Plot {
    /// All plots, in the order in which they are made.
    pub const ALL: [Plot; 5] = [Plot::Schedule, Plot::Norms, Plot::Guidance, Plot::Change, Plot::Distance];

    /// Its name: `--what` takes it, the file bears it.
    pub fn name(self) -> &'static str {
        match self {
            Plot::Schedule => "schedule",
            Plot::Norms => "norms",
            Plot::Guidance => "guidance",
            Plot::Change => "change",
            Plot::Distance => "distance",
        }
    }

    /// The figure for picture `batch` of the run's batch.
    ///
    /// # Errors
    /// [`Error::NotRecorded`]; when a step cannot be read, or the batch has no such picture.
    pub fn figure(self, run: &Run, batch: usize) -> Result<Figure> {
        let (title, panels, note) = match self {
            Plot::Schedule => schedule(run)?,
            Plot::Norms => norms(run, batch)?,
            Plot::Guidance => guidance(run, batch)?,
            Plot::Change => change(run, batch)?,
            Plot::Distance => distance(run, batch)?,
        };
        let note = [note, second_pass(run, self)].into_iter().filter(|n| !n.is_empty()).collect::<Vec<_>>().join(" ");
        Ok(Figure { title: title.into(), subtitle: subtitle(run, batch), panels, note })
    }
}

impl fmt::Display for Plot {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Plot {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Plot::ALL.map(Plot::name);
        Plot::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| Error::unknown("plot", name, known))
    }
}

/// A file format of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Pixels, 1600×900.
    Png,
    /// Lines and text, for slides and print at any size.
    Svg,
}

impl Format {
    /// The end of its file names.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Svg => "svg",
        }
    }

    /// The figure in this format.
    ///
    /// # Errors
    /// When the drawing library refuses.
    pub fn bytes(self, figure: &Figure) -> Result<Vec<u8>> {
        match self {
            Format::Png => figure.png(),
            Format::Svg => figure.svg(),
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "png" => Ok(Format::Png),
            "svg" => Ok(Format::Svg),
            _ => Err(Error::unknown("format", name, ["png", "svg"])),
        }
    }
}

/// Every plot as PNG, for the registry.
///
/// # Errors
/// As [`make`].
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    make(run, &Plot::ALL, &[Format::Png], 0, outputs)
}

/// Makes `plot-NAME.png` and `plot-NAME.svg` of picture `batch`. What was not recorded is left out and noted.
///
/// # Errors
/// [`Error::NotRecorded`] when nothing of it was recorded; when a step cannot be read or a file not be written.
pub fn make(run: &Run, what: &[Plot], formats: &[Format], batch: usize, outputs: &mut Outputs) -> Result<()> {
    let pictures = run.record().plan.batch_size;
    if batch >= pictures {
        return Err(Error::invalid(
            format!("the batch has no picture {batch}: `{}` made {pictures}", run.dir().display()),
            "pictures of a batch are counted from 0",
        ));
    }
    let (mut made, mut missing) = (0, vec![]);
    for plot in what {
        match plot.figure(run, batch) {
            Ok(figure) => {
                for format in formats {
                    outputs.write(&format!("plot-{plot}.{}", format.extension()), &format.bytes(&figure)?)?;
                    made += 1;
                }
            }
            Err(error @ Error::NotRecorded { .. }) => missing.push((plot, error)),
            Err(error) => return Err(error),
        }
    }
    if made == 0 && missing.len() == 1 {
        return Err(missing.remove(0).1);
    }
    if made == 0 {
        let names: Vec<_> = missing.iter().map(|(plot, _)| plot.name()).collect();
        return Err(Error::NotRecorded {
            message: format!("`{}` recorded nothing to plot of {}", run.dir().display(), names.join(", ")),
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
fn second_pass(run: &Run, plot: Plot) -> String {
    let Some(second) = &run.record().hires else { return String::new() };
    let begins = format!("A second pass, {}×{}, begins at step {}", second.width, second.height, second.first_step);
    match plot {
        Plot::Schedule | Plot::Guidance | Plot::Change => format!("{begins}."),
        Plot::Norms => format!("{begins}: its vectors have more numbers, and are longer."),
        Plot::Distance => format!("{begins}; steps of another size than the last have no distance."),
    }
}

type Parts = (&'static str, Vec<Panel>, String);

fn schedule(run: &Run) -> Result<Parts> {
    let levels = &run.record().schedule;
    if levels.is_empty() {
        return Err(Error::NotRecorded {
            message: format!("`{}` has no schedule in its record", run.dir().display()),
            hint: "it was made by an early version: trace again".into(),
        });
    }
    let curve = |value: fn(f64, f64) -> f64| -> Curve {
        levels.iter().enumerate().map(|(step, level)| (step, value(level.alpha_cumprod, level.sigma))).collect()
    };
    let mut note = vec![];
    if levels.windows(2).any(|pair| pair[0].timestep == pair[1].timestep) {
        note.push("Where two model calls share a timestep, the curve is flat.");
    }
    if levels.last().is_some_and(|level| level.sigma == 0.0) {
        note.push("At the end σ = 0 and the SNR is infinite: that point is left out.");
    }
    let panels = vec![
        one(run, "ᾱ", "share of the signal’s variance left", false, curve(|alpha, _| alpha)),
        one(run, "σ", "noise beside a signal of scale 1", false, curve(|_, sigma| sigma)),
        one(run, "SNR = 1/σ²", "signal to noise, variances", true, curve(|_, sigma| 1.0 / (sigma * sigma))),
    ];
    Ok(("How much noise is left: the schedule", panels, note.join(" ")))
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
            Err(Error::NotRecorded { .. })
                if what == Quantity::NoiseUncond && run.record().plan.guidance_scale <= 1.0 => {}
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
    let note = match names.is_empty() {
        true => String::new(),
        false => format!("Not recorded: {}.", names.join(", ")),
    };
    Ok(("How long the vectors are: latents and noise predictions", panels, note))
}

fn guidance(run: &Run, batch: usize) -> Result<Parts> {
    let guidance = measures::guidance(run, batch)?;
    let percent = guidance.share.iter().map(|(step, share)| (*step, 100.0 * share)).collect();
    let panels = vec![
        one(run, "‖ε(prompt) − ε(∅)‖", "what the prompt changes", false, guidance.difference),
        one(run, "∠ ε(∅), ε(prompt)", "degrees; 0: they agree", false, guidance.angle),
        one(run, "share of the update, %", "‖s·(ε(prompt) − ε(∅))‖ / ‖ε guided‖", false, percent),
    ];
    let plan = &run.record().plan;
    let without = match plan.negative_prompt.as_str() {
        "" => "∅ is the empty prompt".to_string(),
        negative => format!("∅ is the negative prompt “{}”", shortened(negative, 30)),
    };
    let note = format!("ε guided = ε(∅) + s·(ε(prompt) − ε(∅)) with s = {}; {without}.", plan.guidance_scale);
    Ok(("How hard the prompt pulls: guidance", panels, note))
}

fn change(run: &Run, batch: usize) -> Result<Parts> {
    let percent = measures::change(run, batch)?.into_iter().map(|(step, value)| (step, 100.0 * value)).collect();
    let formula = "‖x₀(k) − x₀(k−1)‖ / ‖x₀(k)‖, where x₀(k) is the clean picture that model call k predicts";
    let panels = vec![one(run, "change of x₀, %", formula, false, percent)];
    Ok(("How much the predicted picture changes from step to step", panels, String::new()))
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
        panels.push(panel(run, "distance in pixels", "decoded; root mean square, grey levels of 255", false, curves));
    }
    let last = run.record().last_step();
    let note = match distance.to {
        to if to == last => String::new(),
        to => format!("Distance to step {to}, the last one that is there; the run has {last}."),
    };
    Ok(("How far from the finished picture", panels, note))
}

/// A panel of one curve.
fn one(run: &Run, y: &str, about: &str, log: bool, curve: Curve) -> Panel {
    panel(run, y, about, log, vec![line(y, 0, curve)])
}

fn panel(run: &Run, y: &str, about: &str, log: bool, curves: Vec<Line>) -> Panel {
    let x = if words::counts_calls(run) { "model call" } else { "step" };
    let last = curves.iter().flat_map(|line| line.points.last()).map(|p| p.0).fold(0.0, f64::max);
    let x_end = last.max(run.record().last_step() as f64);
    Panel { y: y.into(), about: about.into(), x: x.into(), x_end, log, curves }
}

fn line(name: &str, look: usize, curve: Curve) -> Line {
    Line { name: name.into(), points: curve.into_iter().map(|(step, value)| (step as f64, value)).collect(), look }
}

/// `“a red apple” · pndm · 25 steps · guidance 7.5 · seed 0`.
fn subtitle(run: &Run, batch: usize) -> String {
    let (record, plan) = (run.record(), &run.record().plan);
    let mut parts = vec![format!("“{}”", shortened(&plan.prompt, 44)), plan.scheduler.clone()];
    parts.push(count(plan.steps, "step"));
    if record.calls() != plan.steps && record.calls() > 0 {
        parts.push(count(record.calls(), "model call"));
    }
    parts.push(format!("guidance {}", plan.guidance_scale));
    parts.push(format!("seed {}", plan.seed.wrapping_add(batch as u64)));
    if record.status != Status::Complete {
        parts.push(record.status.to_string());
    }
    parts.join(" · ")
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// At most `length` characters, cut at a word where there is one.
pub(super) fn shortened(text: &str, length: usize) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.chars().count() <= length {
        return text;
    }
    // One more than there is room for: where that is a space, a word ends just in time.
    let start: String = text.chars().take(length).collect();
    let last = start.char_indices().next_back().map_or(0, |(at, _)| at);
    let cut = start.rfind(' ').filter(|at| *at > length / 2).unwrap_or(last);
    format!("{}…", start[..cut].trim_end_matches([',', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_prompts_are_cut_at_a_word() {
        assert_eq!(shortened("a red apple", 44), "a red apple");
        assert_eq!(shortened("a painting of a squirrel, eating a burger", 26), "a painting of a squirrel…");
        assert_eq!(shortened("ääääääääää", 5), "ääää…");
    }
}
