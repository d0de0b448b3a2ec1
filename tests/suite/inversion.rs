//! Inversion and looking: agreement with diffusers, the way there and back, what is kept, what is refused.

mod command;
mod goldens;
mod round_trip;

use crate::common::root;
use image::{Rgb, RgbImage};
use sdviz::prelude::*;

fn model(name: &str) -> Model {
    Model::options(root("tests/goldens").join(name)).device("cpu").dtype("f32").load().unwrap()
}

/// A disc on a slope, the picture of `make_inversion_goldens.py`.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let from = |at: u32, side: u32| (i64::from(at) - i64::from(side / 2)).pow(2);
        let inside = from(x, width) + from(y, height) < i64::from(height / 3).pow(2);
        if inside { Rgb([220, 40, 30]) } else { Rgb([(x * 3 % 256) as u8, (y * 3 % 256) as u8, 128]) }
    })
}

/// Largest absolute difference of the latents of two steps over the largest absolute value.
fn apart(a: &Array4<f32>, b: &Array4<f32>) -> f64 {
    assert_eq!(a.shape(), b.shape());
    let largest = |values: &mut dyn Iterator<Item = f32>| values.fold(0.0f32, |most, value| most.max(value.abs()));
    let difference = largest(&mut a.iter().zip(b).map(|(a, b)| a - b));
    f64::from(difference) / f64::from(largest(&mut b.iter().copied()))
}

fn latents(run: &Run, step: usize) -> Array4<f32> {
    run.tensors(step, Quantity::Latents).unwrap().unwrap()
}
