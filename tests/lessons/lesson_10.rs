//! Lesson 10 as a program: made from `notebooks-rs/lessons/10-your-own.rs` by `make lessons`.

use super::{Plain, show};

#[test]
#[ignore = "long: make test-lessons"]
fn lesson() -> Result<(), Box<dyn std::error::Error>> {
    super::go_to_the_notebooks()?;

    super::cell("0");
    use sdviz::prelude::*;
    let sd = Model::load("pocket")?;
    let prompt = "a red apple on a blue background";

    // Only finished pictures are wanted here: no other step is decoded, which takes a quarter of the time.
    fn draw(sd: &Model, prompt: &str, seed: u64) -> Drawing {
        sd.draw(prompt).seed(seed).decode(Decode::Final)
    }

    super::cell("1");
    struct LookingAt {
        token: i64,
        map: Tensor,
        added: f64,
    }

    impl Observer for LookingAt {
        fn wants(&self, ask: Ask) -> bool {
            matches!(ask, Ask::Site(name, _) if name.ends_with(".attn2.probs"))
        }

        fn wants_branch(&self, branch: Branch) -> bool {
            branch == Branch::Text(0)
        }

        fn on_event(&mut self, event: &Event) -> Result<Flow> {
            if let Event::Tensor(Site { grid: Some((height, width)), .. }, probs) = event {
                // [1, heads, places, tokens]: one token, the mean of the heads, laid out as a picture and made 16×16.
                let of_token = probs.select(3, self.token).mean_dim([0, 1].as_slice(), false, Kind::Float);
                let picture = of_token.view([1, 1, *height, *width]).upsample_nearest2d([16, 16], None, None);
                self.map += picture.view([16, 16]);
                self.added += 1.0;
            }
            Ok(Flow::Continue)
        }
    }

    super::cell("2");
    fn look(sd: &Model, prompt: &str, word: &str, seed: u64) -> Result<Tensor> {
        let tokens = sd.tokens(prompt)?;
        let token = tokens.pieces().iter().position(|piece| piece == &format!("{word}</w>")).unwrap_or(0) as i64;
        let mut looking = LookingAt { token, map: Tensor::zeros([16, 16], (Kind::Float, Device::Cpu)), added: 0.0 };
        draw(sd, prompt, seed).watched(&mut looking)?;
        Ok(looking.map / looking.added)
    }

    // A map as a picture, with what its darkest and its brightest place get.
    fn shown(name: &str, map: &Tensor) -> Result<(String, Picture)> {
        let percent = |share: Tensor| 100.0 * share.double_value(&[]);
        Ok((format!("{name}: {:.1} to {:.1} %", percent(map.min()), percent(map.max())), Picture::map(map)?.magnified(8)))
    }

    let mut maps = vec![];
    for seed in [1, 2] {
        maps.push((format!("seed {seed}"), draw(&sd, prompt, seed).run()?.image()?));
        for word in ["apple", "background"] {
            let map = look(&sd, prompt, word, seed)?;
            let mean = |map: Tensor| map.mean(Kind::Float).double_value(&[]);
            let (top, middle) = (mean(map.narrow(0, 0, 1)), mean(map.narrow(0, 5, 6).narrow(1, 5, 6)));
            assert!(if word == "apple" { middle > top } else { top > middle });
            maps.push(shown(word, &map)?);
        }
    }
    show!(sheet_of(3, &maps));

    super::cell("3");
    struct Silence {
        from: usize,
    }

    impl Editor for Silence {
        fn wants(&self, site: &str, step: usize) -> bool {
            step >= self.from && site.starts_with("unet.") && site.ends_with(".attn2")
        }

        fn edit(&mut self, _site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
            Ok(Some(tensor.zeros_like()))
        }
    }

    super::cell("4");
    let mut silenced = vec![];
    for (prompt, seed) in [(prompt, 1), ("a rocket on a black background", 3), ("a banana on a purple background", 4)] {
        let whole = draw(&sd, prompt, seed).run()?.image()?;
        let mut far = vec![];
        for from in [1, 3, 8, 15] {
            let picture = draw(&sd, prompt, seed).edited(&mut Silence { from })?.image()?;
            far.push(picture.difference(&whole));
            silenced.push((format!("silent from {from}"), picture));
        }
        silenced.push(("never silent".to_string(), whole));
        println!("{prompt}: {far:.0?} levels from the picture with all its words");
        assert!(far[0] > far[1] && far[1] > far[2] && far[2] > far[3]);
    }
    show!(sheet_of(5, &silenced));

    super::cell("5");
    struct Cut {
        site: &'static str,
    }

    impl Editor for Cut {
        fn wants(&self, site: &str, step: usize) -> bool {
            step > 0 && site.starts_with("unet.up_blocks.2.") && site.ends_with(self.site)
        }

        fn edit(&mut self, _site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
            Ok(Some(tensor.zeros_like()))
        }
    }

    let mut cut = vec![];
    for seed in [1, 2, 3] {
        let whole = draw(&sd, prompt, seed).run()?.image()?;
        let no_skips = draw(&sd, prompt, seed).edited(&mut Cut { site: ".skip" })?.image()?;
        let nothing_from_below = draw(&sd, prompt, seed).edited(&mut Cut { site: ".resnets.0.backbone" })?.image()?;
        assert!(no_skips.difference(&whole) > 20.0 && nothing_from_below.difference(&whole) > 20.0);
        cut.extend([
            (format!("seed {seed}"), whole),
            ("no skips".to_string(), no_skips),
            ("only skips".to_string(), nothing_from_below),
        ]);
    }
    show!(sheet_of(3, &cut));

    super::cell("6");
    struct TwoStep {
        euler: Box<dyn Scheduler>,
        last: Option<(f64, Tensor)>,
    }

    impl Scheduler for TwoStep {
        fn name(&self) -> &'static str { "two_step" }
        fn timesteps(&self) -> &[f64] { self.euler.timesteps() }
        fn init_noise_sigma(&self) -> f64 { self.euler.init_noise_sigma() }
        fn level(&self, call: usize) -> NoiseLevel { self.euler.level(call) }
        fn scale_model_input(&self, x: &Tensor, call: usize) -> Result<Tensor> { self.euler.scale_model_input(x, call) }
        fn add_noise(&self, x: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> { self.euler.add_noise(x, noise, call) }

        fn step(&mut self, noise: &Tensor, call: usize, x: &Tensor, _fresh: &mut Noise) -> Result<StepOutput> {
            let sigma = self.level(call).sigma;
            let h = self.level(call + 1).sigma - sigma;
            let slope = match &self.last {
                Some((last_h, last)) => noise + (noise - last) * (h / (2.0 * last_h)),
                None => noise.shallow_clone(),
            };
            self.last = Some((h, noise.shallow_clone()));
            Ok(StepOutput { prev_sample: x + slope * h, pred_original: x - noise * sigma })
        }
    }

    super::cell("7");
    fn draw_with(sd: &Model, scheduler: &mut dyn Scheduler, prompt: &str, seed: u64) -> Result<Picture> {
        let text = sd.text_embeddings(&["", prompt])?;
        let mut latents = sd.noise(seed) * scheduler.init_noise_sigma();
        for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate() {
            let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
            let predicted = sd.predict_noise(&input, timestep, &text)?;
            let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), 3.0)?;
            latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
        }
        sd.decode(&latents)
    }

    let mut ours = TwoStep { euler: sd.scheduler("euler", 15)?, last: None };
    show!(draw_with(&sd, &mut ours, prompt, 1)?);

    super::cell("8");
    println!("levels from 100 steps    euler   ours   dpmpp_2m");
    let subjects = [(prompt, 1), ("a rocket on a black background", 3), ("a banana on a purple background", 4)];
    let mut goals = vec![];
    for (prompt, seed) in subjects {
        goals.push(draw_with(&sd, sd.scheduler("euler", 100)?.as_mut(), prompt, seed)?);
    }
    let mut table: Vec<[f64; 3]> = vec![];
    for steps in [5, 10, 25] {
        let mut far = [0.0; 3];
        for ((prompt, seed), goal) in subjects.iter().zip(&goals) {
            let mut ours = TwoStep { euler: sd.scheduler("euler", steps)?, last: None };
            far[0] += draw_with(&sd, sd.scheduler("euler", steps)?.as_mut(), prompt, *seed)?.difference(goal) / 3.0;
            far[1] += draw_with(&sd, &mut ours, prompt, *seed)?.difference(goal) / 3.0;
            far[2] += draw_with(&sd, sd.scheduler("dpmpp_2m", steps)?.as_mut(), prompt, *seed)?.difference(goal) / 3.0;
        }
        println!("{steps:>2} steps {:>20.1} {:>6.1} {:>10.1}", far[0], far[1], far[2]);
        table.push(far);
    }
    // Each comes nearer with more steps; from 10 on ours is nearer than Euler.
    assert!((0..3).all(|column| table.windows(2).all(|rows| rows[1][column] < rows[0][column])));
    assert!(table[1..].iter().all(|far| far[1] < far[0]));

    if !super::outputs_are_wanted() {
        // The answer to exercise 1.
        struct Early(LookingAt);

        impl Observer for Early {
            fn wants(&self, ask: Ask) -> bool {
                matches!(ask, Ask::Site(name, step) if step <= 5 && name.ends_with(".attn2.probs"))
            }

            fn wants_branch(&self, branch: Branch) -> bool {
                self.0.wants_branch(branch)
            }

            fn on_event(&mut self, event: &Event) -> Result<Flow> {
                self.0.on_event(event)
            }
        }

        let mut early_maps = vec![];
        for seed in [1, 2, 3] {
            let token = 3; // "apple": 0 begins the text, 1 and 2 are "a red"
            let mut early = Early(LookingAt { token, map: Tensor::zeros([16, 16], (Kind::Float, Device::Cpu)), added: 0.0 });
            draw(&sd, prompt, seed).watched(&mut early)?;
            let (map, mean) = (early.0.map / early.0.added, |map: Tensor| map.mean(Kind::Float).double_value(&[]));
            assert!(mean(map.narrow(0, 5, 6).narrow(1, 5, 6)) > mean(map.narrow(0, 0, 1)));
            early_maps.push(shown(&format!("seed {seed}"), &map)?);
        }
        show!(sheet(&early_maps));
        // The answer to exercise 2.
        struct SilentUntil(usize);

        impl Editor for SilentUntil {
            fn wants(&self, site: &str, step: usize) -> bool {
                step <= self.0 && site.starts_with("unet.") && site.ends_with(".attn2")
            }

            fn edit(&mut self, _site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
                Ok(Some(tensor.zeros_like()))
            }
        }

        for seed in [1, 2, 3] {
            let whole = draw(&sd, prompt, seed).run()?.image()?;
            let first = draw(&sd, prompt, seed).edited(&mut SilentUntil(3))?.image()?.difference(&whole);
            let rest = draw(&sd, prompt, seed).edited(&mut Silence { from: 3 })?.image()?.difference(&whole);
            println!("seed {seed}: silent until step 3, {first:.0} levels; from step 3 on, {rest:.0}");
            assert!(first < rest);
        }
        // The answer to exercise 3.
        struct Falling;

        impl Editor for Falling {
            fn wants(&self, site: &str, _step: usize) -> bool {
                site == "guidance_scale"
            }

            fn edit(&mut self, site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
                Ok(Some(tensor.ones_like() * (8.0 - 7.0 * site.step as f64 / 25.0)))
            }
        }

        show!(sheet(&[("5", draw(&sd, prompt, 1).run()?.image()?), ("8 to 1", draw(&sd, prompt, 1).edited(&mut Falling)?.image()?)]));
        // The answer to exercise 4.
        struct Careful(TwoStep);

        impl Scheduler for Careful {
            fn name(&self) -> &'static str { "careful" }
            fn timesteps(&self) -> &[f64] { self.0.timesteps() }
            fn init_noise_sigma(&self) -> f64 { self.0.init_noise_sigma() }
            fn level(&self, call: usize) -> NoiseLevel { self.0.level(call) }
            fn scale_model_input(&self, x: &Tensor, call: usize) -> Result<Tensor> { self.0.scale_model_input(x, call) }
            fn add_noise(&self, x: &Tensor, noise: &Tensor, call: usize) -> Result<Tensor> { self.0.add_noise(x, noise, call) }

            fn step(&mut self, noise: &Tensor, call: usize, x: &Tensor, fresh: &mut Noise) -> Result<StepOutput> {
                let size = |tensor: &Tensor| tensor.norm().double_value(&[]);
                // What has changed too much is forgotten.
                self.0.last = self.0.last.take().filter(|(_, last)| size(&(noise - last)) < 0.1 * size(noise));
                self.0.step(noise, call, x, fresh)
            }
        }

        for ((prompt, seed), goal) in subjects.into_iter().zip(&goals) {
            let ours = || Ok::<TwoStep, Error>(TwoStep { euler: sd.scheduler("euler", 5)?, last: None });
            let euler = draw_with(&sd, sd.scheduler("euler", 5)?.as_mut(), prompt, seed)?;
            let (hasty, careful) = (draw_with(&sd, &mut ours()?, prompt, seed)?, draw_with(&sd, &mut Careful(ours()?), prompt, seed)?);
            let [euler, hasty, careful] = [euler, hasty, careful].map(|picture| picture.difference(goal));
            println!("5 steps, levels from 100: euler {euler:.1}, ours {hasty:.1}, careful {careful:.1}");
        }
    }

    super::cell("end");
    Ok(())
}
