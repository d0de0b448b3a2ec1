//! The library in the hand: the tour, and that a run in memory is the run that a folder holds.

use sdviz::export::{EXPORTERS, Outputs};
use sdviz::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// The crate's front page.
#[path = "../../examples/tour.rs"]
mod tour;

const PROMPT: &str = "a red apple on a blue background";

/// Every file below a folder, by its path there.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_string();
        match entry.is_dir() {
            true => found.extend(files(&entry).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes))),
            false => drop(found.insert(name, std::fs::read(&entry).unwrap())),
        }
    }
    found
}

/// What these exporters make of a run.
fn exports(run: &Run, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    for exporter in EXPORTERS.iter().filter(|exporter| wanted(exporter.name)) {
        (exporter.make)(run, &mut Outputs::open(run, Some(folder.path())).unwrap()).unwrap();
    }
    files(folder.path())
}

#[test]
fn the_front_page_is_a_tour_that_works() -> Result<()> {
    tour::main()
}

#[test]
fn a_run_gives_into_the_hand() -> Result<()> {
    let sd = Model::load("pocket")?;
    let run = sd.draw(PROMPT).steps(4).guidance_scale(5.0).seed(7).record(All).run()?;
    assert_eq!((run.seed(), run.steps_recorded(), run.image()?.dimensions()), (7, 5, (128, 128)));
    assert_eq!(run.image()?, run.step_image(4)?);
    assert!(run.image()?.difference(&run.step_image(0)?) > 1.0);
    let pictures = run.images()?;
    assert_eq!(pictures.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!((run.predicted()?.len(), run.image_reservoir()?.len(), run.latents_reservoir()?.len()), (4, 5, 5));
    let latents = run.latents(0)?;
    assert_eq!(latents.shape(), [1, 4, 16, 16]);
    assert!(latents.mean().abs() < 0.1 && (latents.std() - 1.0).abs() < 0.1, "{latents}");
    assert_eq!(latents.rgb([0, 1, 3])?.dimensions(), (16, 16));
    let prediction = run.tensor(4, Quantity::NoiseGuided, 0)?.expect("everything is recorded");
    let row = Vec::<f32>::try_from(run.quantity(4, Quantity::NoiseGuided)?.get(0).get(0).get(1))?;
    assert_eq!(row, prediction.slice(s![0, 1, ..]).to_vec());
    assert_eq!(run.shapes()?.of("latents"), Some(vec![1, 4, 16, 16]));
    assert!(run.preview()?.picture(4)?.dimensions() == (16, 16) && run.text().contains("Seed: 7"));

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    for name in ["x.mp4", "x.gif", "x.png", "x.webp"] {
        run.video("images")?.fps(4.0).save(file(name))?;
        assert!(std::fs::read(file(name)).unwrap().len() > 1000, "{name}");
    }
    for name in ["y.png", "y.svg", "y.pdf"] {
        run.plot("change")?.save(file(name))?;
        assert!(file(name).is_file());
    }
    run.filmstrip()?.save(file("z.png"))?;
    run.save(file("apple.png"))?;
    let like = sdviz::trace::parameters::PictureSettings::read(&file("apple.png"))?;
    assert_eq!((like.prompt.as_str(), like.seed, like.steps), (PROMPT, Some(7), Some(4)));
    assert_eq!(Picture::open(file("apple.png"))?, run.image()?);
    assert_eq!(sd.like(file("apple.png"))?.run()?.image()?, run.image()?);
    Ok(())
}

#[test]
fn what_is_not_said_is_the_model_s_own() -> Result<()> {
    let sd = Model::load("pocket")?;
    let plan = sd.draw(PROMPT).plan()?;
    assert_eq!((plan.width, plan.height, plan.steps), (128, 128, 25));
    assert_eq!((plan.guidance_scale, plan.scheduler), (sd.guidance_scale(), sd.default_scheduler()?.name().into()));
    let draw = || sd.draw(PROMPT).steps(1).decode(Decode::Final).run();
    let (one, other) = (draw()?, draw()?);
    assert_ne!(one.seed(), other.seed());
    assert_eq!(sd.draw(PROMPT).steps(1).seed(one.seed()).run()?.image()?, one.image()?);
    Ok(())
}

/// Every exporter gives the same bytes, and the readers the same values, wherever the record is.
#[test]
fn a_run_in_memory_is_the_run_in_the_folder() -> Result<()> {
    let sd = Model::load("pocket")?;
    let folder = tempfile::tempdir().unwrap();
    let sketch = Picture::from_fn(128, 128, |x, y| if x > y { [200, 30, 40] } else { [40, 90, 215] });
    let mask = Picture::from_fn(128, 128, |x, _| if x < 64 { [255; 3] } else { [0; 3] });
    let from_noise = sd.draw("un éléphant").steps(2).seed(5).batch(2).guidance_scale(0.1 + 0.2).scheduler("euler");
    let from_noise = from_noise.attention(AttentionPlan::default());
    let from_picture = sd.draw(PROMPT).steps(3).seed(3).init_image(&sketch).mask(&mask).strength(0.6);
    let hires = sd.draw(PROMPT).steps(2).seed(3).hires(1.5, 0.5);
    for (name, drawing) in [("noise", from_noise), ("picture", from_picture), ("hires", hires)] {
        let drawing = drawing.record(All);
        let (memory, disk) = (drawing.run()?, drawing.clone().out(folder.path().join(name)).run()?);
        assert!(memory.dir().is_none() && disk.dir().is_some());
        assert_eq!(memory.steps()?, disk.steps()?);
        assert_eq!((memory.encoded()?, memory.mask()?), (disk.encoded()?, disk.mask()?), "{name}");
        assert_eq!(memory.encoded()?.is_some(), name != "noise");
        assert!(memory.site_rows()? == disk.site_rows()?, "{name}: the shape logs differ");
        assert_eq!(memory.record().schedule, disk.record().schedule);
        for (step, what) in memory.steps()?.into_iter().flat_map(|step| Quantity::ALL.map(|what| (step, what))) {
            assert_eq!(memory.tensors(step, what)?, disk.tensors(step, what)?, "{name}: {what} of step {step}");
        }
        // Animations take their time: one run's will do. The report speaks of the folder that it is in, events of when.
        let still = ["plot", "filmstrip", "frames"];
        let differs = ["report", "tensorboard"];
        let wanted = |exporter: &str| !differs.contains(&exporter) && (name == "noise" || still.contains(&exporter));
        let (ours, theirs) = (exports(&memory, wanted), exports(&disk, wanted));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        assert!(ours.len() > 4 && ours.keys().any(|name| name.starts_with("frames/")), "{:?}", ours.keys());
        for (file, bytes) in &ours {
            assert!(*bytes == theirs[file], "{name}: `{file}` differs");
        }
        for figure in ["schedule", "norms", "distance"] {
            let numbers = |run: &Run| sdviz::export::figure::Format::Csv.bytes(&run.plot(figure).unwrap()).unwrap();
            assert_eq!(numbers(&memory), numbers(&disk), "{name}: {figure}");
        }
        assert_eq!((memory.image_of(0)?.png()?, memory.text()), (disk.image_of(0)?.png()?, disk.text()));
        assert_eq!(memory.image()?.png()?, std::fs::read(disk.dir().unwrap().join("final.png")).unwrap());
        assert!(sdviz::export::diff::compare(&memory, &disk)?.within(0.0));
    }
    Ok(())
}

/// The loop written out gives the very picture of the library's own.
#[test]
fn the_lower_floor_is_what_a_run_stands_on() -> Result<()> {
    let sd = Model::load("pocket")?;
    let (steps, scale, seed) = (3, 5.0, 11);
    let text = sd.text_embeddings(&["", PROMPT])?;
    let loop_from = |mut latents: Tensor, from: usize| -> Result<Picture> {
        let mut scheduler = sd.scheduler("ddim", steps)?;
        for (call, timestep) in scheduler.timesteps().to_vec().into_iter().enumerate().skip(from) {
            let input = scheduler.scale_model_input(&latents, call)?.repeat([2, 1, 1, 1]);
            let predicted = sd.predict_noise(&input, timestep, &text)?;
            let noise = guided(&predicted.narrow(0, 0, 1), &predicted.narrow(0, 1, 1), scale)?;
            latents = scheduler.step(&noise, call, &latents, &mut no_noise)?.prev_sample;
        }
        sd.decode(&latents)
    };
    let asked = sd.draw(PROMPT).steps(steps).guidance_scale(scale).seed(seed).scheduler("ddim");
    assert_eq!(loop_from(sd.noise(seed), 0)?, asked.run()?.image()?);

    let sketch = Picture::from_fn(128, 128, |x, _| if x < 64 { [200, 30, 40] } else { [40, 90, 215] });
    let (encoded, noise) = (sd.encode(&sketch, seed)?, sd.noises(seed, 2).remove(1));
    let start = sd.scheduler("ddim", steps)?.add_noise(&encoded, &noise, 1)?;
    assert_eq!(loop_from(start, 1)?, asked.init_image(&sketch).strength(0.7).run()?.image()?);
    assert!(sd.decode(&encoded)?.psnr(&sketch) > 15.0);
    assert!(!sd.text_embeddings(&["", PROMPT])?.requires_grad());

    assert_eq!(sd.tokens("a red apple")?.pieces()[1..4], ["a</w>", "red</w>", "apple</w>"]);
    assert_eq!((sd.tokens("a red apple")?.used(), sd.tokens("")?.ids().len()), (5, 77));
    assert!(sd.sites("unet.**.attn2.probs")?.len() > 1 && sd.parts()?.parameters("unet") > 1_000_000);
    assert!(Latents::from_tensor(&noise)?.shape() == [1, 4, 16, 16] && Latents::from_tensor(&noise)?.tensor() == noise);
    assert_eq!(Picture::map(&Tensor::eye(3, (Kind::Float, Device::Cpu)))?.dimensions(), (3, 3));
    Ok(())
}

/// Half-way between a model and the same with a LoRA is the LoRA at half its weight.
#[test]
fn a_model_is_taught_and_mixed() -> Result<()> {
    let sd = Model::load("pocket")?;
    let folder = tempfile::tempdir().unwrap();
    let rings = Picture::from_fn(128, 128, |x, y| {
        let far = x.abs_diff(64).pow(2) + y.abs_diff(64).pow(2);
        if far < 900 { [220, 40, 40] } else { [250; 3] }
    });
    let pictures = [("a target on a white background", &rings)];
    let lesson = sd.teach(&pictures).keep(&[(PROMPT, &sd.draw(PROMPT).steps(5).seed(1).run()?.image()?)]);
    let file =
        lesson.steps(6).batch(2).learning_rate(1e-2).rank(2).seed(1).lora(folder.path().join("target.safetensors"))?;
    let with = |weight: f64| Model::options("pocket").lora(&file, weight);
    let draw = |sd: &Model| sd.draw("a target on a white background").steps(3).seed(2).run()?.image();
    let mixed = draw(&merge("pocket", with(1.0), 0.5)?)?;
    let (none, half) = (draw(&sd)?, draw(&with(0.5).load()?)?);
    assert!(none.difference(&half) > 0.3, "it has learned something: {}", none.difference(&half));
    assert!(mixed.difference(&half) < 0.1, "{}", mixed.difference(&half));
    assert_eq!(draw(&merge(&sd, "pocket", 0.3)?)?, none);
    assert!(sd.teach::<&str, Picture>(&[]).lora(&file).is_err());
    Ok(())
}

/// Mistakes are errors that say the way out; libtorch's refusals are too.
#[test]
fn mistakes_are_errors() -> Result<()> {
    let sd = Model::load("pocket")?;
    let said = |error: Error| format!("{error} ({})", error.hint().unwrap_or_default());
    let drawn = |drawing: Drawing| said(drawing.steps(1).run().err().unwrap());
    assert!(drawn(sd.draw(PROMPT).size(100, 128)).contains("multiple of 8"));
    assert!(drawn(sd.draw(PROMPT).size(0, 128)).contains("0 pixels"));
    assert!(drawn(sd.draw(PROMPT).scheduler("ddin")).contains("did you mean `ddim`"));
    assert!(drawn(sd.draw(PROMPT).strength(0.5)).contains("init_image"));
    assert!(drawn(sd.draw(PROMPT).init_image("no such file.png")).contains("no such file.png"));
    let run = sd.draw(PROMPT).steps(1).decode(Decode::Nothing).record(Quantity::Latents).run()?;
    assert!(said(run.image().err().unwrap()).contains("Decode::Final"));
    assert!(said(run.latents(9).err().unwrap()).contains("go from 0 to 1"));
    assert!(said(run.shapes().err().unwrap()).contains("record(All)"));
    assert!(said(run.video("imags").err().unwrap()).contains("images"));
    assert!(run.plot("change").is_err() && run.preview().is_err() && run.images().is_err());
    let square = Tensor::zeros([3, 3], (Kind::Float, Device::Cpu));
    assert!(matches!(sd.decode(&square), Err(Error::Torch(_))));
    assert!(matches!(sd.predict_noise(&sd.noise(1), 1.0, &square), Err(Error::Torch(_))));
    assert!(sd.text_embeddings::<&str>(&[]).is_err() && Latents::from_tensor(&square).is_err());
    assert!(Model::load("no such model").is_err());
    let folder = tempfile::tempdir().unwrap();
    let disk = sd.draw(PROMPT).steps(1).out(folder.path().join("run"));
    disk.run()?;
    assert!(said(disk.run().err().unwrap()).contains("not empty"));
    disk.clone().force().run()?;
    Ok(())
}

/// Tensors that do not fit each other are refused by every call that takes one, and nothing is broadcast in silence.
#[test]
fn tensors_that_do_not_fit_are_errors() -> Result<()> {
    let sd = Model::load("pocket")?;
    let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    let (latents, text) = (sd.noise(1), sd.text_embeddings(&["", PROMPT])?);
    let odd = [
        zeros(&[]),
        zeros(&[0]),
        zeros(&[3, 3]),
        zeros(&[1, 4, 16, 8]),
        zeros(&[1, 1, 16, 16]),
        zeros(&[2, 4, 16, 16]),
    ];
    let mut not_latents = odd.iter().take(3).chain([&odd[4]]);
    assert!(
        not_latents.all(|odd| sd.decode(odd).is_err() && sd.predict_noise(odd, 1.0, &text.narrow(0, 0, 1)).is_err())
    );
    for odd in &odd {
        assert!(guided(&latents, odd, 5.0).is_err() && guided(odd, &latents, 5.0).is_err());
        assert!(sd.predict_noise(&latents, 1.0, odd).is_err());
        for name in sd.scheduler_names() {
            let mut scheduler = sd.scheduler(name, 3)?;
            assert!(scheduler.step(odd, 0, &latents, &mut || Ok(latents.copy())).is_err(), "{name}: {:?}", odd.size());
            assert!(scheduler.add_noise(&latents, odd, 0).is_err() && scheduler.add_noise(odd, &latents, 0).is_err());
            if scheduler.draws(0) {
                let refused = scheduler.step(&latents, 0, &latents, &mut || Ok(odd.copy())).err().unwrap();
                assert!(refused.to_string().contains("the step's noise has shape"), "{refused}");
            }
            assert!(scheduler.step(&latents, 99, &latents, &mut no_noise).is_err());
            // The shape of latents is the caller's: any is scaled.
            assert_eq!(scheduler.scale_model_input(odd, 0)?.size(), odd.size());
        }
    }
    // A number that is no shape: an undefined tensor.
    let none = Tensor::new();
    assert!(guided(&none, &none, 1.0).is_err() || guided(&none, &latents, 1.0).is_err());
    assert!(sd.decode(&none).is_err() && sd.predict_noise(&none, 1.0, &text).is_err());
    assert!(Latents::from_tensor(&none).is_err() && Latents::from_tensor(&odd[2]).is_err());
    assert!(Picture::map(&none).is_err() && Picture::map(&odd[5]).is_err());
    Ok(())
}

/// Who stops a run has what was made until then; who changes it sees the change in the record.
#[test]
fn observers_and_editors_take_part() -> Result<()> {
    struct StopAt(usize);
    impl Observer for StopAt {
        fn wants(&self, _: Ask) -> bool {
            false
        }

        fn on_event(&mut self, event: &Event) -> Result<Flow> {
            let stop = matches!(event, Event::Step(step) if step.index == self.0);
            Ok(if stop { Flow::Stop } else { Flow::Continue })
        }
    }
    struct Mute;
    impl Editor for Mute {
        fn wants(&self, site: &str, _: usize) -> bool {
            site.starts_with("unet.") && site.ends_with(".attn2")
        }

        fn edit(&mut self, _: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
            Ok(Some(tensor.zeros_like()))
        }
    }
    let sd = Model::load("pocket")?;
    let asked = sd.draw(PROMPT).steps(3).seed(1);
    let (stopped, whole, muted) = (asked.watched(&mut StopAt(1))?, asked.run()?, asked.edited(&mut Mute)?);
    assert_eq!((stopped.steps_recorded(), stopped.record().status), (2, Status::Failed));
    assert_eq!(stopped.step_image(1)?, whole.step_image(1)?);
    assert!(stopped.image().is_err() && whole.image()?.difference(&muted.image()?) > 1.0);
    Ok(())
}
