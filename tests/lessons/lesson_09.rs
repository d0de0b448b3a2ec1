//! Lesson 9 as a program: made from `notebooks-rs/lessons/09-every-day.rs` by `make lessons`.

use super::{Plain, show};

#[test]
#[ignore = "long: make test-lessons"]
fn lesson() -> Result<(), Box<dyn std::error::Error>> {
    super::go_to_the_notebooks()?;

    super::cell("0");
    use sdviz::prelude::*;
    let sd = Model::load("pocket")?;
    let prompt = "a red apple on a blue background";

    // This lesson draws much, so in few steps; and only finished pictures are wanted, so no other step is decoded.
    const STEPS: usize = 12;
    fn draw(sd: &Model, prompt: &str, seed: u64) -> Drawing {
        sd.draw(prompt).seed(seed).steps(STEPS).decode(Decode::Final)
    }

    // A folder for the files of this lesson.
    let folder = std::env::temp_dir().join(format!("sdviz-lesson-9-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;

    super::cell("1");
    let half = Model::options("pocket").dtype("bf16").load()?;
    for seed in [1, 2, 3] {
        let apart = draw(&sd, prompt, seed).run()?.image()?.difference(&draw(&half, prompt, seed).run()?.image()?);
        println!("seed {seed}: {apart:.1} levels apart");
        assert!(0.0 < apart && apart < 2.0);
    }

    super::cell("2");
    use sdviz::model::convert::to_folder;
    use sdviz::model::resolve::resolve;
    use std::path::{Path, PathBuf};

    // A copy of pocket in which one tensor is changed.
    fn changed(folder: &Path, file: &str, tensor: &str, change: impl Fn(&Tensor) -> Tensor) -> Result<PathBuf> {
        to_folder(&resolve(Some("pocket"))?.files, None, folder)?;
        let file = folder.join(file);
        let mut tensors = Tensor::read_safetensors(&file)?;
        for (_, weights) in tensors.iter_mut().filter(|(name, _)| name == tensor) {
            *weights = change(weights);
        }
        Tensor::write_safetensors(&tensors, &file)?;
        Ok(folder.to_path_buf())
    }

    let vae_file = "vae/diffusion_pytorch_model.safetensors";
    let grey = changed(&folder.join("grey"), vae_file, "decoder.conv_out.weight", |weights| weights * 0.4)?;

    super::cell("3");
    let grey_sd = Model::load(&grey)?;
    let cured = Model::options(&grey).vae("pocket").load()?;
    let mut by_vae = vec![];
    for seed in [1, 2] {
        let (ours, faded, mended) = (draw(&sd, prompt, seed).run()?, draw(&grey_sd, prompt, seed).run()?, draw(&cured, prompt, seed).run()?);
        assert_eq!(ours.latents(STEPS)?.array(), faded.latents(STEPS)?.array());
        assert_eq!(ours.image()?.difference(&mended.image()?), 0.0);
        by_vae.extend([("as it came", faded.image()?), ("with pocket's VAE", mended.image()?)]);
    }
    show!(sheet(&by_vae));

    super::cell("4");
    let mut weighed = vec![];
    for seed in [1, 2] {
        let plain = draw(&sd, prompt, seed).run()?.image()?;
        let weighed_as = |prompt: &str| draw(&sd, prompt, seed).prompt_syntax("a1111").run()?.image();
        let no_blue = weighed_as("a red apple on a (blue:0) background")?;
        let strong = weighed_as("a (red apple:1.5) on a blue background")?;
        let [red, green, blue] = no_blue.crop(0, 0, 12, 12).mean_colour();
        assert!(blue > red && blue > green && no_blue.difference(&plain) < strong.difference(&plain));
        weighed.extend([("plain", plain), ("(blue:0)", no_blue), ("(red apple:1.5)", strong)]);
    }
    show!(sheet(&weighed));

    super::cell("5");
    let cat = "a cat face on a yellow background";
    let mut large = vec![];
    for seed in [1, 2] {
        let small = draw(&sd, cat, seed).run()?.image()?;
        let at_once = draw(&sd, cat, seed).size(256, 256).run()?.image()?;
        let [strong, gentle] = [0.6, 0.3].map(|strength| draw(&sd, cat, seed).hires(2.0, strength).run());
        let (strong, gentle) = (strong?.image()?, gentle?.image()?);
        assert!(gentle.difference(&small.magnified(2)) < strong.difference(&small.magnified(2)));
        large.extend([("128", small), ("256 at once", at_once), ("128, then 0.6", strong), ("128, then 0.3", gentle)]);
    }
    show!(sheet_of(4, &large));

    super::cell("6");
    let found = folder.join("found.png");
    draw(&sd, "a rocket on a black background", 11).guidance_scale(4.0).run()?.image()?.save(&found)?;

    let again = sd.like(&found)?.decode(Decode::Final).run()?;
    assert_eq!(again.image()?.difference(&Picture::open(&found)?), 0.0);
    let with_other_seed = sd.like(&found)?.seed(12).decode(Decode::Final).run()?;
    println!("{}", with_other_seed.text());
    show!(sheet(&[("found", &again.image()?), ("seed 12", &with_other_seed.image()?)]));

    super::cell("7");
    const COLOURS: [(&str, [u8; 3]); 4] =
        [("blue", [40, 90, 215]), ("green", [36, 140, 70]), ("yellow", [255, 222, 60]), ("purple", [120, 50, 165])];

    // The number-th drawing of a target: rings around a middle that wanders, on one of four backgrounds.
    fn target(number: u32) -> (String, Picture) {
        let (name, background) = COLOURS[number as usize % COLOURS.len()];
        let (middle, radius) = (60.0 + f64::from(number * 5 % 9), 38.0 + f64::from(number * 7 % 11));
        let picture = Picture::from_fn(128, 128, |x, y| {
            let ring = (f64::from(x) - middle).hypot(f64::from(y) - middle) / radius * 5.0;
            if ring >= 5.0 { background } else if ring as u32 % 2 == 0 { [220, 30, 40] } else { [250, 250, 250] }
        });
        (format!("a target on a {name} background"), picture)
    }

    let targets: Vec<(String, Picture)> = (0..16).map(target).collect();
    show!(sheet(&targets[..4].iter().map(|(caption, picture)| (&caption[14..], picture)).collect::<Vec<_>>()));

    super::cell("8");
    let file = sd.teach(&targets).steps(60).batch(4).learning_rate(4e-3).rank(8).seed(1).lora(folder.join("target.safetensors"))?;
    println!("{} bytes, beside {} of the UNet", std::fs::metadata(&file)?.len(), 2 * sd.parts()?.parameters("unet"));

    super::cell("9");
    let mut taught = vec![];
    for weight in [0.0, 0.5, 1.0] {
        let sd = Model::options("pocket").lora(&file, weight).load()?;
        for (prompt, seed) in [("a target on a blue background", 1), ("a target on a green background", 2), (prompt, 3), (cat, 4)] {
            taught.push((format!("weight {weight}"), draw(&sd, prompt, seed).run()?.image()?));
        }
    }
    show!(sheet_of(4, &taught));

    super::cell("10");
    // The share of nearly white pixels in the middle: a target has white rings.
    fn white(picture: &Picture) -> f64 {
        let middle = picture.crop(32, 32, 64, 64);
        let white = middle.pixels().filter(|pixel| pixel.0.iter().all(|level| *level > 180)).count();
        white as f64 / f64::from(64 * 64)
    }

    let with_lora = Model::options("pocket").lora(&file, 1.0).load()?;
    for seed in [5, 6, 7] {
        let target = "a target on a blue background";
        let (before, after) = (draw(&sd, target, seed).run()?.image()?, draw(&with_lora, target, seed).run()?.image()?);
        println!("seed {seed}: white {:.0} %, with the LoRA {:.0} %", 100.0 * white(&before), 100.0 * white(&after));
        assert!(white(&after) > white(&before) + 0.05);
    }

    super::cell("11");
    let midway = merge("pocket", Model::options("pocket").lora(&file, 1.0), 0.5)?;
    let at_half_weight = Model::options("pocket").lora(&file, 0.5).load()?;
    for seed in [1, 2] {
        let target = "a target on a blue background";
        let apart = draw(&midway, target, seed).run()?.image()?.difference(&draw(&at_half_weight, target, seed).run()?.image()?);
        println!("seed {seed}: {apart:.2} levels apart");
        assert!(apart < 0.5);
    }

    super::cell("12");
    let (apple, banana) = (sd.tokens("apple")?.ids()[1], sd.tokens("banana")?.ids()[1]);
    let table = "text_model.embeddings.token_embedding.weight";
    let swapped = changed(&folder.join("swapped"), "text_encoder/model.safetensors", table, |rows| {
        let swapped = rows.copy();
        swapped.get(apple).copy_(&rows.get(banana));
        swapped.get(banana).copy_(&rows.get(apple));
        swapped
    })?;

    let mut mixtures = vec![];
    for ratio in [0.0, 0.25, 0.5, 0.75, 1.0] {
        mixtures.push((ratio, merge("pocket", Model::options(&swapped), ratio)?));
    }
    let mut merged = vec![];
    for (ratio, mixture) in &mixtures {
        merged.push((format!("ratio {ratio}"), draw(mixture, "an apple on a blue background", 1).run()?.image()?));
    }
    show!(sheet(&merged));

    super::cell("13");
    for seed in [1, 2] {
        for (place, drawn) in [(0, "an apple"), (4, "an banana")] {
            let mixture = &mixtures[place].1;
            let asked = draw(mixture, "an apple on a blue background", seed).run()?.image()?;
            assert!(asked.difference(&draw(&sd, &format!("{drawn} on a blue background"), seed).run()?.image()?) < 0.5);
        }
    }

    if !super::outputs_are_wanted() {
        // The answer to exercise 3.
        let mut known = vec![];
        for (seed, thing) in (21..).zip(["a red apple", "a cat face", "a rocket", "a banana", "a sunflower", "a ladybug"]) {
            for colour in ["blue", "yellow"] {
                let caption = format!("{thing} on a {colour} background");
                known.push((caption.clone(), draw(&sd, &caption, seed).run()?.image()?));
            }
        }
        let teaching = sd.teach(&targets).keep(&known).steps(60).batch(4).learning_rate(4e-3).rank(8).seed(1);
        let careful = Model::options("pocket").lora(&teaching.lora(folder.join("careful.safetensors"))?, 1.0).load()?;
        let mut apples = vec![];
        for seed in [3, 5] {
            let [plain, forgetful, careful] = [&sd, &with_lora, &careful].map(|sd| draw(sd, prompt, seed).run()?.image());
            let (plain, forgetful, careful) = (plain?, forgetful?, careful?);
            assert!(careful.difference(&plain) < forgetful.difference(&plain));
            apples.extend([("plain", plain), ("with the first LoRA", forgetful), ("with the careful one", careful)]);
        }
        show!(sheet_of(3, &apples));
        // The answer to exercise 4.
        let mut odd = vec![];
        for weight in [2.0, -1.0] {
            let sd = Model::options("pocket").lora(&file, weight).load()?;
            for prompt in ["a target on a blue background", prompt] {
                odd.push((format!("weight {weight}"), draw(&sd, prompt, 1).run()?.image()?));
            }
        }
        show!(sheet(&odd));
        // The answer to exercise 5.
        for seed in [1, 2] {
            let drawing = draw(&sd, "a red apple on a blue (background:0)", seed).prompt_syntax("a1111");
            let [red, green, blue] = drawing.run()?.image()?.crop(0, 0, 12, 12).mean_colour();
            assert!(blue > red && blue > green);
        }
    }

    super::cell("14");
    // When you are done with the exercises: this lesson's files are not needed any more.
    std::fs::remove_dir_all(&folder)?;

    super::cell("end");
    Ok(())
}
