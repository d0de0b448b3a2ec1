//! The pictures of a run's steps three times: by the model's own decoder, by its preview decoder, and by a linear map.
//!
//!     cargo run --example previews -- previews.png

#[allow(dead_code)]
#[path = "gallery/plates.rs"]
mod plates;

use anyhow::{Context, Result};
use image::RgbImage;
use sdviz::model::resolve;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::{Plan, Quantity};
use sdviz::viz::caption::{CaptionStyle, with_caption, with_heading};
use sdviz::viz::distance::psnr;
use sdviz::viz::pixels::{WHITE, pad, side_by_side, stacked};
use sdviz::viz::text::TextStyle;
use sdviz::watch::observer::{Ask, Event, Flow, Observer};
use sdviz::watch::probe::Probe;

const STEPS: usize = 12;
const SHOWN: [usize; 6] = [1, 2, 4, 6, 9, 12];
const PROMPT: &str = "a rocket on a blue background";

/// Keeps the pictures of some steps.
struct Keeper(Quantity, Vec<RgbImage>);

impl Observer for Keeper {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Picture { what, step, .. } if what == self.0 && SHOWN.contains(&step))
    }

    fn on_event(&mut self, event: &Event) -> sdviz::error::Result<Flow> {
        if let Event::Step(step) = event {
            self.1.extend(step.pictures(self.0).into_iter().flatten().cloned());
        }
        Ok(Flow::Continue)
    }
}

fn pictures(what: Quantity, preview: Option<&str>) -> Result<Vec<RgbImage>> {
    let options = LoadOptions { preview_vae: preview.map(String::from), ..LoadOptions::default() };
    let pipeline = Pipeline::load(&resolve::resolve(Some("pocket"))?, options)?;
    let mut plan = Plan { prompt: PROMPT.into(), seed: 3, steps: STEPS, scheduler: "ddim".into(), ..Plan::default() };
    (plan.width, plan.height, plan.guidance_scale) = (0, 0, pipeline.guidance_scale());
    pipeline.complete(&mut plan)?;
    let mut keeper = Keeper(what, vec![]);
    pipeline.generate(&plan, &Probe::new(vec![&mut keeper]))?;
    Ok(keeper.1)
}

fn main() -> Result<()> {
    let out = std::env::args().nth(1).context("where to? name a PNG")?;
    let style = TextStyle::new(15.0, image::Rgb([20; 3]));
    let caption = CaptionStyle { text: style, background: WHITE, lines: 1, padding: 3 };
    let mut bands = vec![];
    for (what, title) in [
        (Quantity::PredictedOriginal, "What each step predicts (x₀)"),
        (Quantity::Latents, "The latents after each step"),
    ] {
        let own = pictures(what, None)?;
        for (name, label) in [(None, "the model’s own decoder"), (Some("tiny"), "tiny"), (Some("linear"), "linear")] {
            let row = if name.is_some() { pictures(what, name)? } else { own.clone() };
            let frames: Vec<RgbImage> = row
                .iter()
                .zip(&own)
                .zip(SHOWN)
                .map(|((picture, own), step)| {
                    let near = name.and_then(|_| psnr(own, picture)).map(|db| format!(" · {db:.0} dB"));
                    with_caption(picture, &format!("step {step}{}", near.unwrap_or_default()), &caption)
                })
                .collect();
            let band = side_by_side(&frames, 6, WHITE);
            bands.push(with_heading(&band, &format!("{title}: {label}"), &style.bold(), 1, 4));
        }
    }
    Ok(plates::write(out.as_ref(), &pad(&stacked(&bands, 10, WHITE), [8; 4], WHITE))?)
}
