//! Lesson 5 as a program: made from `notebooks-rs/lessons/05-inside-the-loop.rs` by `make lessons`.

use super::{Plain, show};

#[test]
fn lesson() -> Result<(), Box<dyn std::error::Error>> {
    super::go_to_the_notebooks()?;

    super::cell("0");
    use sdviz::prelude::*;
    let sd = Model::load("pocket")?;
    let prompt = "a red apple on a blue background";
    let steps: usize = 25;
    let guidance_scale: f64 = 5.0;
    let seed: u64 = 7;

    super::cell("1");
    let tokens = sd.tokens(prompt)?;
    assert_eq!(tokens.ids().len(), 77);
    show!(tokens);

    super::cell("2");
    let text = sd.text_embeddings(&["", prompt])?;
    println!("text embeddings  {:?}", text.size());

    super::cell("3");
    for other in ["a red apple on a green background", "a red banana on a blue background", "a pizza on a blue background"] {
        let both = sd.text_embeddings(&[prompt, other])?;
        let at = |text: i64, place: i64| both.get(text).get(place);
        let differs: Vec<bool> = (0..77).map(|place| !at(0, place).equal(&at(1, place))).collect();
        let first = differs.iter().position(|differs| *differs).unwrap_or(77);
        println!("{other}: rows 0 to {} are equal, all from {first} on differ", first - 1);
        assert!(first < 77 && differs[first..].iter().all(|differs| *differs));
    }

    super::cell("4");
    let noise = sd.noise(seed);
    println!("noise  {:?}", noise.size());
    show!(Latents::from_tensor(&noise)?);

    super::cell("5");
    let mut scheduler = sd.scheduler("ddim", steps)?;
    println!("{:?}", scheduler.timesteps());
    let mut latents = &noise * scheduler.init_noise_sigma();

    super::cell("6");
    let timestep = scheduler.timesteps()[0];
    let input = scheduler.scale_model_input(&latents, 0)?.repeat([2, 1, 1, 1]);
    let predicted = sd.predict_noise(&input, timestep, &text)?;
    println!("timestep          {timestep}");
    println!("the UNet's input  {:?}", input.size());
    println!("noise prediction  {:?}", predicted.size());
    assert_eq!(input.size(), predicted.size());

    super::cell("7");
    fn size(tensor: &Tensor) -> f64 {
        tensor.square().mean(Kind::Float).sqrt().double_value(&[])
    }

    let without = predicted.narrow(0, 0, 1);
    let with = predicted.narrow(0, 1, 1);
    let by_hand = &without + guidance_scale * (&with - &without);
    println!("apart by {:.0} % of their size", 100.0 * size(&(&with - &without)) / size(&without));
    assert!(by_hand.allclose(&guided(&without, &with, guidance_scale)?, 1e-6, 1e-6, false));

    super::cell("8");
    for seed in [1, 2, 3] {
        let run = sd.draw(prompt).scheduler("ddim").seed(seed).record(All).decode(Decode::Final).run()?;
        let (mut as_noise, mut as_picture) = (vec![], vec![]);
        for step in [1, 4, 16, 25] {
            let recorded = |what| run.tensors(step, what).map(|tensor| tensor.unwrap_or_default());
            let length = |array: &Array4<f32>| f64::from(array.mapv(|x| x * x).sum().sqrt());
            let (without, with) = (recorded(Quantity::NoiseUncond)?, recorded(Quantity::NoiseText)?);
            let apart = length(&(&with - &without));
            as_noise.push(100.0 * apart / length(&without));
            as_picture.push(100.0 * apart * scheduler.level(step - 1).sigma / length(&recorded(Quantity::PredictedOriginal)?));
        }
        println!("seed {seed}, steps 1, 4, 16, 25: apart by {as_noise:.1?} % as noise, {as_picture:.1?} % as picture");
        assert!(as_noise[1] < as_noise[0] && as_noise[1] < as_noise[2] && as_noise[2] < as_noise[3]);
        assert!(as_picture.windows(2).all(|pair| pair[0] > pair[1]));
    }

    super::cell("9");
    let (now, next) = (scheduler.level(0).alpha_cumprod, scheduler.level(1).alpha_cumprod);
    println!("ᾱ = {now:.4}, ᾱ′ = {next:.4}");
    let x0 = (&latents - (1.0 - now).sqrt() * &by_hand) / now.sqrt();
    let stepped = next.sqrt() * &x0 + (1.0 - next).sqrt() * &by_hand;

    let library = scheduler.step(&by_hand, 0, &latents, &mut no_noise)?;
    assert!(stepped.allclose(&library.prev_sample, 1e-4, 1e-4, false));
    assert!(x0.allclose(&library.pred_original, 1e-4, 1e-4, false));
    latents = stepped;
    println!("latents  {:?}", latents.size());

    super::cell("10");
    for seed in [1, 2, 3] {
        let mut scheduler = sd.scheduler("ddim", steps)?;
        let mut latents = sd.noise(seed);
        let mut apart: f64 = 0.0;
        for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
            let predicted = sd.predict_noise(&latents.repeat([2, 1, 1, 1]), timestep, &text)?;
            let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), guidance_scale)?;
            let (now, next) = (scheduler.level(call).alpha_cumprod, scheduler.level(call + 1).alpha_cumprod);
            let x0 = (&latents - (1.0 - now).sqrt() * &noise) / now.sqrt();
            let by_hand = next.sqrt() * x0 + (1.0 - next).sqrt() * &noise;
            latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
            apart = apart.max((by_hand - &latents).abs().max().double_value(&[]));
        }
        assert!(apart < 1e-4, "seed {seed}: {apart}");
    }

    super::cell("11");
    fn generate_simplified(sd: &Model, prompt: &str, steps: usize, guidance_scale: f64, seed: u64) -> Result<Picture> {
        // 1. The texts: the empty one, and the prompt.
        let text = sd.text_embeddings(&["", prompt])?;

        // 2. The noise to begin with.
        let mut scheduler = sd.scheduler("ddim", steps)?;
        let mut latents = sd.noise(seed) * scheduler.init_noise_sigma();

        // 3. The loop: predict the noise, guide, take a little away.
        for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
            let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
            let predicted = sd.predict_noise(&input, timestep, &text)?;
            let (without, with) = (predicted.narrow(0, 0, 1), predicted.narrow(0, 1, 1));
            let noise = &without + guidance_scale * (&with - &without);
            latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
        }

        // 4. From latents to pixels.
        sd.decode(&latents)
    }

    show!(generate_simplified(&sd, prompt, steps, guidance_scale, seed)?);

    super::cell("12");
    for seed in [1, 2, 7] {
        let ours = generate_simplified(&sd, prompt, steps, guidance_scale, seed)?;
        let drawing = sd.draw(prompt).steps(steps).guidance_scale(guidance_scale).scheduler("ddim").seed(seed);
        let apart = ours.difference(&drawing.decode(Decode::Final).run()?.image()?);
        println!("seed {seed}: {apart} levels apart");
        assert_eq!(apart, 0.0);
    }

    if !super::outputs_are_wanted() {
        // The answer to exercise 4.
        fn generate(sd: &Model, prompt: &str, negative_prompt: &str, noise: &Tensor, guided_calls: usize) -> Result<Picture> {
            let text = sd.text_embeddings(&[negative_prompt, prompt])?;
            let mut scheduler = sd.scheduler("ddim", 25)?;
            let mut latents = noise * scheduler.init_noise_sigma();
            for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
                let predicted = sd.predict_noise(&latents.repeat([2, 1, 1, 1]), timestep, &text)?;
                let scale = if call < guided_calls { 5.0 } else { 1.0 };
                let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), scale)?;
                latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
            }
            sd.decode(&latents)
        }

        let mut pictures = vec![];
        for seed in [1, 2] {
            let whole = generate(&sd, prompt, "", &sd.noise(seed), 25)?;
            let guided_early = generate(&sd, prompt, "", &sd.noise(seed), 10)?;
            println!("seed {seed}: guided in the first ten steps only, {:.0} levels", guided_early.difference(&whole));
            pictures.extend([
                (format!("seed {seed}"), whole),
                ("ten steps guided".to_string(), guided_early),
                ("half of the noise".to_string(), generate(&sd, prompt, "", &(sd.noise(seed) * 0.5), 25)?),
                ("not blue".to_string(), generate(&sd, "a red apple", "blue background", &sd.noise(seed), 25)?),
            ]);
        }
        show!(sheet_of(4, &pictures));
    }

    super::cell("end");
    Ok(())
}
