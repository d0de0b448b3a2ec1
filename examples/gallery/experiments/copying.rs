//! Experiments that put something in the place of the middle block: zeros, a mean, another run's (12), a direction (13).

use super::{About, Compared, Condition, Experiment, Stage, glossy};
use crate::figures::Values;
use crate::plates::Plate;
use crate::scene::{Scene, Studio, pictures};
use sdviz::prelude::*;
use std::path::Path;

/// The middle block silent, left out, or another run's.
pub fn bottleneck() -> Compared {
    let copy = |name: &str, label: &str, edit: &'static str| {
        Condition::new(name, label, move |scene: &Scene| {
            scene.own().donor(&scene.run(&scene.subject.other)?).edit(edit).run()
        })
    };
    let conditions = vec![
        Condition::unchanged(),
        Condition::edits("zero", "zeros", &["zero mid"]),
        Condition::edits("mean", "its mean over the places", &["mean mid"]),
        Condition::edits("skip", "left out", &["skip mid"]),
        copy("copy-early", "the other's, steps 1–8", "copy unet.mid_block steps=1-8"),
        copy("copy", "the other's", "copy unet.mid_block"),
        copy("copy-both", "the other's, both predictions", "copy unet.mid_block branch=both"),
    ];
    Compared::new(About::new("12", 48, 4), conditions, vec![5, 1, 3])
}

/// A direction from flat to glossy.
pub struct Direction(Compared);

impl Direction {
    /// With several lengths of it, and of one that was drawn by chance.
    pub fn new() -> Direction {
        let conditions = vec![
            styled("flat", "flat", None),
            styled("middle-4", "flat", Some(("middle", 4.0))),
            styled("up-1", "flat", Some(("up", 1.0))),
            styled("up-2", "flat", Some(("up", 2.0))),
            styled("up-4", "flat", Some(("up", 4.0))),
            styled("chance-2", "flat", Some(("chance", 2.0))),
            styled("chance-4", "flat", Some(("chance", 4.0))),
            styled("glossy", "glossy", None),
        ];
        Direction(Compared::new(About::new("13", 48, 4), conditions, vec![6, 4, 1]))
    }
}

/// A style in the prompt, and so much of a direction: in the middle block, or in the block at half the latents' size on the
/// way up.
fn styled(name: &str, style: &'static str, added: Option<(&'static str, f64)>) -> Condition {
    let label = match added {
        None => format!("prompt: {style} style"),
        Some(("middle", by)) => format!("flat + {by} × glossy in the middle"),
        Some(("up", by)) => format!("flat + {by} × glossy"),
        Some((_, by)) => format!("flat + {by} × chance"),
    };
    Condition::new(name, &label, move |scene: &Scene| {
        let drawing = scene.draw(&format!("{}, {style} style", scene.subject.prompt));
        let Some((key, by)) = added else { return drawing.run() };
        let site = if key == "middle" { "unet.mid_block" } else { "unet.up_blocks.1" };
        let file = glossy::file(scene.folder);
        drawing.edit(format!("add {site} direction='{}' key={key} by={by}", file.display())).run()
    })
}

impl Experiment for Direction {
    fn about(&self) -> About {
        self.0.about
    }

    fn prepare(&self, studio: &Studio, folder: &Path) -> Result<()> {
        glossy::prepare(studio, folder)
    }

    /// Beside what the judge sees: `toward`, how far a picture has come from the flat one to the glossy one of its seed,
    /// 1 − ‖x − glossy‖ / ‖flat − glossy‖ over its pixels.
    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        let mut all = vec![];
        for way in &self.0.conditions {
            let run = (way.run)(scene)?;
            scene.judge(&way.name, &run, values)?;
            all.push(pictures(&run)?);
        }
        let (Some(flat), Some(glossy)) = (all.first(), all.last()) else { return Ok(()) };
        for (way, now) in self.0.conditions.iter().zip(&all) {
            for ((now, flat), glossy) in now.iter().zip(flat).zip(glossy) {
                values.push(&format!("{}.toward", way.name), 1.0 - apart(now, glossy) / apart(flat, glossy));
            }
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        self.0.plates(stage)
    }
}

/// The distance of two pictures over all of their numbers.
fn apart(a: &RgbImage, b: &RgbImage) -> f64 {
    let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
    a.as_raw().iter().zip(b.as_raw()).map(square).sum::<f64>().sqrt()
}
