//! What each word causes: against diffusers and autograd, beside the run without changing it, and what is drawn of it.

mod goldens;
mod looking;
mod runs;

use crate::common::{golden_file, sdviz_in, stderr, stdout, words};
use sdviz::prelude::*;
use sdviz::record::attribution::{Asked, Dropping};
use std::path::{Path, PathBuf};

fn tiny_sd() -> PathBuf {
    golden_file("tiny-sd")
}

/// What is asked for by name.
fn asked(dropping: Option<Dropping>, gradient: bool, words: &[&str]) -> Asked {
    let words = words.iter().map(|word| word.parse().unwrap()).collect();
    Asked { dropping, gradient, words, ..Asked::default() }
}

/// The program in a folder: whether it went well, what it printed, what it said.
fn sdviz(folder: &Path, line: &str) -> (bool, String, String) {
    let output = sdviz_in(folder, &words(line));
    (output.status.success(), stdout(&output), stderr(&output))
}

/// A trace of tiny-sd with three steps, nothing decoded.
fn trace(folder: &Path, words: &str) -> (bool, String) {
    let model = tiny_sd().display().to_string();
    let all = format!("trace --steps 3 --seed 4 --decode none --no-report --model {model} {words}");
    let (done, _, said) = sdviz(folder, &all);
    (done, said)
}

/// The largest difference over the largest number.
fn away<'a>(a: impl IntoIterator<Item = &'a f32>, b: impl IntoIterator<Item = &'a f32>) -> f32 {
    let (a, b): (Vec<f32>, Vec<f32>) = (a.into_iter().copied().collect(), b.into_iter().copied().collect());
    assert_eq!(a.len(), b.len());
    let most = b.iter().map(|b| b.abs()).fold(0.0, f32::max);
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / most
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(&tensor.to_kind(Kind::Float).contiguous().view(-1)).unwrap()
}
