//! Lesson 8 as a program: made from `notebooks-rs/lessons/08-schedulers.rs` by `make lessons`.

use super::{Plain, show};

#[test]
#[ignore = "long: make test-lessons"]
fn lesson() -> Result<(), Box<dyn std::error::Error>> {
    super::go_to_the_notebooks()?;

    super::cell("0");
    use sdviz::prelude::*;
    let sd = Model::load("pocket")?;
    let prompt = "a red apple on a blue background";
    // Claims are tried on these: a prompt, a seed.
    let subjects = [(prompt, 1_u64), ("a rocket on a black background", 2)];
    // Ten of those that `sd.scheduler_names()` lists.
    let names: Vec<&'static str> =
        vec!["pndm", "ddim", "ddpm", "lms", "euler", "euler_a", "heun", "dpmpp_2m", "dpmpp_2m_karras", "unipc"];
    println!("{names:?}");

    // Only finished pictures are wanted here: no other step is decoded, which takes a quarter of the time.
    fn draw(sd: &Model, prompt: &str, seed: u64) -> Drawing {
        sd.draw(prompt).seed(seed).decode(Decode::Final)
    }

    super::cell("1");
    let mut drawn = vec![];
    for (prompt, seed) in subjects {
        for name in &names {
            drawn.push((name.to_string(), draw(&sd, prompt, seed).scheduler(name).run()?.image()?));
        }
    }
    show!(sheet_of(5, &drawn));

    super::cell("2");
    for ((prompt, seed), of_seed) in subjects.iter().zip(drawn.chunks(names.len())) {
        let of = |name: &str| names.iter().position(|known| *known == name).map_or(0, |place| place);
        let (ddim, ddpm) = (&of_seed[of("ddim")].1, &of_seed[of("ddpm")].1);
        println!("{prompt}, seed {seed}\n    {:<16} from ddim   from ddpm", "in levels");
        for (name, picture) in of_seed {
            let (from_ddim, from_ddpm) = (picture.difference(ddim), picture.difference(ddpm));
            println!("    {name:<16} {from_ddim:>9.1} {from_ddpm:>11.1}");
            let draws_noise = ["ddpm", "euler_a"].contains(&name.as_str());
            assert!(if draws_noise { 2.0 * from_ddpm < from_ddim } else { 1.5 * from_ddim < from_ddpm });
        }
    }

    super::cell("3");
    for name in ["ddim", "euler", "heun", "dpmpp_2m", "dpmpp_2m_karras"] {
        let scheduler = sd.scheduler(name, 5)?;
        let calls = scheduler.timesteps().len();
        let timesteps: String = scheduler.timesteps().iter().map(|timestep| format!("{timestep:>6.0}")).collect();
        let sigmas: String = (0..=calls).map(|call| format!("{:>6.2}", scheduler.level(call).sigma)).collect();
        println!("{name}, {calls} calls\n    timestep {timesteps}\n    σ        {sigmas}");
        assert_eq!(calls, if name == "heun" { 9 } else { 5 });
    }

    super::cell("4");
    let mut runs = vec![];
    for name in ["ddim", "euler", "dpmpp_2m_karras"] {
        runs.push(draw(&sd, prompt, 1).scheduler(name).steps(10).run()?);
    }
    show!(plot_runs("schedule", &[&runs[0], &runs[1], &runs[2]])?);

    super::cell("5");
    let fine = sd.scheduler("ddim", 500)?;
    for name in &names {
        let scheduler = sd.scheduler(name, 10)?;
        for (call, timestep) in scheduler.timesteps().iter().enumerate() {
            // `fine` has the timesteps 999, 997, 995, …: between which two of its σ does this one lie?
            let place = (999.0 - timestep) / 2.0;
            let (above, below) = (fine.level((place.floor() - 1.0).max(0.0) as usize), fine.level(place.ceil() as usize + 1));
            let sigma = scheduler.level(call).sigma;
            assert!(0.999 * below.sigma <= sigma && sigma <= 1.001 * above.sigma, "{name}, timestep {timestep}, σ {sigma}");
        }
    }
    for timestep in [1, 201, 401, 601, 801, 999] {
        println!("timestep {timestep:>3}: σ = {:>6.2}", fine.level((999 - timestep) / 2).sigma);
    }

    super::cell("6");
    for seed in [1, 2, 3] {
        for name in ["ddim", "euler"] {
            let scheduler = sd.scheduler(name, 25)?;
            let latents = sd.noise(seed) * scheduler.init_noise_sigma();
            let input = scheduler.scale_model_input(&latents, 0)?;
            let size = |tensor: &Tensor| tensor.std(true).double_value(&[]);
            println!("seed {seed}, {name:<5}: latents {:>5.2}, what the UNet sees {:.2}", size(&latents), size(&input));
            assert!((size(&input) - 1.0).abs() < 0.1);
        }
    }

    super::cell("7");
    let mut goals = vec![];
    for (prompt, seed) in subjects {
        goals.push(draw(&sd, prompt, seed).scheduler("ddim").steps(100).run()?.image()?);
    }
    println!("levels from the goal, mean of {} pictures\n{:<18} 5 steps   10 steps   25 steps", goals.len(), "");
    let mut table = vec![];
    for (place, name) in names.iter().enumerate() {
        let mut far = [0.0; 3];
        for (subject, ((prompt, seed), goal)) in subjects.iter().zip(&goals).enumerate() {
            let in_steps = |steps| draw(&sd, prompt, *seed).scheduler(name).steps(steps).run()?.image();
            let pictures = [in_steps(5)?, in_steps(10)?, drawn[subject * names.len() + place].1.clone()];
            for (far, picture) in far.iter_mut().zip(&pictures) {
                *far += picture.difference(goal) / goals.len() as f64;
            }
        }
        println!("{name:<16} {:>9.1} {:>10.1} {:>10.1}", far[0], far[1], far[2]);
        table.push((name.to_string(), far));
    }

    // What is left of the way with 25 steps.
    let left = table.iter().find(|(name, _)| name == "ddim").map_or(0.0, |(_, far)| far[2]);
    for (name, far) in &table {
        match name.as_str() {
            "ddim" | "euler" => assert!(far[0] > far[1] && far[1] > far[2]),
            "ddpm" | "euler_a" => assert!(far.iter().all(|levels| *levels > 5.0 * left)),
            "pndm" | "lms" | "dpmpp_2m_karras" => assert!(far[0].max(far[1]) > 3.0 * far[2]),
            // Five steps of Heun are nine calls.
            "heun" => assert!(table.iter().any(|(name, of_euler)| name == "euler" && of_euler[1] < far[0])),
            _ => {}
        }
    }

    if !super::outputs_are_wanted() {
        // The answer to exercise 2.
        for seed in [1, 2, 3] {
            let ddpm = draw(&sd, prompt, seed).scheduler("ddpm").run()?.image()?;
            let from_ddpm = |eta| Ok::<f64, Error>(draw(&sd, prompt, seed).scheduler("ddim").eta(eta).run()?.image()?.difference(&ddpm));
            let (without, with) = (from_ddpm(0.0)?, from_ddpm(1.0)?);
            println!("seed {seed}: {without:.1} levels from ddpm with η = 0, {with:.1} with η = 1");
            assert!(with < without / 3.0);
        }
        // The answer to exercise 3.
        let at_3 = |name: &str, steps, prompt, seed| draw(&sd, prompt, seed).scheduler(name).steps(steps).guidance_scale(3.0).run()?.image();
        let mut goals_at_3 = vec![];
        for (prompt, seed) in subjects {
            goals_at_3.push(at_3("ddim", 100, prompt, seed)?);
        }
        for (name, steps, column) in [("pndm", 10, 1), ("lms", 10, 1), ("ddim", 10, 1), ("pndm", 25, 2)] {
            let before = table.iter().find(|(known, _)| known == name).map_or(0.0, |(_, far)| far[column]);
            let mut far = 0.0;
            for ((prompt, seed), goal) in subjects.iter().zip(&goals_at_3) {
                far += at_3(name, steps, prompt, *seed)?.difference(goal) / goals.len() as f64;
            }
            println!("{name:<6} {steps} steps: {before:>5.1} levels from the goal at scale 5, {far:>5.1} at scale 3");
            assert!(name == "ddim" || far < before / 2.0);
        }
    }

    super::cell("end");
    Ok(())
}
