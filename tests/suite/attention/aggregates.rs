//! Maps as DAAM, prompt-to-prompt and Attend-and-Excite make them, against their formulas on diffusers' probabilities.

use crate::attention::goldens::Golden;
use sdviz::export::attention::maps::{Method, Mix};
use sdviz::export::attention::recorded::{How, Recorded};
use sdviz::export::attention::words::Word;
use sdviz::ndarray::{ArrayD, Ix3};
use sdviz::prelude::*;
use sdviz::record::attention::Prediction;

fn how(method: Method, factor: Option<usize>, relative: bool) -> How {
    How { method, mix: Mix { sizes: factor.into_iter().collect(), ..Mix::default() }, relative }
}

/// The largest difference of a golden's rows, the first of which stands at place `first`, from what is made here; and
/// how much the golden's own numbers differ.
fn away(golden: &ArrayD<f32>, first: usize, scale: f32, made: impl Fn(&Word) -> Array2<f32>) -> (f32, f32) {
    let rows = golden.view().into_dimensionality::<Ix3>().unwrap();
    let mut away = 0.0f32;
    for (at, row) in rows.outer_iter().enumerate() {
        let ours = made(&Word::Place(first + at)) * scale;
        assert_eq!(ours.dim(), row.dim());
        away = ours.iter().zip(row).map(|(a, b)| (a - b).abs()).fold(away, f32::max);
    }
    let least = rows.iter().copied().fold(f32::INFINITY, f32::min);
    (away, rows.iter().copied().fold(f32::NEG_INFINITY, f32::max) - least)
}

/// Gives how many goldens there were. `rounding`: what f16 does to a hundredfold number in a softmax.
fn check(name: &str, rounding: f32) -> usize {
    let golden = Golden::of(name);
    let run = |all_tokens: bool| {
        let plan = AttentionPlan { detail: Some(Detail::Sizes), all_tokens, ..AttentionPlan::default() };
        golden.drawing().attention(plan).run().unwrap()
    };
    let runs = [run(false), run(true)];
    let [summed, whole] = &runs;
    let (summed, whole) =
        (Recorded::open(summed, Prediction::TEXT, 0).unwrap(), Recorded::open(whole, Prediction::TEXT, 0).unwrap());
    let (_, heads) = summed.heads().unwrap();
    let steps = summed.steps.len() as f32;
    let mut checked = 0;
    for (key, expected) in &golden.tensors {
        let parts: Vec<&str> = key.split('/').collect();
        let factor = || parts.last().unwrap()[1..].parse().ok();
        let of_heads = |how: How| summed_map(&summed, &heads, how);
        let of_step = |recorded: &Recorded, word: &Word, how: &How| recorded.map(2, word, how).unwrap().unwrap();
        let excite =
            how(Method::AttendAndExcite, parts.last().filter(|_| parts.len() > 2).and_then(|_| factor()), false);
        let ((away, varies), most) = match (parts[0], parts.get(1)) {
            ("daam", _) => (away(expected, 0, steps, of_heads(how(Method::Daam, None, false))), 1e-5),
            ("daam-normalised", _) => (away(expected, 0, 1.0, of_heads(how(Method::Daam, None, true))), 1e-4),
            ("p2p", _) => (away(expected, 0, 1.0, of_heads(how(Method::P2p, factor(), false))), 1e-5),
            (_, Some(&"a-and-e-words")) => (away(expected, 1, 1.0, |word| of_step(&summed, word, &excite)), rounding),
            (_, Some(&"a-and-e")) => (away(expected, 1, 1.0, |word| of_step(&whole, word, &excite)), rounding),
            _ => continue,
        };
        assert!(away < most, "{name}/{key}: {away} of {varies}");
        // The trained model's maps have something to tell apart.
        assert!(name != "pocket" || away < 0.05 * varies, "{name}/{key}: {away} of {varies}");
        checked += 1;
    }
    checked
}

fn summed_map<'a>(
    recorded: &'a Recorded,
    heads: &'a [sdviz::export::attention::maps::HeadMaps],
    how: How,
) -> impl Fn(&Word) -> Array2<f32> + 'a {
    move |word| recorded.whole(word, &how, heads).unwrap().unwrap()
}

#[test]
fn words_of_a_trained_model_are_mapped_as_others_do() {
    assert_eq!(check("pocket", 2e-2), 10);
}

#[test]
fn sizes_that_do_not_halve_evenly_are_mapped_as_others_do() {
    assert_eq!(check("sd2-odd", 2e-3), 12);
}

#[test]
fn a_wide_picture_is_mapped_as_others_do() {
    assert_eq!(check("sd1-wide", 2e-3), 12);
}
