//! One prediction of tiny-sd against diffusers and autograd; and what must hold whatever the numbers.

use crate::attribution::{asked, away, numbers, tiny_sd};
use crate::common::golden_file;
use sdviz::pipeline::attribution::Attributed;
use sdviz::prelude::*;
use sdviz::record::attribution::{Asked, Dropping};
use sdviz::watch::probe::Probe;
use serde_json::Value;
use std::collections::HashMap;

struct Golden {
    tensors: HashMap<String, Tensor>,
    case: Value,
    model: Model,
}

impl Golden {
    fn read() -> Golden {
        let path = golden_file("attribution.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let case = serde_json::from_str(&header.metadata().clone().unwrap()["case"]).unwrap();
        let model = Model::options(tiny_sd()).device("cpu").dtype("f32").load().unwrap();
        Golden { tensors: Tensor::read_safetensors(path).unwrap().into_iter().collect(), case, model }
    }

    fn words(&self) -> Vec<&str> {
        self.case["words"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
    }

    fn plan(&self) -> Plan {
        let text = |key: &str| self.case[key].as_str().unwrap().to_string();
        let (prompt, negative_prompt) = (text("prompt"), text("negative"));
        Plan { prompt, negative_prompt, width: 96, height: 64, steps: 2, scheduler: "ddim".into(), ..Plan::default() }
    }

    fn attribute(&self, asked: &Asked) -> Attributed {
        let (record, _) = self.model.plan(&self.plan()).unwrap();
        let attributor = self.model.attributor(&record, asked, 1).unwrap();
        attributor.attribute(1, self.case["timestep"].as_f64().unwrap(), &self.tensors["sample"]).unwrap()
    }

    fn holds(&self, key: &str, ours: &Tensor) {
        let found = away(&numbers(ours), &numbers(&self.tensors[key]));
        assert!(found < 1e-4, "`{key}` is {found} away");
    }
}

#[test]
fn words_are_dropped_as_by_hand_in_diffusers() {
    let golden = Golden::read();
    let found = golden.attribute(&asked(Some(Dropping::Rows), false, &golden.words())).drop.unwrap();
    golden.holds("rows/drop", &found.maps);
    golden.holds("rows/norm", &found.norms);
    golden.holds("whole", &found.whole);
    golden.holds("whole_norm", &found.whole_norm);
    golden.holds("text_norm", &found.text_norm);
    let found = golden.attribute(&asked(Some(Dropping::Retokenise), false, &golden.words()[..3])).drop.unwrap();
    golden.holds("retokenise/drop", &found.maps);
    golden.holds("retokenise/norm", &found.norms);
}

#[test]
fn gradients_are_autograds() {
    let golden = Golden::read();
    let found = golden.attribute(&asked(None, true, &[])).gradient.unwrap();
    golden.holds("gradient", &found.tokens);
    golden.holds("score", &found.score);
    let sides: Vec<f64> = golden.case["area"].as_array().unwrap().iter().map(|side| side.as_f64().unwrap()).collect();
    let area = Some([sides[0], sides[1], sides[2], sides[3]]);
    let found = golden.attribute(&Asked { area, ..asked(None, true, &[]) }).gradient.unwrap();
    golden.holds("gradient/area", &found.tokens);
    golden.holds("score/area", &found.score);
}

/// ∂s/∂e by central differences, for all channels of one token.
#[test]
fn gradients_are_differences() {
    let golden = Golden::read();
    let found = golden.attribute(&asked(None, true, &[])).gradient.unwrap();
    let (model, place, h) = (&golden.model, 3i64, 0.05);
    let _no_gradients = tch::no_grad_guard();
    let encode = |text: &str| {
        let ids = Tensor::from_slice(&model.tokenizer.encode(text).unwrap().ids).unsqueeze(0);
        model.text_encoder.forward_skipping(&ids, 1, &Probe::silent()).unwrap()
    };
    let [text, uncond] = ["prompt", "negative"].map(|key| encode(golden.case[key].as_str().unwrap()));
    let t = Tensor::from_slice(&[golden.case["timestep"].as_f64().unwrap() as f32]);
    let predict = |e: &Tensor| model.unet.forward(&golden.tensors["sample"], &t, e, &Probe::silent()).unwrap();
    let uncond = predict(&uncond);
    let score = |e: &Tensor| (predict(e) - &uncond).to_kind(Kind::Double).square().sum(Kind::Double).double_value(&[]);
    let mut squares = 0.0;
    for channel in 0..text.size()[2] {
        let moved = |by: f64| {
            let moved = text.copy();
            let _ = moved.select(1, place).select(1, channel).g_add_scalar_(by);
            score(&moved)
        };
        // Of the fourth order: a step that is wide enough for f32 is too wide for the second.
        let slope = (8.0 * (moved(h) - moved(-h)) - (moved(2.0 * h) - moved(-2.0 * h))) / (12.0 * h);
        squares += (slope * text.double_value(&[0, place, channel])).powi(2);
    }
    let ours = found.tokens.double_value(&[0, place]);
    assert!((ours - squares.sqrt()).abs() < 1e-3 * ours, "{ours} and {}", squares.sqrt());
}

/// Without every word the model is told the empty prompt; without none it is told what it was told.
#[test]
fn all_words_are_the_prompt() {
    let golden = Golden::read();
    let prompt = golden.case["prompt"].as_str().unwrap();
    let found = golden.attribute(&asked(Some(Dropping::Retokenise), false, &[prompt])).drop.unwrap();
    assert!(away(&numbers(&found.maps), &numbers(&found.whole)) < 1e-5);
    assert!(found.whole_norm.double_value(&[0]) > 0.0);
    // Its rows alone are not all of it: end and padding have read the prompt too.
    let rows = golden.attribute(&asked(Some(Dropping::Rows), false, &[prompt, "<start>"])).drop.unwrap();
    assert!(away(&numbers(&rows.maps.select(1, 0)), &numbers(&rows.whole)) > 1e-2);
    // Begin-of-text is the same whatever follows it.
    assert!(rows.norms.double_value(&[0, 1]) < 1e-3 * rows.norms.double_value(&[0, 0]));
}
