//! Prompt-to-prompt's local blend is the one of its formula: latents step by step as in `make_blend_goldens.py`.

use sdviz::prelude::*;
use serde_json::Value;
use std::collections::HashMap;

#[test]
fn latents_are_blended_where_the_words_are_looked_at() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goldens/blend.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let about: Value = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["cases"]).unwrap();
    let golden: HashMap<String, Tensor> = Tensor::read_safetensors(file).unwrap().into_iter().collect();
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let number = |key: &str| about[key].as_u64().unwrap() as usize;
    let sd = Model::options("pocket").device("cpu").dtype("f32").load().unwrap();
    let drawing = |prompt: &str| {
        let drawing = sd.draw(prompt).negative_prompt(text(&about["negative_prompt"])).seed(number("seed") as u64);
        let drawing = drawing.size(number("width"), number("height")).steps(number("steps")).scheduler("ddim");
        drawing.guidance_scale(about["guidance_scale"].as_f64().unwrap()).record(All).decode(Decode::Nothing)
    };
    let latents = |run: &Run, step: usize| run.quantity(step, Quantity::Latents).unwrap();
    let far = |run: &Run, name: &str| {
        let one = |step: usize| {
            let wanted = &golden[&format!("{name}/latents/{step}")];
            ((latents(run, step) - wanted).abs().max() / wanted.abs().max()).double_value(&[])
        };
        (0..=number("steps")).map(one).fold(0.0, f64::max)
    };
    let donor = drawing(&text(&about["donor"])).run().unwrap();
    assert!(far(&donor, "donor") < 1e-4);
    let cases = about["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 3);
    for (name, case) in cases {
        let mut run = drawing(&text(&case["prompt"])).donor(&donor);
        for edit in case["edits"].as_array().unwrap() {
            run = run.edit(text(edit));
        }
        let run = run.run().unwrap();
        let far = far(&run, &format!("case/{name}"));
        assert!(far < 1e-4, "{name}: {far}");
        // Where its own latents do not stay they are the donor's, bit for bit.
        for step in 1..=number("steps") {
            let mask = golden[&format!("case/{name}/mask/{step}")].to_kind(Kind::Float);
            let apart: Tensor = (latents(&run, step) - latents(&donor, step)) * (1.0 - &mask);
            assert_eq!(apart.abs().max().double_value(&[]), 0.0, "{name}: step {step}");
        }
    }
}
