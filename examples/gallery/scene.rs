//! Where experiments are carried out: a loaded model, the judge, a subject and its seeds.
//!
//! Enters: what is drawn. Leaves: runs, pictures and numbers of them. All seeds of a subject are one batch. Runs that several
//! experiments begin from are drawn once and kept while the subject is the same.

use crate::figures::{Figures, Values};
use crate::subject::Subject;
use sdviz::edit::site::KnownSite;
use sdviz::eval::judge::{Certainty, Judge};
use sdviz::pipeline::Pipeline;
use sdviz::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

/// A model, the judge, and what was drawn for the subject in the hand.
pub struct Studio {
    /// The model.
    pub sd: Model,
    /// The judge.
    pub judge: Judge,
    runs: RefCell<HashMap<String, Run>>,
}

impl Studio {
    /// The embedded model and its judge, on the CPU with one thread: two studios side by side draw more than one with two.
    pub fn new() -> Result<Studio> {
        tch::set_num_threads(1);
        let sd = Model::options("pocket").device("cpu").load()?;
        Ok(Studio { sd, judge: Judge::embedded(Device::Cpu)?, runs: RefCell::default() })
    }

    /// Where a run can be changed.
    pub fn known_sites(&self) -> Result<&[KnownSite]> {
        Pipeline::sites(&self.sd)
    }

    /// The names of the sites that end so, in the order of computation.
    pub fn sites(&self, end: &str) -> Result<Vec<String>> {
        let all = self.known_sites()?.iter().map(|site| site.name.clone());
        Ok(all.filter(|name| name.starts_with("unet.") && name.ends_with(end)).collect())
    }

    /// Forgets the runs of a subject that is done with.
    pub fn forget(&self) {
        self.runs.borrow_mut().clear();
    }
}

/// A subject in a studio.
pub struct Scene<'a> {
    /// The studio.
    pub studio: &'a Studio,
    /// The subject's number.
    pub number: usize,
    /// The subject.
    pub subject: &'a Subject,
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: usize,
    /// What was measured before, for experiments that go on from others.
    pub figures: &'a Figures,
    /// Where what is made lies.
    pub folder: &'a Path,
}

impl Scene<'_> {
    /// A drawing with the scene's seeds that keeps the finished pictures alone: 25 steps of the model's own scheduler, DDIM,
    /// and its own guidance scale, 5.
    pub fn draw(&self, prompt: &str) -> Drawing {
        let drawing = self.studio.sd.draw(prompt).seed(self.seed).batch(self.seeds);
        drawing.record([]).decode(Decode::Final)
    }

    /// The subject's own.
    pub fn own(&self) -> Drawing {
        self.draw(&self.subject.prompt)
    }

    /// The run of a prompt with its latents and predicted originals.
    pub fn run(&self, prompt: &str) -> Result<Run> {
        let drawing = || self.draw(prompt).record([Quantity::Latents, Quantity::PredictedOriginal]);
        self.kept(&format!("{prompt} {} {}", self.seed, self.seeds), drawing)
    }

    /// The subject's run with its attention.
    pub fn attended(&self) -> Result<Run> {
        let plan = AttentionPlan { detail: Some(Detail::Sizes), ..AttentionPlan::default() };
        self.kept(&format!("attention {} {}", self.seed, self.seeds), || self.own().attention(plan.clone()))
    }

    fn kept(&self, key: &str, drawing: impl Fn() -> Drawing) -> Result<Run> {
        if let Some(run) = self.studio.runs.borrow().get(key) {
            return Ok(run.clone());
        }
        let run = drawing().run()?;
        self.studio.runs.borrow_mut().insert(key.into(), run.clone());
        Ok(run)
    }

    /// The subject's run, unchanged.
    pub fn base(&self) -> Result<Run> {
        self.run(&self.subject.prompt)
    }

    /// Judges a run's pictures and keeps what is seen in them under a name, beside the unchanged ones:
    ///
    /// - `object`, `background`: whether the judge's verdict is the subject's own (1 or 0); `both`
    /// - `other`, `other_background`: whether it is the other's
    /// - `p_object`, `p_background`, `p_other`: its probability of the object, and the share of the border in the colour
    /// - `psnr`: to the unchanged picture, in decibels, at most 99
    pub fn judge(&self, name: &str, run: &Run, values: &mut Values) -> Result<()> {
        let (now, before) = (pictures(run)?, pictures(&self.base()?)?);
        let (subject, judge) = (self.subject, &self.studio.judge);
        for ((certainty, picture), unchanged) in judge.probabilities(&now)?.iter().zip(&now).zip(&before) {
            let (object, background) = (likeliest(certainty), judge.classes().background_of(picture));
            let own = (object == subject.object, background == subject.background);
            let mut push = |what: &str, value: f64| values.push(&format!("{name}.{what}"), value);
            let share = |yes: bool| f64::from(u8::from(yes));
            push("object", share(own.0));
            push("background", share(own.1));
            push("both", share(own.0 && own.1));
            push("other", share(object == subject.other_object));
            push("other_background", share(background == subject.other_background));
            push("p_object", certainty.objects[subject.object]);
            push("p_background", certainty.backgrounds[subject.background]);
            push("p_other", certainty.objects[subject.other_object]);
            push("psnr", Picture::from(picture.clone()).psnr(&unchanged.clone().into()).min(99.0));
        }
        Ok(())
    }

    /// What the judge sees in a picture: `banana, yellow`.
    pub fn verdict(&self, picture: &RgbImage) -> Result<String> {
        let classes = self.studio.judge.classes();
        let seen = &self.studio.judge.probabilities(std::slice::from_ref(picture))?[0];
        let background = &classes.backgrounds[classes.background_of(picture)];
        Ok(format!("{}, {}", classes.objects[likeliest(seen)].name, background.name))
    }
}

/// The finished pictures of a run's batch.
pub fn pictures(run: &Run) -> Result<Vec<RgbImage>> {
    (0..run.record().plan.batch_size).map(|item| Ok(run.image_of(item)?.into())).collect()
}

fn likeliest(certainty: &Certainty) -> usize {
    let all = certainty.objects.iter().enumerate();
    all.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(place, _)| place)
}
