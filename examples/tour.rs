//! The library in the hand: from a prompt to pictures, numbers and figures. In a notebook each value shows itself where a
//! cell ends in it.

use sdviz::prelude::*;

/// Draws an apple and looks at it from all sides.
pub fn main() -> Result<()> {
    // A model, and a picture of it: everything that happens on the way is kept in memory.
    let sd = Model::load("pocket")?;
    let run = sd.draw("a red apple on a blue background").steps(8).guidance_scale(5.0).seed(7).record(All).run()?;
    println!("{sd}\n{run}\n{}", run.text());
    let apple = run.image()?;

    // The steps: their pictures, and the latents that the pictures are decoded from.
    let (pictures, start) = (run.images()?, run.latents(0)?);
    println!("{pictures}; {start}");
    for (step, picture) in &pictures {
        println!("step {step}: {:.1} levels from the finished picture", picture.difference(&apple));
    }
    println!("{}", run.shapes()?.brief());

    // What a talk or a page needs, as files.
    let folder = std::env::temp_dir().join(format!("sdviz-tour-{}", std::process::id()));
    run.save(folder.join("apple.png"))?;
    run.video("latents")?.channels([0, 1, 3]).save(folder.join("latents.gif"))?;
    run.plot("change")?.save(folder.join("change.svg"))?;

    // The same record in a folder, which needs neither model nor libtorch to be read again.
    sd.draw("a red apple on a blue background").steps(8).guidance_scale(5.0).seed(7).out(folder.join("run")).run()?;
    let read = Run::open(folder.join("run"))?;
    assert_eq!(read.image()?, apple);

    // One floor down: the loop written out.
    let text = sd.text_embeddings(&["", "a red apple on a blue background"])?;
    let mut scheduler = sd.scheduler("ddim", 8)?;
    let mut latents = sd.noise(7) * scheduler.init_noise_sigma();
    for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
        let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
        let predicted = sd.predict_noise(&input, timestep, &text)?;
        let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), 5.0)?;
        latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
    }
    println!("by hand: {}", sheet(&[("the run", &apple), ("DDIM by hand", &sd.decode(&latents)?)]));
    std::fs::remove_dir_all(&folder).map_err(|error| Error::invalid(error.to_string(), "look into it"))
}
