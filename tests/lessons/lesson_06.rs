//! Lesson 6 as a program: made from `notebooks-rs/lessons/06-image-to-image.rs` by `make lessons`.

use super::{Plain, show};

#[test]
#[ignore = "long: make test-lessons"]
fn lesson() -> Result<(), Box<dyn std::error::Error>> {
    super::go_to_the_notebooks()?;

    super::cell("0");
    use sdviz::prelude::*;
    let sd = Model::load("pocket")?;

    // Only finished pictures are wanted here: no other step is decoded, which takes a quarter of the time.
    fn draw(sd: &Model, prompt: &str, seed: u64) -> Drawing {
        sd.draw(prompt).seed(seed).decode(Decode::Final)
    }

    super::cell("1");
    fn pixel(x: u32, y: u32) -> [u8; 3] {
        let (right, down) = (f64::from(x) - 64.0, f64::from(y) - 70.0);
        if right.hypot(down) < 38.0 {
            [200, 30, 40]
        } else if (right - 2.0).abs() < 4.0 && (18..34).contains(&y) {
            [90, 60, 30]
        } else {
            [40, 90, 215]
        }
    }

    let sketch = Picture::from_fn(128, 128, pixel);
    show!(sketch);

    super::cell("2");
    let steps = 25;
    let scheduler = sd.scheduler("ddim", steps)?;
    let encoded = sd.encode(&sketch, 1)?;
    let noise = sd.noise(2);

    let mut noised = vec![];
    for call in [24, 20, 15, 10, 5, 0] {
        let alpha = scheduler.level(call).alpha_cumprod;
        let by_hand = alpha.sqrt() * &encoded + (1.0 - alpha).sqrt() * &noise;
        assert!(by_hand.allclose(&scheduler.add_noise(&encoded, &noise, call)?, 1e-5, 1e-5, false));
        noised.push((format!("call {call}, ᾱ = {alpha:.2}"), sd.decode(&by_hand)?));
    }
    show!(sheet(&noised));

    super::cell("3");
    for strength in [0.2, 0.4, 0.6, 0.8, 1.0] {
        let first = steps - (steps as f64 * strength) as usize;
        let alpha = scheduler.level(first).alpha_cumprod;
        println!(
            "strength {strength}: calls {first:>2} to 24, from timestep {:>3}, where {:>2.0} % of the variance is picture",
            scheduler.timesteps()[first], 100.0 * alpha,
        );
    }

    super::cell("4");
    let prompt = "a green apple on a blue background";
    let strengths = [0.2, 0.4, 0.6, 0.8, 1.0];
    let mut drawn = vec![];
    for seed in [1, 2] {
        for strength in strengths {
            let run = draw(&sd, prompt, seed).init_image(&sketch).strength(strength).run()?;
            drawn.push((format!("seed {seed}, strength {strength}"), run.image()?));
        }
    }
    show!(sheet_of(5, &drawn));

    super::cell("5");
    for (seed, of_seed) in [1, 2].iter().zip(drawn.chunks(strengths.len())) {
        let far: Vec<f64> = of_seed.iter().map(|(_, picture)| picture.difference(&sketch)).collect();
        println!("seed {seed}: {far:.0?} levels from the sketch");
        assert!(far[0] < far[1] && far[1] < far[2] && far[2] < far[3] && far[3] < far[4]);
        let middles: Vec<[f64; 3]> = of_seed.iter().map(|(_, picture)| picture.crop(54, 60, 20, 20).mean_colour()).collect();
        println!("seed {seed}: red and green in the middle {:?}", middles.iter().map(|[red, green, _]| (*red as u8, *green as u8)).collect::<Vec<_>>());
        assert!(middles[0][0] > 2.0 * middles[0][1] && middles[2][1] > 1.2 * middles[2][0]);
    }

    super::cell("6");
    let night = Picture::from_fn(128, 128, |_, _| [0, 0, 0]);
    let mut at_strength_1 = vec![];
    for seed in [1, 2, 3] {
        let from = |picture: &Picture| draw(&sd, prompt, seed).init_image(picture).strength(1.0).run()?.image();
        let (red_disc, black) = (from(&sketch)?, from(&night)?);
        println!("seed {seed}: {:.1} levels apart", red_disc.difference(&black));
        assert!((1.0..15.0).contains(&red_disc.difference(&black)));
        at_strength_1.extend([(format!("seed {seed}, from the disc"), red_disc), (format!("seed {seed}, from black"), black)]);
    }
    show!(sheet(&at_strength_1));

    super::cell("7");
    fn img2img_simplified(sd: &Model, picture: &Picture, strength: f64, prompt: &str, seed: u64) -> Result<Picture> {
        let (steps, guidance_scale) = (25, 5.0);
        let text = sd.text_embeddings(&["", prompt])?;

        // New: begin with the encoded picture, noised to the level of the first call that is made.
        let mut scheduler = sd.scheduler("ddim", steps)?;
        let first = steps - (steps as f64 * strength) as usize;
        let noise = sd.noises(seed, 2).remove(1);
        let mut latents = scheduler.add_noise(&sd.encode(picture, seed)?, &noise, first)?;

        // The same loop, from that call on.
        for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate().skip(first) {
            let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
            let predicted = sd.predict_noise(&input, timestep, &text)?;
            let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), guidance_scale)?;
            latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
        }
        sd.decode(&latents)
    }

    for seed in [1, 2, 3] {
        let ours = img2img_simplified(&sd, &sketch, 0.6, prompt, seed)?;
        let run = draw(&sd, prompt, seed).init_image(&sketch).strength(0.6).scheduler("ddim").run()?;
        assert_eq!(ours.difference(&run.image()?), 0.0);
    }

    super::cell("8");
    fn right_half(x: u32, _y: u32) -> [u8; 3] {
        if x < 64 { [0, 0, 0] } else { [255, 255, 255] }
    }

    let apple = draw(&sd, "a red apple on a blue background", 7).run()?.image()?;
    let mask = Picture::from_fn(128, 128, right_half);
    let mut repainted = vec![("the picture".to_string(), apple.clone()), ("the mask".to_string(), mask.clone())];
    for seed in [1, 2, 3] {
        let run = draw(&sd, "a green apple on a yellow background", seed).init_image(&apple).mask(&mask).strength(0.9).run()?;
        repainted.push((format!("seed {seed}"), run.image()?));
    }
    show!(sheet(&repainted));

    super::cell("9");
    let (left, right) = ((0, 0, 56, 128), (64, 0, 64, 128));
    for (seed, picture) in &repainted[2..] {
        let change = |(x, y, width, height)| picture.crop(x, y, width, height).difference(&apple.crop(x, y, width, height));
        println!("{seed}: the left half changed by {:.1} levels, the right by {:.1}", change(left), change(right));
        assert!(change(left) < 10.0 && change(right) > 30.0);
    }

    if !super::outputs_are_wanted() {
        // The answer to exercise 3.
        let mut cats = vec![];
        for seed in [1, 2] {
            for strength in [0.4, 0.8] {
                let run = draw(&sd, "a cat face on a yellow background", seed).init_image(&sketch).strength(strength).run()?;
                let picture = run.image()?;
                let [red, green, blue] = picture.crop(0, 0, 12, 12).mean_colour();
                assert!(green > blue && (red > green) == (strength == 0.8));
                cats.push((format!("seed {seed}, strength {strength}"), picture));
            }
        }
        show!(sheet(&cats));
        // The answer to exercise 4.
        let untouched = img2img_simplified(&sd, &sketch, 0.0, prompt, 1)?;
        println!("{:.1} levels from the sketch", untouched.difference(&sketch));
        if let Err(refusal) = draw(&sd, prompt, 1).init_image(&sketch).strength(0.0).run() {
            println!("{refusal}");
        }
        show!(untouched);
    }

    super::cell("end");
    Ok(())
}
