//! From a prompt to a picture in plain calls, one line for each thing that happens, with every tensor's shape.
//!
//!     cargo run --example generate_simplified -- "a red apple" apple.png
//!
//! Any model in diffusers' layout: set SDVIZ_MODEL to its folder. `sdviz trace` does the same and keeps a record.

use sdviz::model::resolve;
use sdviz::pipeline::{LoadOptions, Pipeline, noise, start};
use sdviz::scheduler::{self, SchedulerConfig, SchedulerKind};
use sdviz::watch::probe::Probe;
use tch::{Kind, Tensor};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let prompt = arguments.next().unwrap_or("a red apple".into());
    let file = arguments.next().unwrap_or("generated.png".into());
    let (steps, guidance_scale, seed) = (25, 5.0, 1024);
    let show = |name: &str, tensor: &Tensor| println!("{name:<22} {:?}", tensor.size());
    let (_no_gradients, nobody) = (tch::no_grad_guard(), Probe::silent());

    // The four parts: tokenizer and text encoder, UNet, autoencoder, scheduler.
    let model = resolve::resolve(None)?;
    let sd = Pipeline::load(&model, LoadOptions::default())?;
    let config = SchedulerConfig::parse(&model.files.required_text("scheduler/scheduler_config.json")?)?;
    let mut scheduler = scheduler::build(SchedulerKind::Ddim, &config, steps, 0.0)?;

    // 1. The prompt, and the empty prompt for guidance, as token ids and as embeddings.
    let ids = [sd.tokenizer.encode("")?, sd.tokenizer.encode(&prompt)?].map(|e| Tensor::from_slice(&e.ids));
    let ids = Tensor::stack(&ids, 0);
    show("token ids", &ids);
    let text = sd.text_encoder.forward(&ids, &nobody)?;
    show("text embeddings", &text);

    // 2. Noise, as wide and as high as the latents of the picture.
    let side = sd.unet.config().sample_size;
    let noise = &noise::draw(seed, &[sd.unet.config().in_channels, side, side], 1)[0];
    show("noise", noise);
    let mut latents = noise * scheduler.init_noise_sigma();

    // 3. The loop: predict the noise twice, go beyond the one towards the other, take a little of it away.
    for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
        let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
        let t = Tensor::full([2], timestep, (Kind::Float, tch::Device::Cpu));
        let predicted = sd.unet.forward(&input, &t, &text, &nobody)?;
        let (without, with) = (predicted.narrow(0, 0, 1), predicted.narrow(0, 1, 1));
        let guided = &without + guidance_scale * (with - &without);
        let no_noise = &mut || unreachable!("DDIM with eta 0 draws none");
        latents = scheduler.step(&guided, call, &latents, no_noise)?.prev_sample;
        if call == 0 {
            show("the UNet's input", &input);
            show("predicted noise", &predicted);
            show("guided", &guided);
        }
        println!("step {:>2} of {steps}, t = {timestep:>3}: latents {:?}", call + 1, latents.size());
    }

    // 4. The latents, decoded.
    let picture = sd.vae.decode(&(latents / sd.vae.config().scaling_factor), &nobody)?;
    show("picture", &picture);
    start::to_picture(&(picture / 2.0 + 0.5))?.save(&file)?;
    println!("{file}");
    Ok(())
}
