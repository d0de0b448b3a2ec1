//! There and back: an inversion that is refined is the sampler's way read backwards.

use super::{apart, latents, model, picture};
use sdviz::pipeline::Pipeline;
use sdviz::pipeline::shared::Shared;
use sdviz::prelude::*;
use sdviz::record::inversion::{InversionPlan, RunKind};
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::probe::Probe;

/// Inverts a picture, draws from its noise, and gives how far the end is from the beginning.
fn there_and_back(sd: &Model, steps: usize, refine: usize) -> (Run, f64) {
    let side = (64, 48);
    let photo = Picture::from(picture(64, 48));
    let there = sd.invert(&photo, "a lovely cat").size(side.0, side.1).steps(steps).refine(refine).record(All);
    let there = there.decode(Decode::Nothing).run().unwrap();
    let back = sd.start(&there, None).unwrap().guidance_scale(1.0).decode(Decode::Nothing).run().unwrap();
    let apart = apart(&latents(&back, steps), &latents(&there, 0));
    (there, apart)
}

/// Refined five times, the pocket model's way back ends where it began.
#[test]
fn what_is_refined_comes_back() {
    let (sd, steps) = (model("../../assets/pocket"), 50);
    let (plain, drift) = there_and_back(&sd, steps, 0);
    let (refined, rest) = there_and_back(&sd, steps, 5);
    println!("there and back: {drift:.1e} apart, refined {rest:.1e}");
    assert!(rest < 1e-4, "{rest:.1e} after refining");
    assert!(drift > 3.0 * rest, "plain inversion drifts by {drift:.1e}, refined by {rest:.1e}");
    let [plain, refined] = [plain, refined].map(|run| run.record().inversion.clone().unwrap().found.residuals);
    assert_eq!((plain.len(), plain[0].len(), refined.len(), refined[0].len()), (steps, 1, steps, 6));
    for (step, rounds) in refined.iter().enumerate() {
        assert!(rounds[5] < 0.2 * rounds[0], "step {}: the rounds do not come closer: {rounds:?}", step + 1);
        assert!(step == 1 || rounds[5] < 1e-4, "step {}: {rounds:?}", step + 1);
    }
}

#[test]
fn a_way_can_be_begun_in_its_middle() {
    let sd = model("tiny-sd");
    let (there, _) = there_and_back(&sd, 20, 8);
    let back =
        sd.start(&there, Some(15)).unwrap().guidance_scale(1.0).record(All).decode(Decode::Nothing).run().unwrap();
    assert_eq!(back.record().last_step(), 15);
    assert_eq!(latents(&back, 0), latents(&there, 15), "bit for bit");
    for step in 1..=15 {
        let apart = apart(&latents(&back, step), &latents(&there, 15 - step));
        // Random weights settle slowly where the latents are nearly clean.
        assert!(step > 6 || apart < 1e-3, "step {step} is {apart:.1e} from its step on the way here");
        let (ours, theirs) = (back.level(step).unwrap(), there.level(15 - step).unwrap());
        assert_eq!((ours.sigma, ours.alpha_cumprod), (theirs.sigma, theirs.alpha_cumprod));
    }
    let begin = back.record().begin.as_ref().unwrap();
    assert_eq!((begin.first_call, begin.scheduled_calls), (5, 20));
    assert_eq!(back.record().plan.start.as_ref().unwrap().step, 15);
    // The rest of such a run is a branch like others.
    let rest = sd.branch(&back, 12).unwrap().run().unwrap();
    assert_eq!(latents(&rest, 15), latents(&back, 15));
}

/// The noise that a picture was drawn from comes back out of its latents, as far as the second step lets it: with fewer
/// steps it is so wide that it does not settle.
#[test]
fn a_generated_picture_gives_its_noise_back() {
    const STEPS: usize = 50;
    let sd = model("../../assets/pocket");
    let drawn = sd.draw("a red apple").steps(STEPS).scheduler("ddim").guidance_scale(1.0).seed(3).size(64, 64);
    let drawn = drawn.decode(Decode::Nothing).run().unwrap();
    let sd: &Pipeline = &sd;
    let inverted = |refine| {
        let inversion = Some(InversionPlan { refine, way_back: false });
        let plan = Plan { inversion, seed: 0, ..drawn.record().plan.clone() };
        let last = sdviz::watch::recorded::Recorded::tensor(&drawn, STEPS, "latents").unwrap().unwrap();
        let resolved = sd.resolve(&plan).unwrap().starting(last).unwrap();
        let mut memory = Reservoir::of(&plan, true);
        sd.generate_resolved(resolved, None, &Shared::nothing(), None, &Probe::new(vec![&mut memory])).unwrap();
        let run = memory.into_run().unwrap().unwrap();
        apart(&latents(&run, STEPS), &latents(&drawn, 0))
    };
    let (plain, refined) = (inverted(0), inverted(8));
    println!("the noise of a generated picture: {plain:.1e} apart, refined {refined:.1e}");
    assert!(refined < 0.3 && refined < 0.5 * plain, "{plain:.1e}, refined {refined:.1e}");
}

/// What an inversion recorded of a level is what a run at that level takes.
#[test]
fn an_inversion_lends_what_it_has() {
    let sd = model("tiny-sd");
    let (there, _) = there_and_back(&sd, 20, 8);
    let start = || sd.start(&there, None).unwrap().guidance_scale(4.0).record(All).decode(Decode::Nothing);
    let free = start().run().unwrap();
    // All noise from the inversion: its way back, whatever the guidance scale.
    let led = start().donor(&there).edit("copy noise_guided").run().unwrap();
    assert!(apart(&latents(&led, 20), &latents(&there, 0)) < 1e-4);
    assert!(apart(&latents(&free, 20), &latents(&there, 0)) > 1e-2, "guidance leads elsewhere");
    // Its latents, bit for bit.
    let held = start().donor(&there).edit("copy latents").run().unwrap();
    for step in 1..=20 {
        assert_eq!(latents(&held, step), latents(&there, 20 - step), "step {step}");
    }
    // Its rows beside: the same prompt at nearly the same latents is nearly the same prediction.
    let beside = sd.start(&there, None).unwrap().guidance_scale(1.0).record(All).decode(Decode::Nothing);
    let alone = beside.clone().run().unwrap();
    let beside = beside.donor(&there).edit("copy unet.mid_block steps=1-6").run().unwrap();
    assert!(apart(&latents(&beside, 6), &latents(&alone, 6)) < 1e-3);
}

#[test]
fn the_record_says_what_it_is() {
    let sd = model("tiny-sd");
    let photo = Picture::from(picture(61, 47));
    let run = sd.invert(&photo, "a lovely cat").steps(4).run().unwrap();
    let record = run.record();
    assert_eq!((record.kind, record.plan.width, record.plan.height), (RunKind::Inversion, 64, 48));
    let inversion = record.inversion.as_ref().unwrap();
    assert_eq!((inversion.convention.as_str(), inversion.encode.as_str()), ("DDIMInverseScheduler", "mean"));
    assert!(inversion.found.psnr_vae.is_some() && inversion.found.psnr_reconstructed.is_some());
    let sigmas: Vec<f64> = record.schedule.iter().map(|level| level.sigma).collect();
    assert!(sigmas.is_sorted_by(|a, b| a < b), "{sigmas:?}");
    assert_eq!(record.schedule[4].timestep, None);
    // An inversion is no drawing to go on from.
    assert!(sd.branch(&run, 2).unwrap().run().unwrap_err().to_string().contains("looks into a picture"));
    let drawn = sd.draw("a lovely cat").steps(2).decode(Decode::Nothing).run().unwrap();
    assert!(sd.start(&drawn, None).unwrap_err().to_string().contains("is no inversion"));
    assert!(sd.start(&run, Some(0)).unwrap_err().to_string().contains("the picture itself"));
    let other = model("tiny-sd2");
    assert!(other.start(&run, None).unwrap().run().is_err(), "another model");
}
