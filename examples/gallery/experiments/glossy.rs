//! Directions from flat to glossy: what the mean of a site over 24 glossy drawings has more than the mean over 24 flat ones,
//! a number for each channel, over all steps and places, in the prediction with the prompt.
//!
//! Enters: the model. Leaves: a safetensors file with `middle`, of the middle block, `up`, of the block at half the latents'
//! size on the way up, and `chance`, a direction as long as `up` that was drawn by chance. The seeds are others than those of
//! the experiment.

use crate::scene::Studio;
use crate::subject::Subject;
use sdviz::prelude::*;
use std::path::{Path, PathBuf};

/// The sites, and the keys of their directions.
const SITES: [(&str, &str); 2] = [("middle", "unet.mid_block"), ("up", "unet.up_blocks.1")];
/// How many subjects are drawn in both styles: half of those of the experiment.
const DRAWN: usize = 24;
/// The first seed.
const SEED: u64 = 900_000;

/// The file in the gallery's folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("glossy.safetensors")
}

/// Makes the file, if it is not there.
pub fn prepare(studio: &Studio, folder: &Path) -> Result<()> {
    let path = file(folder);
    if path.is_file() {
        return Ok(());
    }
    let mut means = Means::default();
    for number in 0..DRAWN {
        let subject = Subject::new(number, studio.judge.classes());
        for (style, sign) in [("glossy", 1.0), ("flat", -1.0)] {
            means.sign = sign;
            let drawing = studio.sd.draw(format!("{}, {style} style", subject.prompt)).seed(SEED + number as u64);
            drawing.record([]).decode(Decode::Nothing).watched(&mut means)?;
        }
    }
    let [Some(middle), Some(up)] = means.sums else { return Err(Error::Broken("a site was not met".into())) };
    // Each drawing had as many steps.
    let pairs = means.count as f64 / (2 * SITES.len()) as f64;
    let (middle, up) = (middle / pairs, up / pairs);
    let chance = chance_like(&up);
    std::fs::create_dir_all(folder).map_err(|error| Error::Broken(error.to_string()))?;
    Tensor::write_safetensors(&[("middle", middle), ("up", up), ("chance", chance)], &path)?;
    Ok(())
}

/// A direction of the same length, the same each time.
fn chance_like(direction: &Tensor) -> Tensor {
    tch::manual_seed(1);
    let drawn = Tensor::randn(direction.size(), (Kind::Float, Device::Cpu));
    let length = |tensor: &Tensor| tensor.square().sum(Kind::Float).sqrt();
    &drawn * (length(direction) / length(&drawn))
}

/// Adds up what sites have with the prompt, the mean over their places.
#[derive(Default)]
struct Means {
    sign: f64,
    sums: [Option<Tensor>; 2],
    count: usize,
}

impl Observer for Means {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(name, _) if SITES.iter().any(|(_, site)| *site == name))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Tensor(site, tensor) = event
            && let Some(place) = SITES.iter().position(|(_, name)| *name == site.name)
            && let Some(rows) = site.rows.of(Branch::Text(0))
        {
            let own = tensor.narrow(0, rows.start, rows.end - rows.start);
            let mean = own.mean_dim([0i64, 2, 3].as_slice(), false, Kind::Float) * self.sign;
            let sum = &mut self.sums[place];
            *sum = Some(sum.take().map_or_else(|| mean.copy(), |sum| sum + &mean));
            self.count += 1;
        }
        Ok(Flow::Continue)
    }
}
