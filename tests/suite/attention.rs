//! What is recorded of attention, what a reader makes of it, and what is drawn of it.

mod aggregates;
mod goldens;
mod log;
mod looking;
mod measured;
mod prompts;
mod reading;
mod runs;

use crate::common::golden_file;
use sdviz::prelude::*;

/// A drawing of a few pixels with `tiny-sd`, of which nothing is decoded.
fn tiny(prompt: &str) -> Drawing {
    thread_local! {
        static SD: Model = Model::load(golden_file("tiny-sd")).unwrap();
    }
    let drawing = SD.with(|sd| sd.draw(prompt)).seed(3).steps(3).scheduler("ddim").size(32, 32);
    drawing.record(Quantity::Latents).decode(Decode::Nothing).attention(AttentionPlan::default())
}

/// The largest difference of two arrays of one shape.
fn away<D: sdviz::ndarray::Dimension>(a: &sdviz::ndarray::Array<f32, D>, b: &sdviz::ndarray::Array<f32, D>) -> f32 {
    assert_eq!(a.shape(), b.shape());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
