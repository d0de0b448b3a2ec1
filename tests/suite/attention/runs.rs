//! Runs of every kind with their attention recorded: what it costs them (nothing), and what is in the files.

use crate::attention::{away, tiny};
use crate::common::{sdviz_in, stderr, tiny_sd, words};
use sdviz::export::attention::recorded::Recorded;
use sdviz::ndarray::Dimension;
use sdviz::pipeline::attention::attention_bytes;
use sdviz::prelude::*;
use sdviz::record::attention::ATTENTION_FOLDER;
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that can be asked for.
fn everything() -> AttentionPlan {
    AttentionPlan {
        detail: Some(Detail::HeadsPerStep),
        own: true,
        all_branches: true,
        queries: vec![[0.5, 0.5], [1.0, 0.0]],
        ..AttentionPlan::default()
    }
}

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all = BTreeMap::new();
    for path in entries.map(|entry| entry.path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match path.is_dir() {
            true => all.extend(files(&path).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes))),
            false => drop(all.insert(name, std::fs::read(&path).unwrap())),
        }
    }
    all
}

fn sdviz(folder: &Path, more: &str) -> (bool, String) {
    let line = format!("trace --steps 3 -W 40 -H 32 --seed 4 --decode none --no-report {more} --model");
    let output = sdviz_in(folder, &[words(&line), vec![tiny_sd()]].concat());
    (output.status.success(), stderr(&output))
}

/// Who records attention has the very run that he has without.
#[test]
fn recording_changes_no_bit_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    for dtype in ["f32", "bf16"] {
        let run = |name: &str, more: &str| {
            let (done, said) =
                sdviz(folder.path(), &format!("-p a~cat -n dog --dtype {dtype} -o {name}-{dtype}{more}"));
            assert!(done, "{said}");
            files(&folder.path().join(format!("{name}-{dtype}/steps")))
        };
        let plain = run("plain", "");
        assert_eq!(plain.len(), 5, "PNDM calls once more");
        if dtype == "f32" {
            assert!(plain == run("with", " --attention"));
        }
        let all = " --attention layers,self --attention-branches --attention-tokens all --query 0.2,0.7";
        assert!(plain == run("all", all));
        // Nothing is there that was not asked for.
        assert!(!folder.path().join(format!("plain-{dtype}/attention")).exists());
        let record = std::fs::read_to_string(folder.path().join(format!("plain-{dtype}/run.json"))).unwrap();
        assert!(!record.contains("attention\":"), "{record}");
    }
}

#[test]
fn what_was_typed_is_checked_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |words: &str| {
        let (done, said) = sdviz(folder.path(), &format!("-p a -o run {words}"));
        assert!(!done && !folder.path().join("run").exists());
        said
    };
    assert!(refused("--attention layer").contains("unknown part of attention `layer`; did you mean `layers`?"));
    assert!(refused("--attention --query 0.5").contains("`0.5` is no place: two numbers are"));
    assert!(refused("--attention --query 0.5,1.5").contains("the place 0.5,1.5 does not lie on the picture"));
    assert!(refused("--attention --attention-tokens some").contains("unknown choice of tokens `some`"));
    assert!(refused("--attention-branches").contains("--attention"));
    let (done, said) = sdviz(folder.path(), "-p a~cat -o run --attention sizes,self");
    assert!(
        done && said.contains("attention: sizes, 1 prediction of up to 5 columns, self-attention; about "),
        "{said}"
    );
}

/// A folder and memory hold the same; what was said to be written is what is written.
#[test]
fn the_files_are_those_that_were_announced() {
    let folder = tempfile::tempdir().unwrap();
    let drawing = tiny("a cat").size(40, 24).batch(2).attention(everything());
    let (memory, kept) = (drawing.run().unwrap(), drawing.out(folder.path().join("run")).run().unwrap());
    let (memory, attention) = (memory.attention().unwrap(), kept.attention().unwrap());
    assert_eq!(memory.record(), attention.record());
    assert_eq!((memory.steps().unwrap(), attention.self_steps().unwrap()), (vec![1, 2, 3], vec![1, 2, 3]));
    let record = attention.record();
    for prediction in [Prediction::TEXT, Prediction::Uncond] {
        let both = [memory, attention];
        let [a, b] = both.map(|of| of.maps(2, prediction, 2).unwrap().unwrap());
        assert_eq!((a.dim().0, a.dim().2, a.dim().3), (2, 2, 3));
        assert_eq!(a, b);
        let [a, b] = both.map(|of| of.heads(2, prediction, &record.layers[3]).unwrap().unwrap());
        assert_eq!(a, b);
        let [a, b] = both.map(|of| of.rows(2, prediction, 1).unwrap().unwrap());
        assert!(a == b && a.dim() == (2, 15, 15));
        let [a, b] = both.map(|of| of.query(2, prediction, 1).unwrap().unwrap());
        assert!(a == b && a.dim() == (2, 16, 3, 5));
        let text = if prediction == Prediction::TEXT { 0 } else { 1 };
        let [a, b] = both.map(|of| of.mean_heads(prediction, text, 1).unwrap().unwrap());
        assert!(a == b && a.len() == 16);
    }
    // The bytes of the numbers are those of the estimate; the rest are headers.
    let files = files(&folder.path().join("run").join(ATTENTION_FOLDER));
    let header = |bytes: &Vec<u8>| 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let numbers: usize = files.values().map(|bytes| bytes.len() - header(bytes)).sum();
    assert_eq!((numbers, files.len()), (attention_bytes(record, kept.record()), 10));
}

/// Each picture of a batch has the maps that it has alone.
#[test]
fn a_picture_of_a_batch_has_its_own_maps() {
    let both = tiny("a cat").batch(2).run().unwrap();
    let second = tiny("a cat").seed(4).run().unwrap();
    let maps = |run: &Run| run.attention().unwrap().maps(3, Prediction::TEXT, 1).unwrap().unwrap();
    let (both, alone) = (maps(&both), maps(&second));
    let [first, second] = [0, 1].map(|item| both.index_axis(Axis(0), item).to_owned());
    let alone = alone.index_axis_move(Axis(0), 0);
    assert!(away(&second, &alone) < 1e-5, "{}", away(&second, &alone));
    assert!(away(&first, &alone) > 1e-4, "the two pictures are told apart");
}

#[test]
fn two_passes_have_maps_of_two_sizes() {
    let plan = AttentionPlan {
        own: true,
        queries: vec![[0.5, 0.5]],
        detail: Some(Detail::Layers),
        ..AttentionPlan::default()
    };
    let run = tiny("a cat").size(40, 24).hires(2.0, 0.7).attention(plan).run().unwrap();
    let attention = run.attention().unwrap();
    let begins = run.record().hires.as_ref().unwrap().first_step;
    let steps: Vec<usize> = (1..=run.record().last_step()).filter(|step| *step != begins).collect();
    assert_eq!((attention.steps().unwrap(), begins), (steps, 4), "the step that a pass begins with has no maps");
    let grid = |step, factor| attention.maps(step, Prediction::TEXT, factor).unwrap().unwrap().raw_dim().into_pattern();
    assert_eq!(
        (grid(1, 1), grid(5, 1), grid(1, 4), grid(5, 4)),
        ((1, 5, 3, 5), (1, 5, 6, 10), (1, 5, 1, 2), (1, 5, 2, 3))
    );
    let layer = &attention.record().layers[15];
    assert_eq!(attention.layer(5, Prediction::TEXT, layer).unwrap().unwrap().dim(), (1, 5, 6, 10));
    assert_eq!(attention.rows(5, Prediction::TEXT, 1).unwrap().unwrap().dim(), (1, 60, 60));
    assert_eq!(attention.query(5, Prediction::TEXT, 0).unwrap().unwrap().dim(), (1, 16, 6, 10));
    let heads = |pass| attention.mean_heads(Prediction::TEXT, 0, pass).unwrap().unwrap()[15].maps.dim();
    assert_eq!((heads(1), heads(2)), ((1, 4, 5, 3, 5), (1, 4, 5, 6, 10)));
    // What takes all steps together takes those of the pass that is named, else the last one.
    let of = |pass| Recorded::open(&run, Prediction::TEXT, 0).unwrap().of_pass(pass);
    let heads = |pass| of(pass).unwrap().heads().unwrap().1[15].heads[0].dim();
    assert_eq!((heads(Some(1)), heads(Some(2)), heads(None)), ((5, 3, 5), (5, 6, 10), (5, 6, 10)));
    assert_eq!((of(Some(1)).unwrap().last(), of(Some(2)).unwrap().steps[0]), (begins - 1, begins + 1));
    let alone = tiny("a cat").run().unwrap();
    let refused = Recorded::open(&alone, Prediction::TEXT, 0).unwrap().of_pass(Some(2)).unwrap_err();
    assert!(refused.hint().unwrap().contains("leave out `--pass`"), "{refused}");
}

/// PNDM calls the model once more than there are steps, Heun nearly twice; from a picture only the last calls are made.
#[test]
fn every_call_of_the_model_has_its_maps() {
    let steps = |drawing: Drawing| {
        let run = drawing.run().unwrap();
        assert_eq!(run.attention().unwrap().steps().unwrap(), run.steps().unwrap()[1..]);
        run.steps().unwrap().len() - 1
    };
    assert_eq!((steps(tiny("a").scheduler("pndm")), steps(tiny("a").scheduler("heun"))), (4, 5));
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("it.png");
    RgbImage::from_fn(32, 32, |x, y| Rgb([(x * 8) as u8, (y * 8) as u8, 90])).save(&picture).unwrap();
    assert_eq!(steps(tiny("a").init_image(picture.as_path()).strength(0.7)), 2);
}

/// A run that is stopped has the maps of the steps that it made, and their mean.
#[test]
fn a_run_that_is_stopped_keeps_what_it_has() {
    struct StopAt(usize);
    impl Observer for StopAt {
        fn wants(&self, _: Ask) -> bool {
            false
        }

        fn on_event(&mut self, event: &Event) -> Result<Flow> {
            Ok(if matches!(event, Event::Step(step) if step.index == self.0) { Flow::Stop } else { Flow::Continue })
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let run = tiny("a cat").steps(5).out(folder.path().join("run")).watched(&mut StopAt(2)).unwrap();
    let attention = run.attention().unwrap();
    assert_eq!((run.record().status, attention.steps().unwrap()), (Status::Failed, vec![1, 2]));
    assert_eq!(attention.maps(3, Prediction::TEXT, 1).unwrap(), None);
    let layer = &attention.record().layers[0];
    let of_steps = [1, 2].map(|step| attention.heads(step, Prediction::TEXT, layer).unwrap().unwrap());
    let mean = &attention.mean_heads(Prediction::TEXT, 0, 1).unwrap().unwrap()[0].maps;
    assert!(away(mean, &((&of_steps[0] + &of_steps[1]) / 2.0)) < 1e-3);
    // One that was killed has no mean; one that takes its place leaves nothing of it.
    std::fs::remove_file(folder.path().join("run/attention/heads.safetensors")).unwrap();
    assert_eq!(attention.mean_heads(Prediction::TEXT, 0, 1).unwrap(), None);
    let sd = tiny("a cat").steps(1);
    let _ = sd.out(folder.path().join("run")).force().run().unwrap();
    let left: Vec<String> = files(&folder.path().join("run/attention")).into_keys().collect();
    assert_eq!(left, ["cross/001.safetensors", "heads.safetensors", "heads/001.safetensors"]);
}

/// Of layers with too many places the chosen ones alone are formed, and they are what the whole row is.
#[test]
fn chosen_places_are_the_same_rows() {
    let plan = |own| AttentionPlan { own, queries: vec![[0.3, 0.6]], ..AttentionPlan::default() };
    // 24×26 places of the first size are more than are kept whole; 24×24 are not.
    let large = tiny("a").size(208, 192).steps(1);
    let (few, run) = (large.clone().attention(plan(false)).run().unwrap(), large.attention(plan(true)).run().unwrap());
    let attention = run.attention().unwrap();
    assert_eq!(attention.record().self_factors(1), [2, 4, 8]);
    let error = attention.rows(1, Prediction::TEXT, 1).unwrap_err().to_string();
    assert!(error.contains("no self-attention of size f1 recorded"), "{error}");
    let row = |run: &Run| run.attention().unwrap().query(1, Prediction::TEXT, 0).unwrap().unwrap();
    let (few, whole) = (row(&few), row(&run));
    assert!(away(&few, &whole) < 1e-6);
    let rows = attention.rows(1, Prediction::TEXT, 8).unwrap().unwrap();
    assert_eq!(rows.dim(), (1, 12, 12));
}
