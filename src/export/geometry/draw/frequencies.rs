//! What is at each frequency: power spectra, and when frequencies settle.

use super::{Parts, Points, each, over_steps, panel, percent};
use crate::export::figure::{Across, LOOKS, Line, Panel};
use crate::export::geometry::bands::{Bands, SETTLED};
use crate::export::geometry::spectrum::Spectrum;
use crate::export::geometry::trajectory::{Of, Trajectory};
use crate::export::words;

/// Where the ring of the corners is drawn.
const CORNERS: f64 = 0.6;
/// A settling error below this, in per cent, is not drawn: what is that small no longer matters, and 0 has no logarithm.
const LEAST_ERROR: f64 = 0.01;
/// The look of what is one curve in a figure whose others are rings.
const OWN_LOOK: usize = LOOKS - 1;

pub(super) fn spectrum(all: &[Spectrum], ways: &[Trajectory]) -> Parts {
    let mut kinds: Vec<Of> = ways.iter().map(|way| way.of).collect();
    kinds.dedup();
    let panels = kinds.iter().map(|of| {
        let own: Vec<_> = all.iter().zip(ways).filter(|(_, way)| way.of == *of).collect();
        let curves = match own.as_slice() {
            [(spectrum, way)] => by_step(spectrum, way),
            several => {
                let last = several.iter().enumerate().map(|(look, (spectrum, way))| {
                    let power = spectrum.power.last().map(Vec::as_slice).unwrap_or_default();
                    Line::measured(way.name.clone(), points(spectrum, power), look)
                });
                last.collect()
            }
        };
        let about = match of {
            Of::Latents => "power; white noise: 1",
            Of::Predicted => "power",
            Of::Noise => "power; white noise: 1",
            Of::Pictures => "power of the luma, grey levels²",
        };
        let y = match of {
            Of::Latents => "x, the latents",
            Of::Predicted => "x₀, the prediction",
            Of::Noise => "ε, the predicted noise",
            Of::Pictures => "decoded pictures",
        };
        Panel { log: true, ..panel((unit(*of), Across::Numbers), y, about, curves) }
    });
    let panels: Vec<Panel> = panels.collect();
    let last = if all.len() > kinds.len() { " of the last step" } else { "" };
    let mut notes = vec![format!(
        "|F|²/(height·width){last}, averaged over rings of frequencies and over channels. The last point holds the corners, beyond 0.5."
    )];
    if panels.iter().flat_map(|panel| &panel.curves).any(|line| line.theory) {
        notes.push("Thin: ᾱ·(the end’s power) + 1 − ᾱ, a Gaussian with noise.".into());
    }
    Parts { title: "How much of each frequency there is: power spectra", panels, notes }
}

/// The spectra of some steps of one way, with what a Gaussian would have.
fn by_step(spectrum: &Spectrum, way: &Trajectory) -> Vec<Line> {
    let steps = words::spread(&way.steps, LOOKS - 1);
    let mut curves = vec![];
    for (look, step) in steps.iter().enumerate() {
        let Some(index) = way.steps.iter().position(|known| known == step) else { continue };
        // The predictions begin at step 1: this way all panels have one legend.
        let name = if look == 0 { "the first step".into() } else { format!("step {step}") };
        curves.push(Line::measured(name, points(spectrum, &spectrum.power[index]), look));
        let gaussian = spectrum.gaussian.get(index);
        curves.extend(gaussian.map(|power| Line::theory("", points(spectrum, power), look)));
    }
    curves
}

fn points(spectrum: &Spectrum, power: &[f64]) -> Points {
    let frequencies = spectrum.frequencies.iter().map(|frequency| frequency.min(CORNERS));
    frequencies.zip(power.iter().copied()).collect()
}

fn unit(of: Of) -> &'static str {
    if of == Of::Pictures { "cycles per pixel" } else { "cycles per latent" }
}

pub(super) fn bands(all: &[Bands], ways: &[Trajectory]) -> Parts {
    let of = ways[0].of;
    let symbol = of.symbol();
    let mut notes = vec![format!(
        "E = Σ|F[{symbol}(k)] − F[{symbol}(N)]|² / Σ|F[{symbol}(N)]|² over a ring of frequencies; settled: E stays at {} % or below.",
        100.0 * SETTLED
    )];
    let mut outline = each(all, ways, |bands, _| settled(bands, &bands.settled));
    let (errors, coherence, whose) = match (all, ways) {
        ([bands], [way]) => {
            (outline[0].name, outline[0].look) = ("measured".into(), OWN_LOOK);
            if !bands.gaussian_settled.is_empty() {
                let points = settled(bands, &bands.gaussian_settled);
                outline.push(Line::theory("a Gaussian of the same spectrum", points, OWN_LOOK));
                notes.push("Thin: a Gaussian of the same spectrum, x₀(k)/x₀(N) = √(λ/(λ+σ²)).".into());
            }
            let (errors, coherence) = by_ring(bands, way);
            (errors, coherence, String::new())
        }
        _ => {
            // Of several, one ring: the outline as such.
            let ring = octaves(&all[0]).get(1).copied().unwrap_or(0);
            let of_ring = |values: &[Vec<f64>]| values.get(ring).cloned().unwrap_or_default();
            let errors = each(all, ways, |bands, way| visible(way.curve(&percent(&of_ring(&bands.error)))));
            let coherence = each(all, ways, |bands, way| way.curve(&of_ring(&bands.coherence)));
            (errors, coherence, format!(" in {}", wave(&all[0], ring)))
        }
    };
    let panels = vec![
        panel((unit(of), Across::Numbers), "settled at step", "by frequency; low: outline, high: detail", outline),
        Panel { log: true, ..over_steps(ways, "E, %", &format!("still to change{whose}"), errors) },
        over_steps(ways, "coherence γ", &format!("with the end{whose}"), coherence),
    ];
    Parts { title: "Outline, then detail: when each frequency settles", panels, notes }
}

/// When each ring settles; without that of the corners, which has no one frequency.
fn settled(bands: &Bands, steps: &[Option<usize>]) -> Points {
    let known = bands.frequencies.iter().zip(steps).filter(|(frequency, _)| **frequency <= 0.5);
    known.filter_map(|(frequency, step)| Some((*frequency, (*step)? as f64))).collect()
}

/// Error and coherence of some rings of one way, with a Gaussian's error.
fn by_ring(bands: &Bands, way: &Trajectory) -> (Vec<Line>, Vec<Line>) {
    let (mut errors, mut coherence) = (vec![], vec![]);
    let octaves = octaves(bands);
    let shown = words::spread(&(0..octaves.len()).collect::<Vec<_>>(), OWN_LOOK);
    for (look, ring) in shown.iter().map(|at| octaves[*at]).enumerate() {
        let name = wave(bands, ring);
        errors.push(Line::measured(name.clone(), visible(way.curve(&percent(&bands.error[ring]))), look));
        coherence.push(Line::measured(name, way.curve(&bands.coherence[ring]), look));
        let gaussian = bands.gaussian_error.get(ring);
        errors.extend(gaussian.map(|error| Line::theory("", visible(way.curve(&percent(error))), look)));
    }
    (errors, coherence)
}

fn visible(mut curve: Points) -> Points {
    curve.retain(|(_, error)| *error >= LEAST_ERROR);
    curve
}

/// The rings of one wave, two, four, … over the longer side, of those that hold anything at the end.
fn octaves(bands: &Bands) -> Vec<usize> {
    let within = bands.frequencies.len() - 1;
    let rings = (0..usize::BITS).map(|power| 1 << power).take_while(|ring| *ring < within);
    rings.filter(|ring| bands.error[*ring].iter().any(|error| error.is_finite())).collect()
}

/// `waves of 16 latents`.
fn wave(bands: &Bands, ring: usize) -> String {
    let length = 1.0 / bands.frequencies[ring];
    let length = if length.fract() == 0.0 { length.to_string() } else { words::short(length) };
    format!("waves of {length} {}", if bands.whose.of == Of::Pictures { "pixels" } else { "latents" })
}
