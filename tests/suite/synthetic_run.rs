//! Run directories without a model: made of numbers from a small generator, with the schema's own types.

use image::{Rgb, RgbImage};
use ndarray::Array4;
use safetensors::tensor::{Dtype, TensorView};
use sdviz::record::model::ModelRecord;
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::record::schema::{self, Environment, Level, RunRecord, Status};
use std::path::{Path, PathBuf};

/// What a run is to hold.
#[derive(Debug, Clone)]
pub struct Made {
    pub width: usize,
    pub height: usize,
    pub batch: usize,
    /// Model calls planned, and the last step that is on disk.
    pub calls: usize,
    pub last: usize,
    pub status: Status,
    pub images: bool,
    pub x0: bool,
    /// Whether the latents grow with σ, as Euler's do.
    pub scaled: bool,
    /// Pictures as a linear function of the latents instead of a gradient.
    pub linear: bool,
    pub seed: u64,
}

impl Default for Made {
    fn default() -> Self {
        let (status, calls) = (Status::Complete, 4);
        let (images, x0, scaled, linear) = (true, false, false, false);
        Made { width: 64, height: 64, batch: 1, calls, last: calls, status, images, x0, scaled, linear, seed: 1 }
    }
}

/// Numbers about evenly spread over −2..2.
pub struct Numbers(u64);

impl Numbers {
    #[allow(dead_code)]
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed)
    }

    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 40) as f32 / (1u64 << 22) as f32 - 2.0
    }
}

impl Made {
    pub fn latent_scale(&self, step: usize) -> f64 {
        if self.scaled { (sigma(step).powi(2) + 1.0).sqrt() } else { 1.0 }
    }

    /// Writes the run and gives its folder.
    pub fn write(&self, dir: &Path) -> PathBuf {
        std::fs::create_dir_all(dir.join("steps")).unwrap();
        std::fs::write(dir.join("run.json"), serde_json::to_string(&self.record()).unwrap()).unwrap();
        let mut numbers = Numbers(self.seed);
        for step in 0..=self.last {
            let scale = self.latent_scale(step) as f32;
            let shape = (self.batch, 4, self.height / 8, self.width / 8);
            // Less and less varied, as noise turns into a picture.
            let spread = 1.0 / (1.0 + step as f32 / 4.0);
            let latents = Array4::from_shape_simple_fn(shape, || numbers.next() * spread * scale);
            let predicted = Array4::from_shape_simple_fn(shape, || numbers.next());
            let mut tensors = vec![("latents", latents.clone())];
            if step > 0 {
                tensors.push(("predicted_original", predicted));
            }
            for batch in 0..self.batch {
                let picture = if self.linear { linear(&latents, batch, scale) } else { self.gradient(step, batch) };
                if self.images {
                    picture.save(dir.join(schema::picture_file(step, Quantity::Latents, batch))).unwrap();
                }
                if self.x0 && step > 0 {
                    picture.save(dir.join(schema::picture_file(step, Quantity::PredictedOriginal, batch))).unwrap();
                }
            }
            write_tensors(&dir.join(schema::step_file(step)), &tensors);
        }
        dir.to_path_buf()
    }

    /// A smooth picture that differs from step to step.
    pub fn gradient(&self, step: usize, batch: usize) -> RgbImage {
        let (width, height) = (self.width as u32, self.height as u32);
        let shift = (step * 23 + batch * 7 + self.seed as usize) as u32;
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, ((x + y + shift) % 256) as u8])
        })
    }

    fn record(&self) -> RunRecord {
        let schedule = (0..=self.calls).map(|step| Level {
            timestep: (step < self.calls).then_some(961.0 - 40.0 * step as f64),
            sigma: sigma(step),
            alpha_cumprod: 1.0 / (sigma(step).powi(2) + 1.0),
            latent_scale: self.latent_scale(step),
        });
        let mut decode_what = vec![];
        decode_what.extend(self.images.then_some(Quantity::Latents));
        decode_what.extend(self.x0.then_some(Quantity::PredictedOriginal));
        RunRecord {
            kind: Default::default(),
            inversion: None,
            schema_version: schema::SCHEMA_VERSION,
            sdviz_version: String::new(),
            status: self.status,
            failure: None,
            plan: Plan {
                prompt: "a red apple".into(),
                steps: self.calls,
                batch_size: self.batch,
                width: self.width,
                height: self.height,
                decode: if decode_what.is_empty() { Decode::Nothing } else { Decode::Every(1) },
                decode_what,
                ..Plan::default()
            },
            model: ModelRecord { latent_channels: 4, vae_scale_factor: 8, ..ModelRecord::default() },
            tokens: Default::default(),
            conditions: None,
            schedule: schedule.collect(),
            begin: None,
            hires: None,
            attention: None,
            sites: None,
            edits_fired: vec![],
            on_step: None,
            environment: Environment::default(),
            timings: Default::default(),
        }
    }
}

fn sigma(step: usize) -> f64 {
    12.0 / (1.0 + step as f64).powi(2)
}

/// Each latent a square of its own colour: red from channel 0, green from 1 and 2, blue from 3.
fn linear(latents: &Array4<f32>, batch: usize, scale: f32) -> RgbImage {
    let (_, _, height, width) = latents.dim();
    RgbImage::from_fn(8 * width as u32, 8 * height as u32, |x, y| {
        let at = |channel| latents[[batch, channel, (y / 8) as usize, (x / 8) as usize]] / scale;
        let colours = [0.5 + 0.2 * at(0), 0.4 + 0.1 * at(1) - 0.1 * at(2), 0.6 - 0.15 * at(3)];
        Rgb(colours.map(|c| (c * 255.0).round().clamp(0.0, 255.0) as u8))
    })
}

pub fn write_tensors(path: &Path, tensors: &[(&str, Array4<f32>)]) {
    let bytes: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, tensor)| (*name, tensor.shape().to_vec(), tensor.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = bytes.iter().map(|(name, shape, b)| (*name, TensorView::new(Dtype::F32, shape.clone(), b).unwrap()));
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}
