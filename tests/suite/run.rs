//! Carrying out a plan: the same record in a folder and in memory, finished whatever happens.

use crate::common::golden_file;
use sdviz::error::{Error, Result};
use sdviz::model::resolve::{self, ModelChoice};
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::record::schema::Status;
use sdviz::run::{self, Company, Hashes, Job};
use sdviz::trace::reader::Run;
use sdviz::trace::reservoir::Reservoir;
use sdviz::trace::writer::Recorder;
use sdviz::watch::observer::{Ask, Event, Flow, Observer};
use tch::{Device, Kind, Tensor};

fn tiny() -> (ModelChoice, Pipeline) {
    let folder = golden_file("tiny-sd");
    let choice = resolve::resolve(folder.to_str()).unwrap();
    let pipeline = Pipeline::load(&choice, LoadOptions::default()).unwrap();
    (choice, pipeline)
}

fn plan() -> Plan {
    Plan { prompt: "a lovely cat".into(), steps: 3, width: 64, height: 64, scheduler: "ddim".into(), ..Plan::default() }
}

/// Does something at a step.
struct At<F: FnMut() -> Result<Flow>>(usize, F);

impl<F: FnMut() -> Result<Flow>> Observer for At<F> {
    fn wants(&self, _: Ask) -> bool {
        false
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Step(step) if step.index == self.0 => (self.1)(),
            _ => Ok(Flow::Continue),
        }
    }
}

#[test]
fn a_folder_and_memory_keep_the_same_record() {
    let (choice, pipeline) = tiny();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let plan = plan();
    let job = || Job::new(&pipeline, pipeline.resolve(&plan).unwrap(), Hashes::Of(&choice));
    let mut recorder = Recorder::create(&dir, &plan).unwrap();
    assert!(run::carry_out(job(), &mut recorder, Company::default()).outcome.is_ok());
    drop(recorder);
    let mut memory = Reservoir::new(&[Quantity::Latents], Decode::Final);
    let ended = run::carry_out(job(), &mut memory, Company::default());
    assert_eq!((ended.kept.unwrap().last_step, ended.hashes.len()), (Some(3), 3));

    let (disk, mut ours) = (Run::open(&dir).unwrap(), memory.run.unwrap());
    assert_eq!((disk.record().status, ours.status), (Status::Complete, Status::Complete));
    assert!(ours.timings.total_seconds > 0.0);
    ours.timings = disk.record().timings.clone();
    // The digits of a number that was written and read may end otherwise.
    let written = serde_json::from_str(&serde_json::to_string(&ours).unwrap()).unwrap();
    assert_eq!(disk.record(), &written);
    for (step, latents) in memory.latents_reservoir.iter().enumerate() {
        let kept = disk.tensors(step, Quantity::Latents).unwrap().unwrap();
        let ours: Vec<f32> = Vec::try_from(latents.contiguous().view(-1)).unwrap();
        assert_eq!(kept.iter().copied().collect::<Vec<f32>>(), ours, "step {step}");
    }
}

/// A refusal of libtorch arrives as a panic, an observer's error as an error: either way the record says how it ended.
#[test]
fn whatever_ends_a_run_its_record_says_so() {
    let (choice, pipeline) = tiny();
    let folder = tempfile::tempdir().unwrap();
    let ended_by = |name: &str, observer: &mut dyn Observer| {
        let dir = folder.path().join(name);
        let plan = plan();
        let mut recorder = Recorder::create(&dir, &plan).unwrap();
        let company = Company { observers: vec![observer], ..Company::default() };
        let job = Job::new(&pipeline, pipeline.resolve(&plan).unwrap(), Hashes::Of(&choice));
        let ended = run::carry_out(job, &mut recorder, company);
        assert_eq!(ended.kept.unwrap().last_step, Some(2), "{name}");
        let record = Run::open(&dir).unwrap().record().clone();
        assert_eq!(record.status, Status::Failed, "{name}");
        (ended.outcome, record.failure.unwrap())
    };
    let refused = || {
        let _ = Tensor::zeros([2, 3], (Kind::Float, Device::Cpu))
            .matmul(&Tensor::zeros([2, 3], (Kind::Float, Device::Cpu)));
        Ok(Flow::Continue)
    };
    let (outcome, failure) = ended_by("refused", &mut At(2, refused));
    assert!(matches!(outcome, Err(Error::Torch(_))) && failure.contains("libtorch: mat1 and mat2"), "{failure}");
    let (outcome, failure) = ended_by("broken", &mut At(2, || panic!("a bug of its own")));
    assert!(matches!(outcome, Err(Error::Broken(_))) && failure.contains("a bug of its own"), "{failure}");
    let (outcome, failure) = ended_by("wrong", &mut At(2, || Err(Error::invalid("no more", "none"))));
    assert!(outcome.is_err() && failure == "no more");
    let (outcome, failure) = ended_by("stopped", &mut At(2, || Ok(Flow::Stop)));
    assert!(outcome.unwrap().stopped && failure == "cancelled");
}
