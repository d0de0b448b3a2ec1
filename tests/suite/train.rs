//! Training: what is learned from, how it is learned, and what a user sees of it.

use sdviz::model::config::{PerBlock, TextConfig, UNetConfig};
use sdviz::model::text_encoder::TextEncoder;
use sdviz::model::unet::UNet;
use sdviz::scheduler::SchedulerConfig;
use sdviz::train::config::DiffusionTraining;
use sdviz::train::noise::{Latents, NoiseLoss};
use sdviz::train::parameters::{Layout, Parameters};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tch::{Device, Kind, Tensor};

/// libtorch has one generator for all threads: who seeds it must be alone.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const F32: (Kind, Device) = (Kind::Float, Device::Cpu);

fn configs() -> (TextConfig, UNetConfig) {
    let text = TextConfig {
        vocab_size: 12,
        hidden_size: 8,
        intermediate_size: 16,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        max_position_embeddings: 4,
        ..TextConfig::default()
    };
    let unet = UNetConfig {
        sample_size: 4,
        block_out_channels: vec![8, 16],
        down_block_types: vec!["CrossAttnDownBlock2D".into(), "DownBlock2D".into()],
        up_block_types: vec!["UpBlock2D".into(), "CrossAttnUpBlock2D".into()],
        layers_per_block: 1,
        norm_num_groups: 4,
        cross_attention_dim: 8,
        attention_head_dim: PerBlock::One(2),
        ..UNetConfig::default()
    };
    (text, unet)
}

/// A small model whose every weight is random, also those that begin as 0.
fn model() -> (Parameters, TextEncoder, UNet) {
    let (text, unet) = configs();
    let layout = Layout::of(|at| {
        TextEncoder::new(&at("text_encoder"), text.clone())?;
        UNet::new(&at("unet"), unet.clone()).map(drop)
    });
    let layout = Rc::new(layout.unwrap());
    tch::manual_seed(5);
    let flat = layout.fresh() + Tensor::randn([layout.total()], F32) * 0.05;
    let parameters = Parameters::new(layout, flat, true);
    let text_encoder = TextEncoder::new(&parameters.component("text_encoder"), text).unwrap();
    let unet = UNet::new(&parameters.component("unet"), unet).unwrap();
    (parameters, text_encoder, unet)
}

fn scheduler(prediction: &str) -> SchedulerConfig {
    let text = format!(
        r#"{{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "prediction_type": "{prediction}"}}"#
    );
    SchedulerConfig::parse(&text).unwrap()
}

fn training(drop_captions: f64, batch: i64) -> DiffusionTraining {
    let mut training = DiffusionTraining { drop_captions, ..DiffusionTraining::default() };
    training.course.batch = batch;
    training
}

/// The loss from `count` pictures whose latents are all `value`, captions of the token `id`.
fn noise<'a>(training: &'a DiffusionTraining, prediction: &str, value: f64, id: i64) -> NoiseLoss<'a> {
    let count = 3;
    let mean = Tensor::full([count, 4, 4, 4], value, F32);
    let latents = Latents { deviation: mean.zeros_like(), mean };
    let ids = (Tensor::full([count, 4], id, (Kind::Int64, Device::Cpu)), Tensor::from_slice(&[1i64, 2, 2, 2]));
    NoiseLoss::new(latents, ids, training, &scheduler(prediction), Device::Cpu).unwrap()
}

fn value(noise: &NoiseLoss, text_encoder: &TextEncoder, unet: &UNet, seed: i64) -> (f64, f64) {
    tch::manual_seed(seed);
    let (loss, parts) = noise.of(text_encoder, unet).unwrap();
    (f64::try_from(loss).unwrap(), f64::try_from(&parts[0].1).unwrap())
}

/// Autograd's gradient against differences of the loss itself, along random directions.
#[test]
fn gradients_are_those_of_the_loss() {
    let _alone = alone();
    let (parameters, text_encoder, unet) = model();
    let training = training(0.3, 4);
    let noise = noise(&training, "epsilon", 0.7, 3);
    tch::manual_seed(9);
    let (loss, _) = noise.of(&text_encoder, &unet).unwrap();
    let gradients = Tensor::f_run_backward(&[loss], &parameters.views(), false, false).unwrap();
    let gradient = Tensor::cat(&gradients.iter().map(|g| g.reshape([-1])).collect::<Vec<_>>(), 0);
    let norm = f64::try_from(gradient.norm()).unwrap();
    let _no_gradients = tch::no_grad_guard();
    // Along the gradient itself the loss must rise as fast as the gradient is long.
    let direction = &gradient / norm;
    let at = |distance: f64| {
        let _ = parameters.flat().shallow_clone().f_add_(&(&direction * distance)).unwrap();
        let loss = value(&noise, &text_encoder, &unet, 9).0;
        let _ = parameters.flat().shallow_clone().f_sub_(&(&direction * distance)).unwrap();
        loss
    };
    let h = 1e-3;
    let slope = (at(h) - at(-h)) / (2.0 * h);
    assert!((slope - norm).abs() < 0.02 * norm, "slope {slope}, gradient {norm}");
    assert!(gradients.iter().all(|g| f64::try_from(g.abs().max()).unwrap() > 0.0), "a weight learns nothing");
}

/// With every caption dropped the captions do not matter; with none dropped they do.
#[test]
fn captions_are_dropped_as_asked() {
    let _alone = alone();
    let (_, text_encoder, unet) = model();
    for (share, same) in [(1.0, true), (0.0, false)] {
        let training = training(share, 4);
        let loss = |id| value(&noise(&training, "epsilon", 0.7, id), &text_encoder, &unet, 3).0;
        assert_eq!(loss(3) == loss(4), same, "share {share}");
    }
}

/// A UNet that predicts nothing: what is left is the target, whose size follows from the schedule alone.
#[test]
fn the_targets_follow_the_schedule() {
    let _alone = alone();
    let (_, text_encoder, _) = model();
    let (_, config) = configs();
    let layout = Rc::new(Layout::of(|at| UNet::new(&at("unet"), config.clone()).map(drop)).unwrap());
    let parameters = Parameters::new(layout.clone(), layout.fresh(), false);
    // Fresh weights end in zeros: the prediction is 0.
    let unet = UNet::new(&parameters.component("unet"), config).unwrap();
    let training = training(0.0, 1000);
    let alphas = scheduler("epsilon").training_alphas().unwrap();
    assert_eq!(alphas.len(), 1000);
    let picture = 1.5f64;
    let mean = |f: &dyn Fn(f64) -> f64| alphas.iter().map(|a| f(f64::from(*a))).sum::<f64>() / 1000.0;
    let weight = |alpha: f64, v: f64| {
        let snr = alpha / (1.0 - alpha);
        snr.clamp(0.2, 5.0) / (snr + v)
    };
    // Noise has square 1; v = √ᾱ·noise − √(1−ᾱ)·picture has ᾱ + (1 − ᾱ)·picture². With a batch of 1000 every timestep
    // is drawn once.
    let cases =
        [("epsilon", 0.0, (|_, _| 1.0) as fn(f64, f64) -> f64), ("v_prediction", 1.0, |a, p| a + (1.0 - a) * p * p)];
    for (prediction, v, square) in cases {
        let noise = noise(&training, prediction, picture, 3);
        let (weighted, plain) = value(&noise, &text_encoder, &unet, 1);
        let expected = (mean(&|a| weight(a, v) * square(a, picture)), mean(&|a| square(a, picture)));
        assert!((weighted / expected.0 - 1.0).abs() < 0.03, "{prediction}: {weighted}, expected {}", expected.0);
        assert!((plain / expected.1 - 1.0).abs() < 0.03, "{prediction}: {plain}, expected {}", expected.1);
    }
}
