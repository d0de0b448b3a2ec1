//! Lesson 3 as a program: made from `notebooks-rs/lessons/03-watching-it-happen.rs` by `make lessons`.

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
    let run = sd.draw(prompt).seed(7).record(All).run()?;
    show!(run.images()?);

    super::cell("2");
    show!(run.video("images")?.fps(5.0).every(2).size(128));

    super::cell("3");
    let latents_reservoir = run.latents_reservoir()?;
    let image_reservoir = run.image_reservoir()?;
    println!("{} latents, each {:?}", latents_reservoir.len(), latents_reservoir[0].shape());
    println!("{} pictures, each {:?}", image_reservoir.len(), image_reservoir[0].1[0].dimensions());
    assert_eq!(latents_reservoir.len(), 26);
    assert_eq!(image_reservoir.len(), 26);

    super::cell("4");
    #[derive(Default)]
    struct EveryTenth {
        pictures: Vec<(String, Picture)>,
    }

    impl Observer for EveryTenth {
        fn wants(&self, ask: Ask) -> bool {
            matches!(ask, Ask::Picture { what: Quantity::Latents, step, .. } if step % 10 == 0)
        }

        fn on_event(&mut self, event: &Event) -> Result<Flow> {
            if let Event::Step(step) = event {
                if let Some(pictures) = step.pictures(Quantity::Latents) {
                    let label = format!("step {}, σ {:.2}", step.index, step.level.sigma);
                    self.pictures.push((label, pictures[0].clone().into()));
                }
            }
            Ok(Flow::Continue)
        }
    }

    super::cell("5");
    let mut watcher = EveryTenth::default();
    sd.draw(prompt).seed(7).decode(Decode::Final).watched(&mut watcher)?;
    show!(sheet(&watcher.pictures));

    super::cell("6");
    for seed in [1, 2, 3] {
        let drawing = sd.draw(prompt).seed(seed).steps(10).decode(Decode::Final);
        assert_eq!(drawing.watched(&mut EveryTenth::default())?.image()?, drawing.run()?.image()?);
    }

    super::cell("7");
    struct StopAt(usize);

    impl Observer for StopAt {
        fn wants(&self, _ask: Ask) -> bool {
            false
        }

        fn on_event(&mut self, event: &Event) -> Result<Flow> {
            match event {
                Event::Step(step) if step.index == self.0 => Ok(Flow::Stop),
                _ => Ok(Flow::Continue),
            }
        }
    }

    super::cell("8");
    let stopped = sd.draw(prompt).seed(7).record(All).watched(&mut StopAt(12))?;
    let half_way = stopped.step_image(12)?;
    assert_eq!(stopped.steps_recorded(), 13);
    assert_eq!(half_way, run.step_image(12)?);
    show!(half_way);

    super::cell("9");
    let mut rows = Vec::new();
    for k in [1, 4, 16] {
        rows.push((format!("step {k}"), run.step_image(k)?));
    }
    for k in [1, 4, 16] {
        rows.push((format!("expected at {k}"), run.predicted_image(k)?));
    }
    show!(sheet_of(3, &rows));

    super::cell("10");
    show!(run.video("predicted")?.fps(5.0).every(2).size(128));

    super::cell("11");
    for seed in 1..=3 {
        let run = sd.draw(prompt).seed(seed).record(All).decode(Every(4)).run()?;
        let [red, green, blue] = run.predicted_image(4)?.crop(0, 0, 12, 12).mean_colour();
        let end = run.image()?;
        let (picture, prediction) = (run.step_image(4)?.difference(&end), run.predicted_image(4)?.difference(&end));
        println!("seed {seed}, step 4: the picture is {picture:.0} levels from the end, the prediction {prediction:.0}");
        assert!(blue > red && blue > green && prediction < picture / 2.0);
    }

    super::cell("12");
    show!(run.plot("change")?);

    if !super::outputs_are_wanted() {
        // The answer to exercise 1.
        #[derive(Default)]
        struct Settling {
            last: Option<Picture>,
            moved: Vec<f64>,
        }

        impl Observer for Settling {
            fn wants(&self, ask: Ask) -> bool {
                matches!(ask, Ask::Picture { what: Quantity::PredictedOriginal, .. })
            }

            fn on_event(&mut self, event: &Event) -> Result<Flow> {
                if let Event::Step(step) = event {
                    if let Some(pictures) = step.pictures(Quantity::PredictedOriginal) {
                        let picture = Picture::from(pictures[0].clone());
                        if let Some(last) = &self.last {
                            self.moved.push(picture.difference(last));
                        }
                        self.last = Some(picture);
                    }
                }
                Ok(Flow::Continue)
            }
        }

        for seed in [1, 2, 3] {
            let mut settling = Settling::default();
            sd.draw(prompt).seed(seed).decode(Decode::Final).watched(&mut settling)?;
            println!("seed {seed}: {:.1?} levels", settling.moved);
            assert!(settling.moved[12..].iter().all(|late| *late < settling.moved[0] / 4.0));
        }
        // The answer to exercise 2.
        struct StopWhenSettled(Settling);

        impl Observer for StopWhenSettled {
            fn wants(&self, ask: Ask) -> bool {
                self.0.wants(ask)
            }

            fn on_event(&mut self, event: &Event) -> Result<Flow> {
                self.0.on_event(event)?;
                Ok(if self.0.moved.last().is_some_and(|levels| *levels < 1.0) { Flow::Stop } else { Flow::Continue })
            }
        }

        let mut watcher = StopWhenSettled(Settling::default());
        let short = sd.draw(prompt).seed(7).decode(Decode::Final).watched(&mut watcher)?;
        if let Some(picture) = &watcher.0.last {
            println!("{} steps, {:.1} levels from all 25", short.steps_recorded() - 1, picture.difference(&run.image()?));
        }
    }

    super::cell("end");
    Ok(())
}
