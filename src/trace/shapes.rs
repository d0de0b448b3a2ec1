//! The shape log: every tensor of the first step and of the last picture, with its shape in symbols and in numbers.
//!
//! Enters: tensors at their sites. Leaves: rows in the order of computation. A site is logged once, when it is first seen.

use crate::error::Result;
use crate::pipeline::device::dtype_name;
use crate::record::schema::SiteRow;
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::site::{Axes, Grid, Site, is_inner};
use std::collections::HashSet;
use tch::{Device, Kind, Tensor};

/// The sites of the short table: what a lecturer points at.
const BRIEF: [&str; 22] = [
    "tokens",
    "text_embeddings",
    "init_image",
    "mask",
    "vae.encoder.mid_block",
    "posterior.mean",
    "encoded",
    "noise",
    "starting_latents",
    "enlarged",
    "hires.starting_latents",
    "unet.sample",
    "unet.time_embedding",
    "unet.conv_in",
    "unet.mid_block",
    "noise_pred",
    "noise_guided",
    "predicted_original",
    "latents",
    "vae.latents",
    "vae.decoder.mid_block",
    "image",
];

/// Keeps a row per site.
#[derive(Debug, Default)]
pub struct ShapeLog {
    /// The rows, in the order of computation.
    pub rows: Vec<SiteRow>,
    seen: HashSet<String>,
    scene: Scene,
    /// Whether what lies inside the modules is logged too.
    inner: bool,
}

/// What the symbols stand for in this run.
#[derive(Debug, Default, Clone, Copy)]
struct Scene {
    batch: i64,
    height: i64,
    width: i64,
    /// The side of the tiles in which the autoencoder decodes, in pixels.
    tile: Option<i64>,
    /// The second pass's first step, height and width.
    second: Option<(usize, i64, i64)>,
}

impl ShapeLog {
    /// A log of every site, those inside the modules too.
    pub fn of_every_site() -> ShapeLog {
        ShapeLog { inner: true, ..ShapeLog::default() }
    }

    /// A row for a tensor.
    fn row(&self, site: &Site, tensor: &Tensor) -> SiteRow {
        let shape = tensor.size();
        let Statistics { min, max, mean, std } = Statistics::of(&tensor.to_kind(Kind::Float));
        let block = ["unet.down_blocks.", "unet.up_blocks."].iter().find_map(|p| site.name.strip_prefix(p));
        let whole_block = block.is_some_and(|rest| rest.parse::<usize>().is_ok());
        SiteRow {
            order: self.rows.len(),
            name: site.name.to_string(),
            brief: whole_block || BRIEF.contains(&site.name),
            symbolic: self.scene.at(site.step).symbolic(site.axes, &shape),
            dtype: dtype_name(tensor.kind()).into(),
            min,
            max,
            mean,
            std,
            shape,
        }
    }
}

/// What is said of a tensor's numbers.
struct Statistics {
    min: f64,
    max: f64,
    mean: f64,
    std: f64,
}

impl Statistics {
    /// Of an f32 tensor. A small one on the CPU is gone through here: libtorch's several passes, each a task for all
    /// threads, would cost a small model as much as its layers.
    fn of(numbers: &Tensor) -> Statistics {
        let small = numbers.device() == Device::Cpu && numbers.numel() <= 1 << 16;
        match small.then(|| Vec::<f32>::try_from(numbers.contiguous().view(-1))) {
            Some(Ok(values)) if !values.is_empty() => {
                let (mut min, mut max, mut sum, mut squares) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0.0);
                // Shifted by the first value, so that the squares do not drown a small variance.
                let shift = f64::from(values[0]);
                for value in values.iter().map(|v| f64::from(*v)) {
                    (min, max) = (min.min(value), max.max(value));
                    sum += value - shift;
                    squares += (value - shift) * (value - shift);
                }
                if values.iter().any(|value| value.is_nan()) {
                    // `min` and `max` pass over what is no number; libtorch's do not.
                    return Statistics { min: f64::NAN, max: f64::NAN, mean: f64::NAN, std: f64::NAN };
                }
                if !sum.is_finite() {
                    return Statistics { min, max, mean: f64::NAN, std: f64::NAN };
                }
                let mean = sum / values.len() as f64;
                let variance = (squares / values.len() as f64 - mean * mean).max(0.0);
                Statistics { min, max, mean: mean + shift, std: variance.sqrt() }
            }
            _ => {
                let (min, max) = numbers.aminmax(None, false);
                let (variance, mean) = numbers.var_mean(false);
                // One way over to the host for all four: each has a GPU waited for.
                let all = Tensor::stack(&[min, max, mean, variance], 0).to_device(Device::Cpu);
                let value = |place| all.double_value(&[place]);
                Statistics { min: value(0), max: value(1), mean: value(2), std: value(3).sqrt() }
            }
        }
    }
}

impl Observer for ShapeLog {
    fn wants(&self, ask: Ask) -> bool {
        let Ask::Site(name, step) = ask else { return false };
        // The starting latents may be decoded too; in the story of a picture its decoding comes after the step.
        let encoding = name.starts_with("vae.encoder.") || name == "vae.quant_conv";
        let too_early = step == 0 && (name == "image" || (name.starts_with("vae.") && !encoding));
        (self.inner || !is_inner(name)) && !too_early && !self.seen.contains(name)
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Begin(run) => {
                let plan = &run.plan;
                let (batch, height, width) = (plan.batch_size as i64, plan.height as i64, plan.width as i64);
                let second = run.hires.as_ref().map(|s| (s.first_step, s.height as i64, s.width as i64));
                self.scene = Scene { batch, height, width, tile: plan.vae_tile.map(|side| side as i64), second };
            }
            // Another observer may have asked for what this one does not want.
            Event::Tensor(site, tensor) if self.wants(Ask::Site(site.name, site.step)) => {
                self.seen.insert(site.name.to_string());
                let row = self.row(site, tensor);
                self.rows.push(row);
            }
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

impl Scene {
    /// What the symbols stand for at a step.
    fn at(&self, step: usize) -> Scene {
        match self.second {
            Some((first, height, width)) if step >= first => Scene { height, width, ..*self },
            _ => Scene { second: None, ..*self },
        }
    }

    /// Height and width as they are written: those of a second pass are `H₂` and `W₂`.
    fn sides(&self) -> (&'static str, &'static str) {
        if self.second.is_some() { ("H₂", "W₂") } else { ("H", "W") }
    }

    /// The shape in symbols: `B` pictures of `H`×`W` pixels.
    fn symbolic(&self, axes: Axes, shape: &[i64]) -> String {
        let mut names: Vec<String> = shape.iter().map(i64::to_string).collect();
        if let Some(first) = names.first_mut().filter(|_| axes != Axes::Prompts) {
            *first = match shape[0] {
                n if n == 2 * self.batch => "2·B".into(),
                n if n == self.batch => "B".into(),
                n => n.to_string(),
            };
        }
        match (axes, shape) {
            (Axes::Image, [_, _, h, w]) => {
                let (high, wide) = self.sides();
                names[2] = part(high, self.height, *h);
                names[3] = part(wide, self.width, *w);
            }
            (Axes::Tile, [_, _, h, w]) => {
                let (high, wide) = self.sides();
                names[2] = self.part_of_tile(high, self.height, *h);
                names[3] = self.part_of_tile(wide, self.width, *w);
            }
            (Axes::Places(grid), [_, _, _]) => names[1] = self.places(grid),
            (Axes::Heads(grid), [_, _, _, _]) => names[2] = self.places(grid),
            (Axes::Attention(grid), [_, _, queries, keys]) => {
                names[2] = self.places(grid);
                if keys == queries {
                    names[3] = self.places(grid);
                }
            }
            _ => {}
        }
        format!("[{}]", names.join(", "))
    }

    /// `T/8` for an eighth of a tile's side; of the picture's own where that is shorter than a tile.
    fn part_of_tile(&self, symbol: &str, whole: i64, size: i64) -> String {
        match self.tile {
            Some(side) if side < whole => part("T", side, size),
            _ => part(symbol, whole, size),
        }
    }

    /// An image's places in a row as height times width.
    fn places(&self, (h, w): Grid) -> String {
        let (high, wide) = self.sides();
        format!("{}·{}", part(high, self.height, h), part(wide, self.width, w))
    }
}

/// `H/8` for a size that is an eighth of the picture's, `⌈H/64⌉` where it was rounded up.
fn part(symbol: &str, whole: i64, size: i64) -> String {
    if size == 0 || size > whole {
        return size.to_string();
    }
    let factor = (whole as f64 / size as f64).log2().round().exp2() as i64;
    match (factor, whole % factor) {
        (1, _) if size == whole => symbol.to_string(),
        (f, 0) if whole / f == size => format!("{symbol}/{f}"),
        (f, _) if whole / f + 1 == size => format!("⌈{symbol}/{f}⌉"),
        _ => size.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_the_same_either_way() {
        tch::manual_seed(3);
        let large = Tensor::randn([1 << 17], (Kind::Float, Device::Cpu)) * 0.5 + 3.0;
        let small = large.narrow(0, 0, 1 << 16);
        for numbers in [large, small] {
            let found = Statistics::of(&numbers);
            let expected = [numbers.min(), numbers.max(), numbers.mean(Kind::Double), numbers.std(false)];
            for (ours, theirs) in [found.min, found.max, found.mean, found.std].into_iter().zip(expected) {
                assert!((ours - theirs.double_value(&[])).abs() < 1e-5, "{ours} and {theirs}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_seen_either_way() {
        for (value, least) in [(f64::NAN, f64::NAN), (f64::INFINITY, 1.0)] {
            let large = Tensor::ones([1 << 17], (Kind::Float, Device::Cpu));
            let _ = large.narrow(0, 0, 1).fill_(value);
            for numbers in [large.shallow_clone(), large.narrow(0, 0, 1 << 16)] {
                let Statistics { min, max, mean, std } = Statistics::of(&numbers);
                let same = |a: f64, b: f64| a == b || a.is_nan() && b.is_nan();
                assert!(same(min, least) && same(max, value), "{min} to {max}");
                assert!(mean.is_nan() && std.is_nan(), "{mean} ± {std}");
            }
        }
    }

    #[test]
    fn shapes_are_written_in_symbols() {
        let scene = Scene { batch: 1, height: 512, width: 768, tile: None, second: None };
        assert_eq!(scene.symbolic(Axes::Image, &[2, 4, 64, 96]), "[2·B, 4, H/8, W/8]");
        assert_eq!(scene.symbolic(Axes::Image, &[1, 3, 512, 768]), "[B, 3, H, W]");
        assert_eq!(scene.symbolic(Axes::Places((32, 48)), &[2, 1536, 640]), "[2·B, H/16·W/16, 640]");
        assert_eq!(scene.symbolic(Axes::Text, &[2, 77, 768]), "[2·B, 77, 768]");
        assert_eq!(scene.symbolic(Axes::Prompts, &[2, 77, 768]), "[2, 77, 768]");
        assert_eq!(scene.symbolic(Axes::Attention((64, 96)), &[2, 8, 6144, 77]), "[2·B, 8, H/8·W/8, 77]");
        let odd = Scene { batch: 3, height: 520, width: 520, tile: None, second: None };
        assert_eq!(odd.symbolic(Axes::Image, &[6, 4, 33, 33]), "[2·B, 4, ⌈H/16⌉, ⌈W/16⌉]");
        let tiled = Scene { batch: 1, height: 512, width: 2048, tile: Some(1024), second: None };
        assert_eq!(tiled.symbolic(Axes::Tile, &[1, 64, 64, 128]), "[B, 64, H/8, T/8]");
        assert_eq!(tiled.symbolic(Axes::Image, &[1, 4, 64, 256]), "[B, 4, H/8, W/8]");
    }
}
