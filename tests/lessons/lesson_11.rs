//! Lesson 11 as a program: made from `notebooks-rs/lessons/11-where-does-it-look.rs` by `make lessons`.

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

    // Claims are tried on these: a prompt, a word of it, a seed.
    let subjects = [(prompt, "apple", 1_u64), ("a rocket on a black background", "rocket", 3), ("a banana on a purple background", "banana", 4)];

    super::cell("1");
    let run = sd.draw(prompt).seed(1).attention(AttentionPlan::default()).run()?;
    show!(run.attention_of("apple")?.size(64));

    super::cell("2");
    // Which pixels are not of the background's colour.
    fn thing(picture: &Picture) -> Vec<bool> {
        let ground = picture.crop(0, 0, 12, 12).mean_colour();
        let far = |pixel: &Rgb<u8>| (0..3).map(|i| (f64::from(pixel.0[i]) - ground[i]).powi(2)).sum::<f64>().sqrt();
        picture.pixels().map(|pixel| far(pixel) > 60.0).collect()
    }

    // The correlation of a map with those pixels, over the places; each place is 8 by 8 pixels.
    fn on_the_thing(map: &Array2<f32>, picture: &Picture) -> f32 {
        let mut covered = Array2::<f32>::zeros((16, 16));
        for (number, _) in thing(picture).into_iter().enumerate().filter(|(_, is_thing)| *is_thing) {
            covered[[number / 128 / 8, number % 128 / 8]] += 1.0;
        }
        let (map, covered) = (map - map.mean().unwrap_or(0.0), &covered - covered.mean().unwrap_or(0.0));
        (&map * &covered).sum() / ((&map * &map).sum() * (&covered * &covered).sum()).sqrt()
    }

    let mut looked = vec![];
    for (prompt, word, seed) in subjects {
        let run = draw(&sd, prompt, seed).attention(AttentionPlan::default()).run()?;
        let maps = run.attention_of(word)?;
        let finished = run.image()?;
        let on = |step| -> Result<f32> { Ok(on_the_thing(&maps.map(step)?, &finished)) };
        let (first, tenth, last) = (on(1)?, on(10)?, on(25)?);
        println!("{word:<7} on the finished thing: {first:.2} in step 1, {tenth:.2} in step 10, {last:.2} in step 25");
        assert!(first > 0.25);
        looked.push(run);
    }

    super::cell("3");
    println!("shares of all attention, in percent\n{:<8} {:>6} {:>6} {:>6} {:>8} {:>14}", "", "start", "words", "end", "padding", "its own word");
    for ((_, word, _), run) in subjects.iter().zip(&looked) {
        let share = |of: &str| -> Result<f64> {
            let shares = run.attention_of(of)?.shares()?;
            Ok(100.0 * shares.iter().map(|(_, share)| share).sum::<f64>() / shares.len() as f64)
        };
        let (start, end, padding, own) = (share("<start>")?, share("<end>")?, share("<padding>")?, share(word)?);
        let words = 100.0 - start - end - padding;
        println!("{word:<8} {start:>6.1} {words:>6.1} {end:>6.1} {padding:>8.1} {own:>14.1}");
        assert!(padding > 50.0 && words < 45.0 && own < words / 2.0);
    }

    super::cell("4");
    let mut hidden = vec![];
    for ((prompt, word, seed), run) in subjects.iter().zip(&looked) {
        let whole = run.image()?;
        let without = |words: &str| draw(&sd, prompt, *seed).edit(format!("mask **.attn2 words={words}")).run()?.image();
        let (no_word, no_words, no_padding) = (without(word)?, without("<words>")?, without("<padding>")?);
        let far = [&no_word, &no_words, &no_padding].map(|picture| picture.difference(&whole));
        println!("{word:<7} without the word {:.0} levels, without all words {:.0}, without the padding {:.0}", far[0], far[1], far[2]);
        assert!(far[0] < far[1] && far[1] < far[2]);
        hidden.extend([(word.to_string(), whole), ("its word hidden".into(), no_word)]);
        hidden.extend([("all words hidden".into(), no_words), ("padding hidden".into(), no_padding)]);
    }
    show!(sheet_of(4, &hidden[..8]));

    super::cell("5");
    let mut silenced = vec![];
    for ((prompt, word, seed), run) in subjects.iter().zip(&looked).take(2) {
        let whole = run.image()?;
        let mut far = vec![];
        silenced.push((word.to_string(), whole.clone()));
        for steps in ["1-5", "6-15", "16-25", "1-25"] {
            let picture = draw(&sd, prompt, *seed).edit(format!("zero **.attn2 steps={steps} branch=both")).run()?.image()?;
            far.push(picture.difference(&whole));
            silenced.push((format!("silent in {steps}"), picture));
        }
        println!("{word:<7} {far:.0?} levels");
        assert!(far[..3].iter().all(|window| 2.5 * window < far[3]));
    }
    show!(sheet_of(5, &silenced));

    super::cell("6");
    let mut runs = vec![];
    for seed in [1, 2] {
        runs.push((seed, draw(&sd, prompt, seed).run()?));
    }
    let mut told = vec![];
    for (seed, run) in &runs {
        let whole = run.image()?;
        told.push((format!("seed {seed}"), whole.clone()));
        let mut far = vec![];
        for (size, grid) in [("f4", "4×4"), ("f2", "8×8"), ("f1", "16×16")] {
            let edit = format!("prompt unet.** sizes={size} text='a banana on a yellow background'");
            let picture = draw(&sd, prompt, *seed).edit(edit).run()?.image()?;
            let [red, _, blue] = picture.crop(0, 0, 12, 12).mean_colour();
            far.push((picture.difference(&whole), blue - red));
            told.push((format!("told to {grid}"), picture));
        }
        println!("seed {seed}: levels from the apple, and how much bluer than red the corner is: {far:.0?}");
        assert!(far[0].0 < 5.0 && far[1].0 > 20.0 && far[1].1 > 0.0 && far[2].1 < 0.0);
    }
    show!(sheet_of(4, &told));

    super::cell("7");
    let mut unguided = vec![];
    for ((prompt, word, seed), run) in subjects.iter().zip(&looked) {
        let whole = run.image()?;
        let off = |steps: &str| draw(&sd, prompt, *seed).edit(format!("set guidance_scale by=1 steps={steps}")).run()?.image();
        let (early, late) = (off("1-10")?, off("16-25")?);
        println!("{word:<7} off early {:.1} levels, off late {:.1}", early.difference(&whole), late.difference(&whole));
        assert!(early.difference(&whole) > late.difference(&whole));
        unguided.extend([(word.to_string(), whole), ("off in 1-10".into(), early), ("off in 16-25".into(), late)]);
    }
    show!(sheet_of(3, &unguided[..3]));

    super::cell("8");
    let wish = "a banana on a blue background";
    let mut late = vec![];
    for (seed, run) in &runs {
        let (apple, banana) = (run.image()?, draw(&sd, wish, *seed).run()?.image()?);
        let mut far = vec![];
        late.push(("a banana at once".to_string(), banana.clone()));
        for step in [3, 8, 20] {
            let picture = sd.branch(run, step)?.prompt(wish).run()?.image()?;
            far.push((picture.difference(&banana), picture.difference(&apple)));
            late.push((format!("after step {step}"), picture));
        }
        println!("seed {seed}: levels from the banana and from the apple {far:.0?}");
        assert!(far[0].0 < far[1].0 && far[1].0 < far[2].0 && far[0].1 > far[1].1 && far[1].1 > far[2].1);
        late.push(("the apple".to_string(), apple));
    }
    show!(sheet_of(5, &late[5..]));

    super::cell("9");
    // The share of the pixels of either thing that belong to both.
    fn overlap(one: &Picture, other: &Picture) -> f64 {
        let pairs: Vec<(bool, bool)> = thing(one).into_iter().zip(thing(other)).collect();
        let (both, either) = (pairs.iter().filter(|(a, b)| *a && *b).count(), pairs.iter().filter(|(a, b)| *a || *b).count());
        both as f64 / either.max(1) as f64
    }

    let mut lent = vec![];
    for (seed, donor) in &runs {
        let green = draw(&sd, "a green apple on a blue background", *seed);
        let lending = green.clone().donor(donor).edit("copy unet.**.attn2.probs map=words steps=0-80%");
        let (red, alone) = (donor.image()?, green.run()?.image()?);
        let borrowed = lending.edit("copy unet.**.attn1.probs steps=0-80%").run()?.image()?;
        println!("seed {seed}: alone {:.0} %, with the donor {:.0} %", 100.0 * overlap(&red, &alone), 100.0 * overlap(&red, &borrowed));
        assert!(overlap(&red, &borrowed) > overlap(&red, &alone));
        lent.extend([(format!("seed {seed}"), red), ("green, alone".into(), alone), ("with the donor".into(), borrowed)]);
    }
    show!(sheet_of(3, &lent));

    if !super::outputs_are_wanted() {
        // The answer to exercise 1.
        for ((_, word, _), run) in subjects.iter().zip(&looked) {
            for step in [10, 25] {
                let map = run.attention_of("background")?.map(step)?;
                let (rim, middle) = (map.slice(s![..2, ..]).mean().unwrap_or(0.0), map.slice(s![5..11, 5..11]).mean().unwrap_or(0.0));
                println!("{word:<7} step {step}: at the rim {:.1} %, in the middle {:.1} %", 100.0 * rim, 100.0 * middle);
                assert!(step > 10 || rim > middle);
            }
        }
        // The answer to exercise 2.
        for (seed, run) in &runs {
            let edited = draw(&sd, prompt, *seed).edit("set guidance_scale by=1 steps=16-25").run()?.image()?;
            let branch = sd.branch(run, 15)?.guidance_scale(1.0).run()?.image()?;
            assert!(edited.difference(&branch) < 0.01);
        }
        // The answer to exercise 3.
        for (seed, run) in &runs {
            let own = draw(&sd, prompt, *seed).donor(run).edit("copy unet.**.attn1").run()?.image()?;
            assert!(own.difference(&run.image()?) < 0.5);
        }
    }

    super::cell("end");
    Ok(())
}
