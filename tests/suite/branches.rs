//! Branches: a run that goes on from a step of another is that run, bit for bit, as long as nothing is said anew.

use crate::common::{done, refused, stderr};
use image::{GrayImage, Luma};
use sdviz::model::resolve;
use sdviz::pipeline::Pipeline;
use sdviz::pipeline::init_image::Input;
use sdviz::prelude::*;
use sdviz::record::plan::Plan;
use sdviz::run::{self, Company, Hashes, Job};
use sdviz::trace::reservoir::Reservoir;
use std::path::Path;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/tiny-sd");

fn model() -> Model {
    Model::options(TINY).device("cpu").dtype("f32").load().unwrap()
}

/// A drawing of two pictures that are not square; what is recorded of it is all that there is.
fn drawing(sd: &Model, scheduler: &str) -> Drawing {
    let drawing = sd.draw("a lovely cat").negative_prompt("a dog").seed(5).batch(2).size(48, 64).steps(5);
    drawing.scheduler(scheduler).guidance_scale(4.0).record(All).decode(Decode::Nothing)
}

/// Whether all recorded tensors of two runs from a step on are the same numbers.
fn assert_same(ours: &Run, theirs: &Run, from: usize, what: &str) {
    assert_eq!(ours.steps().unwrap(), theirs.steps().unwrap(), "{what}");
    for step in ours.steps().unwrap().into_iter().filter(|step| *step >= from) {
        for quantity in Quantity::ALL {
            let tensor = |run: &Run| run.tensors(step, quantity).unwrap();
            assert!(tensor(ours) == tensor(theirs), "{what}: {quantity} of step {step} differs");
        }
    }
    assert_eq!(ours.encoded().unwrap(), theirs.encoded().unwrap(), "{what}");
    assert_eq!(ours.mask().unwrap(), theirs.mask().unwrap(), "{what}");
}

/// Branches off at some steps, and at the last that leaves anything to make.
fn branches_are_the_run(sd: &Model, run: &Run, at: &[usize], what: &str) {
    let last = run.record().last_step();
    for step in at.iter().copied().chain([last - 1]) {
        let branch = sd.branch(run, step).unwrap().run().unwrap();
        assert_same(&branch, run, 0, &format!("{what} from step {step}"));
        assert_eq!(branch.record().plan.branch.as_ref().unwrap().step, step);
    }
}

#[test]
fn an_unchanged_branch_is_the_run_with_every_scheduler() {
    let sd = model();
    for kind in sdviz::scheduler::SchedulerKind::all() {
        let run = drawing(&sd, kind.name()).run().unwrap();
        branches_are_the_run(&sd, &run, &[0, 3], kind.name());
    }
    let run = drawing(&sd, "ddim").eta(0.6).run().unwrap();
    branches_are_the_run(&sd, &run, &[2], "eta");
    let run = drawing(&sd, "pndm").guidance_scale(1.0).run().unwrap();
    branches_are_the_run(&sd, &run, &[2], "without guidance");
}

#[test]
fn an_unchanged_branch_is_the_run_from_a_picture_and_behind_a_mask() {
    let sd = model();
    let picture = |side: u32| {
        RgbImage::from_fn(48, 64, |x, y| Rgb([(x * 5) as u8, (y * 3) as u8, if x < side { 255 } else { 0 }]))
    };
    let (sketch, mask) = (Picture::from(picture(20)), Picture::from(picture(30).clone()));
    for scheduler in ["pndm", "heun", "euler_a", "unipc"] {
        let from = drawing(&sd, scheduler).init_image(&sketch).strength(0.8);
        branches_are_the_run(&sd, &from.run().unwrap(), &[1], &format!("{scheduler} from a picture"));
        let behind = from.mask(&mask).run().unwrap();
        branches_are_the_run(&sd, &behind, &[1], &format!("{scheduler} behind a mask"));
    }
}

#[test]
fn an_unchanged_branch_is_the_run_in_both_of_its_passes() {
    let sd = model();
    for scheduler in ["pndm", "euler_a"] {
        let run = drawing(&sd, scheduler).hires(1.5, 0.7).run().unwrap();
        let first = run.record().hires.as_ref().unwrap().first_step;
        branches_are_the_run(&sd, &run, &[2, first - 1, first, first + 1], &format!("{scheduler} in two passes"));
    }
    // A second pass can be put behind a run that had none; it is the one that the run would have had.
    let (alone, both) = (drawing(&sd, "euler_a"), drawing(&sd, "euler_a").hires(1.5, 0.7));
    let later = sd.branch(&alone.run().unwrap(), 5).unwrap().hires(1.5, 0.7).run().unwrap();
    assert_same(&later, &both.run().unwrap(), 0, "a second pass afterwards");
}

/// A program may give a picture a mask of which the plan says nothing: it is in the record, and the branch draws as often.
#[test]
fn an_unchanged_branch_is_the_run_behind_a_mask_that_the_plan_does_not_name() {
    let sd = model();
    let choice = resolve::resolve_with(Some(TINY), None).unwrap();
    let picture = RgbImage::from_fn(48, 64, |x, y| Rgb([(x * 5) as u8, (y * 3) as u8, 9]));
    let mask = GrayImage::from_fn(48, 64, |x, _| Luma([if x < 30 { 255 } else { 0 }]));
    let input = Input { picture, mask: Some(mask) };
    for scheduler in ["euler_a", "pndm"] {
        let plan = Plan { strength: Some(0.8), ..drawing(&sd, scheduler).plan().unwrap() };
        let mut memory = Reservoir::of(&plan, false);
        let pipeline: &Pipeline = &sd;
        let job =
            Job { input: Some(&input), ..Job::new(pipeline, pipeline.resolve(&plan).unwrap(), Hashes::Of(&choice)) };
        run::carry_out(job, &mut memory, Company::default()).outcome.unwrap();
        let run = memory.into_run().unwrap().unwrap();
        assert!(run.record().plan.mask.is_none() && run.mask().unwrap().is_some());
        branches_are_the_run(&sd, &run, &[1], scheduler);
    }
}

/// Another prompt from a step on is what a prompt with a schedule says.
#[test]
fn other_words_from_a_step_on_are_those_of_a_schedule() {
    let sd = model();
    let run = drawing(&sd, "dpmpp_2m").run().unwrap();
    let branch = sd.branch(&run, 3).unwrap().prompt("a green house").run().unwrap();
    let planned = drawing(&sd, "dpmpp_2m").prompt("[a lovely cat:a green house:3]").prompt_syntax("a1111");
    let planned = planned.run().unwrap();
    let difference = |what, step| {
        let tensor = |run: &Run| run.quantity(step, what).unwrap();
        (tensor(&branch) - tensor(&planned)).abs().max().double_value(&[])
    };
    for step in 1..=5 {
        assert!(difference(Quantity::Latents, step) < 1e-5, "step {step}");
    }
    let tensor = |run: &Run, what| run.tensors(4, what).unwrap();
    assert!(tensor(&branch, Quantity::NoiseUncond) == tensor(&run, Quantity::NoiseUncond));
    assert!(tensor(&branch, Quantity::NoiseText) != tensor(&run, Quantity::NoiseText));
    let parent = branch.record().plan.branch.as_ref().unwrap();
    assert_eq!((parent.plan.prompt.as_str(), branch.record().plan.prompt.as_str()), ("a lovely cat", "a green house"));
}

/// The model is asked only for the steps that are new.
#[test]
fn steps_that_are_made_cost_no_prediction() {
    struct Calls(Vec<usize>);
    impl Observer for Calls {
        fn wants(&self, ask: Ask) -> bool {
            matches!(ask, Ask::Site("unet.conv_in", _))
        }
        fn on_event(&mut self, event: &Event) -> Result<Flow> {
            if let Event::Tensor(site, _) = event {
                self.0.push(site.step);
            }
            Ok(Flow::Continue)
        }
    }
    let sd = model();
    let run = drawing(&sd, "pndm").run().unwrap();
    let mut calls = Calls(vec![]);
    let branch = sd.branch(&run, 3).unwrap().watched(&mut calls).unwrap();
    assert_eq!((calls.0, branch.record().calls_made(), branch.record().calls()), (vec![4, 5, 6], 3, 6));
}

fn succeeds(args: &[&str]) -> String {
    stderr(&done(args))
}

/// What a killed run leaves: the steps up to one, and a record that says it is going on.
fn cut_short(from: &Path, to: &Path, last: usize) {
    std::fs::create_dir_all(to.join("steps")).unwrap();
    for entry in std::fs::read_dir(from.join("steps")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name[..3].parse::<usize>().unwrap() <= last {
            std::fs::copy(entry.path(), to.join("steps").join(name)).unwrap();
        }
    }
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(from.join("run.json")).unwrap()).unwrap();
    json["status"] = "running".into();
    json["model"]["components"].as_array_mut().unwrap().iter_mut().for_each(|part| part["sha256"] = "".into());
    std::fs::write(to.join("run.json"), json.to_string()).unwrap();
}

#[test]
fn a_run_that_was_cut_short_goes_on_to_the_same_end() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (whole, cut, end) = (path("whole"), path("cut"), path("end"));
    let model = ["--model", TINY, "--steps", "4", "--no-report"];
    succeeds(&[&["trace", "--prompt", "a cat", "--scheduler", "unipc", "--out", &whole][..], &model].concat());
    cut_short(Path::new(&whole), Path::new(&cut), 2);
    let said = succeeds(&["trace", "--branch", &cut, "--out", &end, "--no-report"]);
    assert!(said.contains("branch: steps 0 to 2 are those of") && said.contains("2 model calls"), "{said}");
    for entry in std::fs::read_dir(Path::new(&whole).join("steps")).unwrap().flatten() {
        let other = Path::new(&end).join("steps").join(entry.file_name());
        let bytes = |path: &Path| match path.extension().is_some_and(|ending| ending == "png") {
            true => image::open(path).unwrap().into_rgb8().into_raw(),
            false => std::fs::read(path).unwrap(),
        };
        assert!(bytes(&entry.path()) == bytes(&other), "{}", other.display());
    }
    let (ours, theirs) = (Run::open(&end).unwrap(), Run::open(&whole).unwrap());
    assert_eq!(ours.final_picture(0).unwrap(), theirs.final_picture(0).unwrap());
    assert_eq!(ours.record().model.components, theirs.record().model.components);
    assert_eq!(ours.site_rows().unwrap().len(), theirs.site_rows().unwrap().len(), "the table of shapes is whole");
    assert_eq!(ours.record().status, Status::Complete);

    // A picture of a branch says where it comes from.
    let picture = Path::new(&end).join("final.png").display().to_string();
    let said = refused(&["trace", "--like", &picture, "--model", "no/model", "--out", "no/run"]);
    assert!(said.contains("went on from step 2"), "{said}");
}

/// What the steps before were made with cannot be said anew; what is missing is named with the flag that records it.
#[test]
fn what_a_branch_cannot_do_is_named() {
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (run, poor, out) = (path("run"), path("poor"), path("out"));
    let base = ["trace", "--prompt", "a cat", "--model", TINY, "--steps", "3", "--decode", "none", "--no-report"];
    succeeds(&[&base[..], &["--scheduler", "lms", "--out", &run]].concat());
    succeeds(&[&base[..], &["--scheduler", "lms", "--out", &poor, "--record", "latents"]].concat());
    let branch = |of: &str, more: &[&str]| refused(&[&["trace", "--branch", of, "--out", &out][..], more].concat());
    let at = |step: &str| format!("{run}@{step}");
    for (said, expected) in [
        (branch(&at("1"), &["--steps", "9"]), "`--steps 9`, but the steps up to 1 were made with 3"),
        (branch(&at("1"), &["--seed", "9"]), "`--seed 9`"),
        (branch(&at("1"), &["--scheduler", "ddim"]), "`--scheduler ddim`"),
        (branch(&at("7"), &[]), "has no step 7"),
        (branch(&run, &[]), "nothing is left to make after step 3 of 3"),
        (branch(&format!("{poor}@1"), &[]), "--record latents,noise_guided"),
        (branch(&at("1"), &["--model", "pocket"]), "other weights"),
        (branch(&at("1"), &["--init-image", "x.png"]), "one of the two"),
        (branch("nowhere@2", &[]), "nowhere"),
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // Schedulers that do not remember need no more than the latents.
    succeeds(&[&base[..], &["--scheduler", "euler", "--out", &poor, "--record", "latents", "--force"]].concat());
    succeeds(&["trace", "--branch", &format!("{poor}@1"), "--out", &out, "--no-report", "-p", "a dog"]);
}

/// The model's parts are public: a program that resolves by itself finds no past.
#[test]
fn a_plan_without_a_branch_has_no_past() {
    let sd = model();
    let pipeline: &Pipeline = &sd;
    assert!(pipeline.resolve(&drawing(&sd, "ddim").plan().unwrap()).unwrap().past.is_none());
}
