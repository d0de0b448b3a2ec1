//! Lesson 7 as a program: made from `notebooks-rs/lessons/07-the-networks.rs` by `make lessons`.

use super::{Plain, show};

#[test]
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
    let parts = sd.parts()?;
    let [text_encoder, unet, vae] = ["text_encoder", "unet", "vae"].map(|part| parts.parameters(part));
    assert!(unet > text_encoder + vae);
    show!(parts);

    super::cell("2");
    let unet = sd.sites("unet.**")?;
    let way = [
        "unet.sample", "unet.conv_in", "unet.down_blocks.0", "unet.down_blocks.1", "unet.down_blocks.2", "unet.mid_block",
        "unet.up_blocks.0", "unet.up_blocks.1", "unet.up_blocks.2", "unet.conv_out",
    ];
    for row in unet.rows().iter().filter(|row| way.contains(&row.name.as_str())) {
        println!("{:<20} {:?}", row.name, row.shape);
    }

    super::cell("3");
    println!("{:<30} {:<20} {:<20} joined", "", "from below", "left on the way down");
    for row in unet.rows().iter().filter(|row| row.name.ends_with(".skip")) {
        let block = row.name.trim_end_matches(".skip");
        let shape = |end: &str| unet.of(&format!("{block}.{end}")).unwrap_or_default();
        let (below, left, joined) = (shape("backbone"), shape("skip"), shape("in"));
        println!("{:<30} {:<20} {:<20} {joined:?}", block, format!("{below:?}"), format!("{left:?}"));
        assert_eq!(below[1] + left[1], joined[1]);
        assert_eq!(below[2..], left[2..]);
    }

    super::cell("4");
    let text = sd.text_embeddings(&["a red apple on a blue background"])?;
    let (row, column) = (4, 11);
    let mut reached = vec![];
    for seed in [1, 2, 3] {
        let latents = sd.noise(seed);
        let touched = latents.copy();
        let _ = touched.narrow(2, row, 1).narrow(3, column, 1).narrow(1, 0, 1).fill_(3.0);
        let change = (sd.predict_noise(&touched, 481.0, &text)? - sd.predict_noise(&latents, 481.0, &text)?).abs();
        // Over the four channels: [16, 16].
        let change = change.amax([0, 1], false);
        let (least, most) = (change.min().double_value(&[]), change.max().double_value(&[]));
        assert!(least > 0.0);
        assert_eq!(change.flatten(0, 1).argmax(None, false).int64_value(&[]), 16 * row + column);
        reached.push((format!("seed {seed}: {least:.4} to {most:.1}"), Picture::map(&change.log())?.magnified(8)));
    }
    show!(sheet(&reached));

    super::cell("5");
    let attention = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2";
    for (inside, meaning) in [
        ("to_q", "what each of the 256 places asks"),
        ("context", "the text embeddings"),
        ("to_k", "what each of the 77 tokens answers to"),
        ("to_v", "what each token has to say"),
        ("probs", "how far each place listens to each token, in 4 heads"),
    ] {
        let shape = unet.of(&format!("{attention}.{inside}")).unwrap_or_default();
        println!("{inside:<8} {:<18} {meaning}", format!("{shape:?}"));
    }
    let entrances = unet.rows().iter().filter(|row| row.name.ends_with(".attn2.context")).count();
    println!("the text enters the UNet at {entrances} places");

    super::cell("6");
    let prompt = "a red apple on a blue background";
    let others = ["a red apple on a green background", "a banana on a blue background"];
    let scheduler = sd.scheduler("ddim", 25)?;
    let mut maps = vec![];
    for seed in [1, 2, 3] {
        let picture = draw(&sd, prompt, seed).run()?.image()?;
        let noised = scheduler.add_noise(&sd.encode(&picture, 10)?, &sd.noise(100 + seed), 6)?.repeat([2, 1, 1, 1]);
        maps.push((format!("seed {seed}"), picture));
        for other in others {
            let predicted = sd.predict_noise(&noised, scheduler.timesteps()[6], &sd.text_embeddings(&[prompt, other])?)?;
            let apart = (predicted.get(0) - predicted.get(1)).square().sum_dim_intlist([0_i64].as_slice(), false, Kind::Float).sqrt();
            let mean = |tensor: &Tensor| tensor.mean(Kind::Float).double_value(&[]);
            let (top, middle) = (mean(&apart.narrow(0, 0, 1)), mean(&apart.narrow(0, 5, 6).narrow(1, 5, 6)));
            println!("seed {seed}, {other}: {top:.3} in the top row, {middle:.3} in the middle");
            let background = other.contains("green");
            assert!(if background { top > 2.0 * middle } else { middle > 2.0 * top });
            let name = if background { "green for blue" } else { "banana for apple" };
            let (least, most) = (apart.min().double_value(&[]), apart.max().double_value(&[]));
            maps.push((format!("{name}: {least:.2} to {most:.2}"), Picture::map(&apart)?.magnified(8)));
        }
    }
    show!(sheet_of(3, &maps));

    super::cell("7");
    let texts = sd.text_embeddings(&[prompt, "", "a rocket on a black background"])?;
    println!("how far its answer is from the noise, in percent of the noise");
    println!("{:<8} {:>8} {:>14} {:>11} {:>14}", "", "timestep", "right caption", "no caption", "wrong caption");
    for seed in [1, 2, 3] {
        let picture = draw(&sd, prompt, seed).run()?.image()?;
        let (encoded, noise) = (sd.encode(&picture, 10)?, sd.noise(100 + seed));
        let mut before = 0.0;
        for call in [0, 10, 20, 24] {
            let (noised, timestep) = (scheduler.add_noise(&encoded, &noise, call)?, scheduler.timesteps()[call]);
            let answers = sd.predict_noise(&noised.repeat([3, 1, 1, 1]), timestep, &texts)?;
            let wrong = |text: i64| 100.0 * ((answers.get(text) - noise.get(0)).norm() / noise.norm()).double_value(&[]);
            let (right_caption, none, wrong_caption) = (wrong(0), wrong(1), wrong(2));
            println!("seed {seed:<3} {timestep:>8} {right_caption:>14.1} {none:>11.1} {wrong_caption:>14.1}");
            assert!(before < right_caption && right_caption < none);
            assert!(if call < 24 { none < wrong_caption } else { wrong_caption < 1.1 * right_caption });
            before = right_caption;
        }
    }

    if !super::outputs_are_wanted() {
        // The answer to exercise 2.
        let blocks = sd.sites("vae.decoder.up_blocks.*")?;
        let sides: Vec<i64> = blocks.rows().iter().map(|row| row.shape[2]).collect();
        assert_eq!(sides, [32, 64, 128, 128]);
        show!(blocks);
        // The answer to exercise 3.
        for seed in [1, 2, 3] {
            let noise = sd.noise(seed);
            let far = |timestep| -> Result<f64> {
                let answer = sd.predict_noise(&noise, timestep, &text)?;
                Ok(100.0 * ((answer - &noise).norm() / noise.norm()).double_value(&[]))
            };
            let (told_little, told_much) = (far(41.0)?, far(961.0)?);
            println!("seed {seed}: {told_little:.0} % with 41, {told_much:.0} % with 961");
            assert!(told_little > 3.0 * told_much);
        }
        // The answer to exercise 4.
        let both = sd.text_embeddings(&["a red apple on a blue background", "a blue apple on a red background"])?;
        // Token 0 begins the text, so "red" is the third token of the one and the seventh of the other.
        let (before_apple, before_background) = (both.get(0).get(2), both.get(1).get(6));
        assert!(!before_apple.allclose(&before_background, 1e-2, 1e-2, false));
    }

    super::cell("end");
    Ok(())
}
