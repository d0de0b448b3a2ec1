//! Lesson 2 as a program: made from `notebooks-rs/lessons/02-steps-guidance-negative-prompts.rs` by `make lessons`.

use super::{Plain, show};

#[test]
#[ignore = "long: make test-lessons"]
fn lesson() -> Result<(), Box<dyn std::error::Error>> {
    super::go_to_the_notebooks()?;

    super::cell("0");
    use sdviz::prelude::*;
    let sd = Model::load("pocket")?;
    let prompt = "a red apple on a blue background";

    super::cell("1");
    let mut by_steps = Vec::new();
    for steps in [1, 2, 5, 10, 25, 50] {
        let picture = sd.draw(prompt).seed(7).steps(steps).decode(Decode::Final).run()?.image()?;
        by_steps.push((format!("steps: {steps}"), picture));
    }
    show!(sheet(&by_steps));

    super::cell("2");
    for seed in 1..=3 {
        let draw = |steps| sd.draw(prompt).seed(seed).steps(steps).decode(Decode::Final).run()?.image();
        let fifty = draw(50)?;
        let [one, five, ten, many] = [draw(1)?, draw(5)?, draw(10)?, draw(25)?].map(|p| p.difference(&fifty));
        println!("seed {seed}: from 50 steps, 1 step is {one:4.1} levels away, 5 are {five:4.1}, 10 are {ten:4.1}, 25 are {many:4.1}");
        assert!(one > five && five > ten && ten > many);
    }

    super::cell("3");
    let scales = [1.0, 3.0, 5.0, 7.5, 15.0];
    let mut by_scale = Vec::new();
    for seed in [1, 2, 3] {
        for scale in scales {
            let picture = sd.draw(prompt).seed(seed).guidance_scale(scale).decode(Decode::Final).run()?.image()?;
            by_scale.push((format!("seed {seed}, scale {scale}"), picture));
        }
    }
    show!(sheet_of(5, &by_scale));

    super::cell("4");
    let mut least_red = Vec::new();
    let mut spread = Vec::new();
    for (column, scale) in scales.iter().enumerate() {
        let [one, two, three] = [0, 1, 2].map(|row| &by_scale[row * scales.len() + column].1);
        let reds = [one, two, three].map(|picture| {
            let [red, green, _] = picture.crop(48, 48, 32, 32).mean_colour();
            red - green
        });
        let pairs = (one.difference(two) + one.difference(three) + two.difference(three)) / 3.0;
        println!("scale {scale:>4}: red above green {reds:.0?}, pictures {pairs:.0} apart");
        least_red.push(reds.into_iter().fold(f64::INFINITY, f64::min));
        spread.push(pairs);
    }
    assert!(least_red[1..].iter().all(|&least| least > least_red[0] + 20.0));
    assert!(spread[1..].iter().all(|&later| later < 0.8 * spread[0]));

    super::cell("5");
    fn corner(picture: &Picture) -> [f64; 3] {
        picture.crop(0, 0, 12, 12).mean_colour()
    }
    fn apart(one: [f64; 3], other: [f64; 3]) -> f64 {
        (0..3).map(|i| (one[i] - other[i]).abs()).sum::<f64>() / 3.0
    }
    const BACKGROUNDS: [(&str, [f64; 3]); 8] = [
        ("white", [255., 255., 255.]), ("black", [16., 16., 20.]), ("red", [200., 28., 40.]), ("yellow", [255., 222., 60.]),
        ("green", [36., 140., 70.]), ("blue", [40., 90., 215.]), ("purple", [120., 50., 165.]), ("pink", [255., 160., 200.]),
    ];
    fn background(picture: &Picture) -> &'static str {
        let seen = corner(picture);
        let nearest = BACKGROUNDS.iter().min_by(|a, b| apart(a.1, seen).total_cmp(&apart(b.1, seen)));
        nearest.map_or("?", |(name, _)| *name)
    }

    super::cell("6");
    let mut before = Vec::new();
    for seed in 1..=4 {
        let picture = sd.draw("a red apple").seed(seed).decode(Decode::Final).run()?.image()?;
        before.push((format!("seed {seed}: {}", background(&picture)), picture));
    }
    show!(sheet(&before));

    super::cell("7");
    let mut after = Vec::new();
    for (seed, (_, picture)) in (1..).zip(&before) {
        let unwanted = background(picture);
        let drawing = sd.draw("a red apple").negative_prompt(format!("{unwanted} background"));
        let picture = drawing.seed(seed).decode(Decode::Final).run()?.image()?;
        assert_ne!(background(&picture), unwanted);
        after.push((format!("not {unwanted}: {}", background(&picture)), picture));
    }
    show!(sheet(&after));

    super::cell("8");
    for seed in [1, 2, 3] {
        let plain = sd.draw("a red apple").seed(seed).steps(5).guidance_scale(1.0).decode(Decode::Final);
        let negative = plain.clone().negative_prompt("blue background");
        assert!(plain.run()?.image()?.difference(&negative.run()?.image()?) < 0.01);
    }

    super::cell("9");
    let mut cells = Vec::new();
    for thing in ["a cat face", "a rocket", "a sunflower"] {
        for steps in [3, 8, 25] {
            let drawing = sd.draw(format!("{thing} on a yellow background")).seed(3).steps(steps).decode(Decode::Final);
            cells.push((format!("{thing}: {steps}"), drawing.run()?.image()?));
        }
    }
    show!(sheet_of(3, &cells));

    if !super::outputs_are_wanted() {
        // The answer to exercise 2.
        let mut away = Vec::new();
        for seed in 1..=3 {
            let drawing = sd.draw("").negative_prompt(prompt).guidance_scale(4.0).seed(seed).decode(Decode::Final);
            let picture = drawing.run()?.image()?;
            assert_ne!(background(&picture), "blue");
            away.push((format!("seed {seed}"), picture));
        }
        show!(sheet(&away));
        // The answer to exercise 3.
        let mut rockets = Vec::new();
        for scale in [5.0, 10.0] {
            for steps in [3, 4, 6, 8, 10, 14] {
                let drawing = sd.draw("a rocket on a yellow background").seed(3).steps(steps).guidance_scale(scale);
                rockets.push((format!("scale {scale}, steps {steps}"), drawing.decode(Decode::Final).run()?.image()?));
            }
        }
        show!(sheet(&rockets));
    }

    super::cell("end");
    Ok(())
}
