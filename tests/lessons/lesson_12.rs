//! Lesson 12 as a program: made from `notebooks-rs/lessons/12-reading-a-record.rs` by `make lessons`.

use super::{Plain, show};

#[test]
fn lesson() -> Result<(), Box<dyn std::error::Error>> {
    super::go_to_the_notebooks()?;

    super::cell("0");
    use sdviz::prelude::*;
    let run = Run::open("runs/apple")?;
    show!(run);

    super::cell("1");
    println!("{}\n", run.text());
    for folder in ["runs/apple", "runs/apple/steps"] {
        let mut names = vec![];
        for entry in std::fs::read_dir(folder)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        println!("{folder}: {}", names.join(" "));
    }
    show!(run.filmstrip()?);

    super::cell("2");
    let start = run.latents(0)?;
    let end = run.latents(14)?;
    assert_eq!(start.shape(), end.shape());
    println!("start {start}\nend   {end}");
    show!(end.mappings()?);

    super::cell("3");
    show!(run.video("latents")?.channels([0, 1, 3]).fps(5.0).size(128));

    super::cell("4");
    show!(run.plot("plane")?);

    super::cell("5");
    // The share of a step's squared length that lies outside the plane through the origin, the start and the end.
    fn outside(run: &Run, step: usize) -> Result<f64> {
        let point = |step| -> Result<Vec<f64>> { Ok(run.latents(step)?.array().iter().map(|x| f64::from(*x)).collect()) };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let unit = |a: Vec<f64>| -> Vec<f64> { a.iter().map(|x| x / dot(&a, &a).sqrt()).collect() };
        let (start, here, to_end) = (point(0)?, point(step)?, unit(point(14)?));
        // Of the start, only what does not already point to the end.
        let along = dot(&start, &to_end);
        let across = unit(start.iter().zip(&to_end).map(|(s, e)| s - along * e).collect());
        Ok(1.0 - (dot(&here, &to_end).powi(2) + dot(&here, &across).powi(2)) / dot(&here, &here))
    }

    let rocket = Run::open("runs/rocket")?;
    for (name, run) in [("apple", &run), ("rocket", &rocket)] {
        let mut percent = vec![];
        for step in 1..14 {
            percent.push(100.0 * outside(run, step)?);
        }
        println!("{name:<6} {percent:.1?} % outside, steps 1 to 13");
        assert!(percent.iter().all(|outside| *outside < 10.0));
    }

    super::cell("6");
    show!(run.plot("pca")?);

    super::cell("7");
    for (name, run) in [("apple", &run), ("rocket", &rocket)] {
        let far = |what: Quantity| -> Result<f32> {
            let at = |step| run.tensors(step, what).map(|kept| kept.unwrap_or_default());
            let (here, last) = (at(7)?, at(14)?);
            let size = |array: Array4<f32>| array.mapv(|x| x * x).sum().sqrt();
            Ok(100.0 * size(&here - &last) / size(last))
        };
        let (latents, predicted) = (far(Quantity::Latents)?, far(Quantity::PredictedOriginal)?);
        println!("{name:<6} step 7 is {latents:.0} % of its size from the end, its prediction {predicted:.0} %");
        assert!(predicted < latents / 1.5);
    }
    show!(run.video("predicted")?.fps(3.0).size(128));

    super::cell("8");
    let shapes = run.shapes()?;
    assert_eq!(shapes.of("tokens"), rocket.shapes()?.of("tokens"));
    show!(shapes.brief());

    super::cell("9");
    let map = run.preview()?;
    let mut painted = vec![];
    for step in [0, 4, 8, 11, 14] {
        let latents = rocket.latents(step)?;
        let picture = Picture::from(map.map().paint(latents.array().index_axis(Axis(0), 0))?);
        painted.push((format!("step {step}"), picture.magnified(8)));
    }
    painted.push(("decoded".to_string(), rocket.image()?));
    show!(sheet_of(3, &painted));

    if !super::outputs_are_wanted() {
        // The answer to exercise 1.
        if let Err(refusal) = rocket.step_image(8) {
            println!("{refusal}\nhint: {}", refusal.hint().unwrap_or_default());
        }
        // The answer to exercise 2.
        for (name, run) in [("apple", &run), ("rocket", &rocket)] {
            let (start, seventh, end) = (run.latents(0)?, run.latents(7)?, run.latents(14)?);
            let middle = (start.array() + end.array()) / 2.0;
            let size = |array: &Array4<f32>| array.mapv(|x| x * x).sum().sqrt();
            println!("{name:<6} {:.0} % from the straight line", 100.0 * size(&(&middle - seventh.array())) / size(seventh.array()));
            assert!(size(&middle) < size(seventh.array()));
        }
        // The answer to exercise 3.
        show!(plot_runs("pca", &[&run, &rocket])?);
    }

    super::cell("end");
    Ok(())
}
