//! Lesson 4 as a program: made from `notebooks-rs/lessons/04-latents.rs` by `make lessons`.

use super::{Plain, show};

#[test]
#[ignore = "long: make test-lessons"]
fn lesson() -> Result<(), Box<dyn std::error::Error>> {
    super::go_to_the_notebooks()?;

    super::cell("0");
    use sdviz::prelude::*;
    let sd = Model::load("pocket")?;
    let run = sd.draw("a red apple on a blue background").seed(7).record(All).run()?;

    super::cell("1");
    let start = run.latents(0)?;
    let end = run.latents(25)?;
    println!("start {:?}, end {:?}: {} numbers", start.shape(), end.shape(), end.array().len());
    assert_eq!(end.array().len() * 48, 128 * 128 * 3);

    super::cell("2");
    show!(end);

    super::cell("3");
    show!(start);

    super::cell("4");
    fn likeness_of_neighbours(latents: &Latents) -> f64 {
        let array = latents.array();
        let (left, right) = (array.slice(s![.., .., .., ..-1]), array.slice(s![.., .., .., 1..]));
        let of_channel = |channel: usize| {
            let (a, b) = (left.index_axis(Axis(1), channel), right.index_axis(Axis(1), channel));
            let (mean_a, mean_b) = (a.mean().unwrap_or(0.0), b.mean().unwrap_or(0.0));
            let (a, b) = (a.mapv(|x| x - mean_a), b.mapv(|x| x - mean_b));
            f64::from((&a * &b).sum() / ((&a * &a).sum() * (&b * &b).sum()).sqrt())
        };
        (0..4).map(of_channel).sum::<f64>() / 4.0
    }

    super::cell("5");
    for seed in 1..=4 {
        let run = sd.draw("a red apple on a blue background").seed(seed).decode(Decode::Final).run()?;
        let (start, end) = (run.latents(0)?, run.latents(25)?);
        println!(
            "seed {seed}: start mean {:5.2}, standard deviation {:.2}, neighbours {:5.2}; end neighbours {:.2}",
            start.mean(), start.std(), likeness_of_neighbours(&start), likeness_of_neighbours(&end),
        );
        assert!(start.mean().abs() < 0.1 && (start.std() - 1.0).abs() < 0.1);
        assert!(likeness_of_neighbours(&start).abs() < 0.2 && likeness_of_neighbours(&end) > 0.5);
    }

    super::cell("6");
    let mut choices = Vec::new();
    for channels in [[0, 1, 2], [0, 1, 3], [1, 2, 3], [3, 1, 0]] {
        choices.push((format!("{channels:?}"), end.rgb(channels)?));
    }
    show!(sheet(&choices));

    super::cell("7");
    show!(run.video("latents")?.channels([0, 1, 3]).fps(5.0));

    super::cell("8");
    let picture = run.image()?;
    let encoded = sd.encode(&picture, 1)?;
    let back = sd.decode(&encoded)?;
    show!(sheet(&[("before", &picture), ("after", &back)]));

    super::cell("9");
    for seed in 1..=4 {
        let picture = sd.draw("a ladybug on a white background").seed(seed).decode(Decode::Final).run()?.image()?;
        let back = sd.decode(&sd.encode(&picture, 1)?)?;
        println!("seed {seed}: {:.1} levels apart, {:.1} dB", picture.difference(&back), picture.psnr(&back));
        assert!(picture.difference(&back) > 0.0 && picture.psnr(&back) > 25.0);
    }

    super::cell("10");
    let preview = run.preview()?;
    show!(preview);

    super::cell("11");
    println!("{}", preview.map());
    println!("R² = {:.3}", preview.r2());

    super::cell("12");
    for seed in 1..=4 {
        let r2 = sd.draw("a red apple on a blue background").seed(seed).decode(Every(5)).run()?.preview()?.r2();
        println!("seed {seed}: R² = {r2:.3}");
        assert!(r2 > 0.75);
    }

    if !super::outputs_are_wanted() {
        // The answer to exercise 1.
        let mut looks = vec![("picture".to_string(), run.image()?)];
        for channel in 0..4 {
            looks.push((format!("channel {channel}"), end.channel(channel)));
        }
        println!("{}", preview.map());
        show!(sheet(&looks));
        // The answer to exercise 2.
        let other = sd.draw("a banana on a purple background").seed(7).run()?;
        let decoded = other.image()?;
        let latents = other.latents(25)?;
        let paint = |fitted_on: &Run| Ok::<Picture, Error>(fitted_on.preview()?.map().paint(latents.array().index_axis(Axis(0), 0))?.into());
        let (with_the_apples, with_its_own) = (paint(&run)?, paint(&other)?);
        // Each square of 8×8 pixels as one pixel.
        let small = Picture::from_fn(16, 16, |x, y| decoded.crop(8 * x, 8 * y, 8, 8).mean_colour().map(|level| level as u8));
        assert!(with_the_apples.difference(&small) > with_its_own.difference(&small));
        show!(sheet(&[("decoded", &decoded), ("the apple's map", &with_the_apples), ("its own map", &with_its_own)]));
        // The answer to exercise 3.
        let noise = sd.noise(1);
        show!(sheet(&[("one channel", Latents::from_tensor(&noise)?.channel(0)), ("decoded", sd.decode(&noise)?)]));
    }

    super::cell("end");
    Ok(())
}
