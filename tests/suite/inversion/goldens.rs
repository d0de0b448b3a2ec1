//! `DDIMInverseScheduler` of diffusers: the same latents after every step.

use super::{apart, latents, picture, root};
use ndarray::Array4;
use safetensors::SafeTensors;
use sdviz::model::files::ModelFiles;
use sdviz::model::resolve::ModelChoice;
use sdviz::pipeline::init_image::Input;
use sdviz::pipeline::shared::Shared;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::prelude::*;
use sdviz::record::inversion::InversionPlan;
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::probe::Probe;
use serde_json::Value;

fn tensor(file: &SafeTensors, key: &str) -> Array4<f32> {
    let view = file.tensor(key).unwrap();
    let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let &[a, b, c, d] = view.shape() else { panic!("{key}") };
    Array4::from_shape_vec((a, b, c, d), values).unwrap()
}

/// A model whose scheduler spaces its timesteps in another way than its file says.
fn pipeline(name: &str, spacing: &str, folder: &std::path::Path) -> Pipeline {
    let from = root("tests/goldens").join(name);
    for entry in std::fs::read_dir(&from).unwrap().flatten() {
        let to = folder.join(entry.file_name());
        if entry.file_name() == "scheduler" {
            std::fs::create_dir(&to).unwrap();
            let file = "scheduler_config.json";
            let text = std::fs::read_to_string(entry.path().join(file)).unwrap();
            let mut config: Value = serde_json::from_str(&text).unwrap();
            config["timestep_spacing"] = spacing.into();
            std::fs::write(to.join(file), config.to_string()).unwrap();
        } else {
            std::os::unix::fs::symlink(entry.path(), to).unwrap();
        }
    }
    let choice = ModelChoice { id: name.into(), chosen_by: "--model", files: ModelFiles::Folder(folder.to_path_buf()) };
    Pipeline::load(&choice, LoadOptions::default()).unwrap()
}

#[test]
fn every_step_is_that_of_diffusers() {
    let bytes = std::fs::read(root("tests/goldens/inversion.safetensors")).unwrap();
    let (_, about) = SafeTensors::read_metadata(&bytes).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let cases: Value = serde_json::from_str(&about.metadata().as_ref().unwrap()["cases"]).unwrap();
    for (name, case) in cases.as_object().unwrap() {
        let folder = tempfile::tempdir().unwrap();
        let sd = pipeline(case["model"].as_str().unwrap(), case["spacing"].as_str().unwrap(), folder.path());
        let side = |at: usize| case["size"][at].as_u64().unwrap() as usize;
        let steps = case["steps"].as_u64().unwrap() as usize;
        let plan = Plan {
            prompt: case["prompt"].as_str().unwrap().into(),
            steps,
            width: side(0),
            height: side(1),
            guidance_scale: 1.0,
            scheduler: "ddim".into(),
            inversion: Some(InversionPlan::default()),
            record: Quantity::ALL.to_vec(),
            decode: Decode::Nothing,
            ..Plan::default()
        };
        let mut memory = Reservoir::of(&plan, true);
        let input = Input { picture: picture(side(0) as u32, side(1) as u32), mask: None };
        let golden = file.tensor(&format!("{name}/image")).unwrap();
        assert_eq!(golden.data(), input.picture.as_raw().as_slice(), "{name}: another picture");
        let resolved = sd.resolve(&plan).unwrap();
        let told: Vec<f64> = resolved.record.schedule.iter().filter_map(|level| level.timestep).collect();
        let theirs: Vec<f64> = serde_json::from_value(case["timesteps"].clone()).unwrap();
        assert_eq!(told, theirs, "{name}");
        sd.generate_resolved(resolved, None, &Shared::nothing(), Some(&input), &Probe::new(vec![&mut memory])).unwrap();
        let run = memory.into_run().unwrap().unwrap();
        for step in 0..=steps {
            let golden = tensor(&file, &format!("{name}/latents/{step}"));
            let difference = apart(&latents(&run, step), &golden);
            assert!(difference < 1e-4, "{name}: step {step} is {difference:.1e} apart");
        }
        let x0 = run.tensors(steps, Quantity::PredictedOriginal).unwrap().unwrap();
        assert!(apart(&x0, &tensor(&file, &format!("{name}/x0/{steps}"))) < 1e-4, "{name}: x0");
    }
}
