//! Training the judge: which object a picture shows, however it is turned, moved, blurred and noised.
//!
//! Enters: a data set of `sdviz dataset build`. Leaves: `judge.json` and `judge.safetensors`, in half precision.

use super::config::JudgeTraining;
use super::data::Data;
use super::parameters::{Layout, Parameters};
use super::save;
use super::stages::{Done, Say, TrainRequest, settings};
use super::trainer::{Lesson, Task};
use crate::dataset::manifest::Dataset;
use crate::error::{Error, Result};
use crate::eval::judge::{CLASSES_FILE, Classes, Network, Of, SIDE, WEIGHTS_FILE};
use crate::eval::reconstruct::as_input;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tch::{Device, Kind, Tensor};

/// The sides that a quarter of the pictures each is brought down to and back: what is soft must be known, too.
const BLURS: [i64; 4] = [64, 40, 28, 20];

/// Learning to name objects.
struct JudgeTask<'a> {
    network: Network,
    /// The pictures where it computes.
    bytes: Tensor,
    /// The class of each picture, `[count]`.
    labels: Tensor,
    classes: &'a Classes,
    training: &'a JudgeTraining,
    device: Device,
    out: PathBuf,
}

impl JudgeTask<'_> {
    /// Pictures of these numbers, `[batch, 3, 64, 64]` in −1..1, and their objects, `[batch]`.
    fn pictures(&self, which: &Tensor) -> (Tensor, Tensor) {
        let bytes = self.bytes.index_select(0, which);
        (as_input(&bytes, self.device), self.labels.index_select(0, which))
    }
}

impl Task for JudgeTask<'_> {
    fn learn(&mut self, weights: &[&Tensor]) -> Result<Lesson> {
        let learned_from = self.bytes.size()[0] - self.training.held_back as i64;
        let which = Tensor::f_randint(learned_from, [self.training.course.batch], (Kind::Int64, self.device))?;
        let (pictures, labels) = self.pictures(&which);
        let scores = self.network.forward(&varied(&pictures, self.training)?);
        let right = scores.argmax(1, false).eq_tensor(&labels).to_kind(Kind::Float).mean(Kind::Float);
        Lesson::of((scores.cross_entropy_for_logits(&labels), vec![("right", right)]), weights)
    }

    fn show(&self, averaged: &Parameters, _: u64, _: &Path) -> Result<Vec<(&'static str, f64)>> {
        let network = Network::new(&averaged.component("judge"), self.classes.objects.len() as i64)?;
        let (count, held) = (self.bytes.size()[0], self.training.held_back as i64);
        let mut right = 0;
        for which in Tensor::arange_start(count - held, count, (Kind::Int64, self.device)).split(64, 0) {
            let (pictures, labels) = self.pictures(&which);
            let found = network.forward(&pictures).argmax(1, false).eq_tensor(&labels);
            right += i64::try_from(found.sum(Kind::Int64))?;
        }
        let weights = averaged.tensors("judge", Kind::Float);
        save::tensors(&self.out.join(WEIGHTS_FILE), &weights, true, ("format", "pt".into()))?;
        save::text(&self.out, CLASSES_FILE, &format!("{:#}\n", json!(self.classes)))?;
        Ok(vec![("held_back_right", right as f64 / held.max(1) as f64)])
    }
}

/// Pictures `[batch, 3, side, side]` turned, zoomed and moved (what comes in at an edge repeats the edge), blurred,
/// in stronger or weaker colours, with noise.
fn varied(pictures: &Tensor, training: &JudgeTraining) -> Result<Tensor> {
    let (batch, _, side, _) = pictures.size4()?;
    let device = pictures.device();
    // Uniform in −most..most.
    let draw = |shape: &[i64], most: f64| {
        let unit = Tensor::rand(shape, (Kind::Float, device));
        (unit * 2.0 - 1.0) * most
    };
    let angle = draw(&[batch], training.turn.to_radians());
    let zoom = 1.0 / (1.0 + draw(&[batch], training.zoom));
    let (cos, sin) = (angle.cos() * &zoom, angle.sin() * &zoom);
    // Coordinates run over 2 from edge to edge.
    let (x, y) = (draw(&[batch], 2.0 * training.shift), draw(&[batch], 2.0 * training.shift));
    let rows = [Tensor::stack(&[&cos, &(-&sin), &x], 1), Tensor::stack(&[&sin, &cos, &y], 1)];
    let grid = Tensor::f_affine_grid_generator(&Tensor::stack(&rows, 1), [batch, 3, side, side], false)?;
    let (bilinear, border) = (0, 1);
    let moved = pictures.f_grid_sampler(&grid, bilinear, border, false)?;

    let part = (batch as usize).div_ceil(BLURS.len()) as i64;
    let blurred: Vec<Tensor> = moved
        .split(part, 0)
        .iter()
        .zip(BLURS)
        .map(|(some, blur)| {
            let low = some.adaptive_avg_pool2d([blur.min(side), blur.min(side)]);
            low.upsample_bilinear2d([side, side], false, None, None)
        })
        .collect();
    let blurred = Tensor::f_cat(&blurred, 0)?;

    let shape = [batch, 3, 1, 1];
    let coloured: Tensor = blurred * (1.0 + draw(&shape, training.colour)) + draw(&shape, training.colour);
    let noise = Tensor::randn([batch, 3, side, side], (Kind::Float, device));
    let strength = draw(&[batch, 1, 1, 1], training.noise);
    Ok((coloured + noise * strength).clamp(-1.0, 1.0))
}

/// Trains the judge.
///
/// # Errors
/// When the data set cannot be used, a file cannot be written, or the loss is not finite.
pub fn judge(request: &TrainRequest, of: Of, say: Say) -> Result<Done> {
    let training = &request.config.judge;
    let dataset = Dataset::read(request.data)?;
    let stage = of.folder();
    let folder = request.folder(stage)?;
    let data = request.data(i64::from(SIDE), say)?;
    let classes = Classes::of(&dataset.manifest.config, of);
    let (which, labels) = labels(&dataset, &data, &classes, request.data)?;
    if training.held_back as i64 >= which.size()[0] {
        return Err(Error::invalid(
            format!("`judge.held_back` is {} of {} pictures", training.held_back, which.size()[0]),
            "set it lower, or build a larger data set",
        ));
    }
    let count = classes.objects.len() as i64;
    let layout = Rc::new(Layout::of(|at| Network::new(&at("judge"), count).map(drop))?);
    say(&format!("judge: {} {}, {} parameters", count, of.plural(), layout.total()));
    let settings = settings(stage, request.seed, json!([training, classes]), &[]);
    let bytes = data.pictures.index_select(0, &which).f_to_device(request.device)?;
    let labels = labels.f_to_device(request.device)?;
    drop(data);
    let trainer = request.trainer(&folder, &training.course, settings);
    let trained = trainer.run(
        &layout,
        || request.begin(&layout, None),
        request.device,
        |parameters| {
            let network = Network::new(&parameters.component("judge"), count)?;
            let (device, out) = (request.device, folder.clone());
            Ok(JudgeTask { network, labels, bytes, classes: &classes, training, device, out })
        },
    )?;
    Ok(Done { learned: folder.clone(), folder, step: trained.step, stopped: trained.stopped })
}

/// Which pictures can be learned from, and the class of each, as places in the list of classes.
fn labels(dataset: &Dataset, data: &Data, classes: &Classes, folder: &Path) -> Result<(Tensor, Tensor)> {
    if let Some((path, reason)) = data.skipped.first() {
        return Err(Error::bad_file(path, "picture of the data set", reason));
    }
    let unknown = |name: &str| {
        Error::bad_file(&folder.join("metadata.jsonl"), "list of pictures", format!("`{name}` is nothing of the set"))
    };
    let (mut which, mut labels) = (vec![], vec![]);
    for (place, row) in dataset.rows.iter().enumerate().filter(|(_, row)| classes.fits(row)) {
        let name = classes.of.label(row);
        labels.push(classes.object(name).ok_or_else(|| unknown(name))? as i64);
        which.push(place as i64);
    }
    Ok((Tensor::from_slice(&which), Tensor::from_slice(&labels)))
}
