//! How fast candle runs a Stable Diffusion model, to set beside sdviz's own figures: `scripts/bench_peers.py` builds it.
//!
//! Enters: a diffusers folder in f32 or f16, steps, repeats, latents' height and width. Leaves: one JSON object on standard
//! output with seconds: `step`, a guided step (both noise predictions in one batch of 2, guidance, DDIM), and `decode`.
//! The context is made of random numbers: the work is the same.

use candle_core::{DType, Device, Error, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::stable_diffusion::ddim::DDIMSchedulerConfig;
use candle_transformers::models::stable_diffusion::schedulers::SchedulerConfig;
use candle_transformers::models::stable_diffusion::unet_2d::{BlockConfig, UNet2DConditionModel, UNet2DConditionModelConfig};
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

const GUIDANCE: f64 = 7.5;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, numbers @ ..] = &arguments[..] else { return Err(Error::msg("FOLDER STEPS REPEATS HEIGHT WIDTH")) };
    let numbers: Vec<usize> = numbers.iter().map(|word| word.parse().map_err(Error::wrap)).collect::<Result<_>>()?;
    let [steps, repeats, height, width] = numbers[..] else { return Err(Error::msg("four numbers after the folder")) };
    let (folder, device) = (Path::new(folder), Device::Cpu);
    let (unet, context) = unet(folder, &device)?;
    let latents = Tensor::randn(0f32, 1.0, (1, 4, height, width), &device)?;
    let context = Tensor::randn(0f32, 1.0, (2, 77, context), &device)?;
    let step = repeat(repeats, || {
        let mut scheduler = DDIMSchedulerConfig::default().build(steps)?;
        let timesteps = scheduler.timesteps().to_vec();
        let mut x = (&latents * scheduler.init_noise_sigma())?;
        for timestep in &timesteps {
            let both = scheduler.scale_model_input(Tensor::cat(&[&x, &x], 0)?, *timestep)?;
            let both = unet.forward(&both, *timestep as f64, &context)?.chunk(2, 0)?;
            let guided = (&both[0] + ((&both[1] - &both[0])? * GUIDANCE)?)?;
            x = scheduler.step(&guided, *timestep, &x)?;
        }
        Ok(timesteps.len())
    })?;
    drop(unet);
    let vae = vae(folder, &device)?;
    let decode = repeat(repeats, || vae.decode(&latents).map(|_| 1))?;
    println!("{}", json!({"step": step, "decode": decode}));
    Ok(())
}

/// Seconds of so many runs after one that warms up; `run` returns by how many units its time is divided.
fn repeat(times: usize, run: impl Fn() -> Result<usize>) -> Result<Vec<f64>> {
    let once = |_| {
        let started = Instant::now();
        let units = run()?;
        Ok(started.elapsed().as_secs_f64() / units as f64)
    };
    Ok((0..=times).map(once).collect::<Result<Vec<f64>>>()?.split_off(1))
}

fn config(folder: &Path, part: &str) -> Result<Value> {
    let text = std::fs::read_to_string(folder.join(part).join("config.json"))?;
    serde_json::from_str(&text).map_err(Error::wrap)
}

fn weights(folder: &Path, part: &str, device: &Device) -> Result<VarBuilder<'static>> {
    let file = folder.join(part).join("diffusion_pytorch_model.safetensors");
    // Mapped, not read: nobody changes the file meanwhile.
    unsafe { VarBuilder::from_mmaped_safetensors(&[file], DType::F32, device) }
}

fn numbers(config: &Value, key: &str) -> Vec<usize> {
    let list = config[key].as_array().cloned().unwrap_or_default();
    list.iter().filter_map(Value::as_u64).map(|number| number as usize).collect()
}

fn number(config: &Value, key: &str, usual: usize) -> usize {
    config[key].as_u64().map_or(usual, |number| number as usize)
}

/// The UNet, and the width of its context.
fn unet(folder: &Path, device: &Device) -> Result<(UNet2DConditionModel, usize)> {
    let config = config(folder, "unet")?;
    let heads = number(&config, "attention_head_dim", 8);
    let kinds = config["down_block_types"].as_array().cloned().unwrap_or_default();
    let attends = |kind: &Value| kind.as_str().is_some_and(|kind| kind.starts_with("CrossAttn")).then_some(1);
    let blocks = numbers(&config, "block_out_channels").into_iter().zip(&kinds).map(|(out_channels, kind)| BlockConfig {
        out_channels,
        use_cross_attn: attends(kind),
        attention_head_dim: heads,
    });
    let context = number(&config, "cross_attention_dim", 768);
    let shape = UNet2DConditionModelConfig {
        blocks: blocks.collect(),
        layers_per_block: number(&config, "layers_per_block", 2),
        norm_num_groups: number(&config, "norm_num_groups", 32),
        cross_attention_dim: context,
        ..Default::default()
    };
    Ok((UNet2DConditionModel::new(weights(folder, "unet", device)?, 4, 4, false, shape)?, context))
}

fn vae(folder: &Path, device: &Device) -> Result<AutoEncoderKL> {
    let config = config(folder, "vae")?;
    let shape = AutoEncoderKLConfig {
        block_out_channels: numbers(&config, "block_out_channels"),
        layers_per_block: number(&config, "layers_per_block", 2),
        latent_channels: number(&config, "latent_channels", 4),
        norm_num_groups: number(&config, "norm_num_groups", 32),
        use_quant_conv: true,
        use_post_quant_conv: true,
    };
    AutoEncoderKL::new(weights(folder, "vae", device)?, 3, 3, shape)
}
