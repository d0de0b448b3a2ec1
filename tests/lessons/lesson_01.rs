//! Lesson 1 as a program: made from `notebooks-rs/lessons/01-first-picture.rs` by `make lessons`.

use super::{Plain, show};

#[test]
#[ignore = "long: make test-lessons"]
fn lesson() -> Result<(), Box<dyn std::error::Error>> {
    super::go_to_the_notebooks()?;

    super::cell("0");
    use sdviz::prelude::*;

    super::cell("1");
    let sd = Model::load("pocket")?;
    show!(sd);

    super::cell("2");
    let prompt = "a red apple on a blue background";
    let first = sd.draw(prompt).run()?;
    show!(first.image()?);

    super::cell("3");
    let second = sd.draw(prompt).run()?;
    show!(sheet(&[("first", &first.image()?), ("second", &second.image()?)]));

    super::cell("4");
    let apart = first.image()?.difference(&second.image()?);
    assert!(apart > 1.0);
    show!(format!("a pixel differs by {apart:.0} of 255 levels, in the mean"));

    super::cell("5");
    show!(sheet(&[("first", &first.latents(0)?.channel(0)), ("second", &second.latents(0)?.channel(0))]));

    super::cell("6");
    for seed in [7, 42, 1024] {
        let once = sd.draw(prompt).seed(seed).decode(Decode::Final).run()?;
        let again = sd.draw(prompt).seed(seed).decode(Decode::Final).run()?;
        let apart = once.image()?.difference(&again.image()?);
        println!("seed {seed}: {apart} levels apart");
        assert_eq!(apart, 0.0);
    }

    super::cell("7");
    let found_again = sd.draw(prompt).seed(first.seed()).run()?;
    assert_eq!(first.image()?, found_again.image()?);

    super::cell("8");
    let mut apples = Vec::new();
    for seed in 1..=4 {
        apples.push((format!("seed {seed}"), sd.draw(prompt).seed(seed).decode(Decode::Final).run()?.image()?));
    }
    show!(sheet(&apples));

    super::cell("9");
    let mut things = Vec::new();
    for thing in ["a red apple", "a cat face", "a rocket", "a ladybug"] {
        let drawing = sd.draw(format!("{thing} on a blue background")).seed(1).decode(Decode::Final);
        things.push((thing.to_string(), drawing.run()?.image()?));
    }
    show!(sheet(&things));

    super::cell("10");
    for (name, picture) in apples.iter().chain(&things) {
        let [red, green, blue] = picture.crop(0, 0, 12, 12).mean_colour();
        println!("{name:<12} corner: red {red:.0}, green {green:.0}, blue {blue:.0}");
        assert!(blue > red && blue > green);
    }

    super::cell("11");
    for seed in [1, 2, 3] {
        let apple = sd.draw("a red apple").seed(seed).steps(1).run()?;
        let rocket = sd.draw("a rocket").seed(seed).steps(1).run()?;
        assert_eq!(apple.latents(0)?.array(), rocket.latents(0)?.array());
    }

    super::cell("12");
    let file = std::env::temp_dir().join("apple.png");
    found_again.image()?.save(&file)?;
    show!(found_again.text());

    if !super::outputs_are_wanted() {
        // The answer to exercise 2.
        let mut unicorns = Vec::new();
        for seed in 1..=3 {
            let drawing = sd.draw("a unicorn on a white background").seed(seed).decode(Decode::Final);
            unicorns.push((format!("seed {seed}"), drawing.run()?.image()?));
        }
        show!(sheet(&unicorns));
        // The answer to exercise 3.
        let wide = sd.draw(prompt).seed(1).size(192, 128).decode(Decode::Final).run()?;
        assert_eq!(wide.latents(0)?.shape(), [1, 4, 16, 24]);
        show!(wide.image()?);
    }

    super::cell("end");
    Ok(())
}
