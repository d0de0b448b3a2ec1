//! From a picture and a prompt to a picture in plain calls: `generate_simplified`, but begun from an encoded picture,
//! part of the way.
//!
//!     cargo run --example img2img_simplified -- assets/sketch.png "a red apple" 0.6 apple.png
//!
//! Any model in diffusers' layout: set SDVIZ_MODEL to its folder. Without a picture,
//! `assets/sketch.png` is taken.

use sdviz::model::resolve;
use sdviz::pipeline::init_image::InitImage;
use sdviz::pipeline::{LoadOptions, Pipeline, noise, start};
use sdviz::record::inputs::Resize;
use sdviz::scheduler::{self, SchedulerConfig, SchedulerKind};
use sdviz::watch::probe::Probe;
use tch::{Kind, Tensor};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &str| arguments.get(i).cloned().unwrap_or(default.into());
    let sketch = argument(0, concat!(env!("CARGO_MANIFEST_DIR"), "/assets/sketch.png"));
    let (prompt, strength, file) = (argument(1, "a red apple"), argument(2, "0.6").parse()?, argument(3, "drawn.png"));
    let (steps, guidance_scale, seed) = (25, 5.0, 1024);
    let show = |name: &str, tensor: &Tensor| println!("{name:<22} {:?}", tensor.size());
    let (_no_gradients, nobody) = (tch::no_grad_guard(), Probe::silent());

    let model = resolve::resolve(None)?;
    let sd = Pipeline::load(&model, LoadOptions::default())?;
    let config = SchedulerConfig::parse(&model.files.required_text("scheduler/scheduler_config.json")?)?;
    let mut scheduler = scheduler::build(SchedulerKind::Ddim, &config, steps, 0.0)?;

    // 1. The prompts, as for text to image.
    let ids = [sd.tokenizer.encode("")?, sd.tokenizer.encode(&prompt)?].map(|e| Tensor::from_slice(&e.ids));
    let ids = Tensor::stack(&ids, 0);
    show("token ids", &ids);
    let text = sd.text_encoder.forward(&ids, &nobody)?;
    show("text embeddings", &text);

    // 2. The picture in −1..1, and what the encoder makes of it: a mean and a spread, of which a sample is taken.
    let side = sd.native_size();
    let picture = InitImage::read(sketch.as_ref(), None)?.fit(side, side, Resize::Crop).picture;
    let picture = start::to_tensor(&picture);
    show("picture", &picture);
    let posterior = sd.vae.encode(&picture, &nobody)?;
    show("posterior mean", &posterior.mean);
    let [grain, noise] = &noise::draw(seed, &posterior.mean.size()[1..], 2)[..] else { anyhow::bail!("two draws") };
    let encoded = posterior.sample(grain) * sd.vae.config().scaling_factor;
    show("encoded", &encoded);

    // 3. Not all of the way to noise, but as far as the strength says: the loop begins later.
    let begin = start::begin(scheduler.as_ref(), steps, strength)?;
    println!("{}", begin.why);
    let mut latents = scheduler.add_noise(&encoded, noise, begin.first_call)?;
    show("noised", &latents);

    // 4. The loop, from there on.
    for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate().skip(begin.first_call) {
        let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
        let t = Tensor::full([2], timestep, (Kind::Float, tch::Device::Cpu));
        let predicted = sd.unet.forward(&input, &t, &text, &nobody)?;
        let (without, with) = (predicted.narrow(0, 0, 1), predicted.narrow(0, 1, 1));
        let guided = &without + guidance_scale * (with - &without);
        let no_noise = &mut || unreachable!("DDIM with eta 0 draws none");
        latents = scheduler.step(&guided, call, &latents, no_noise)?.prev_sample;
        let (seen, left) = (predicted.size(), latents.size());
        println!("call {call:>2}, t = {timestep:>3}: noise predicted {seen:?}, latents {left:?}");
    }

    // 5. The latents, decoded.
    let picture = sd.vae.decode(&(latents / sd.vae.config().scaling_factor), &nobody)?;
    show("picture", &picture);
    start::to_picture(&(picture / 2.0 + 0.5))?.save(&file)?;
    println!("{file}");
    Ok(())
}
