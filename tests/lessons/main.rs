//! The lessons' cells as programs: that they compile, and that what they claim holds. The modules are made from the
//! lessons' sources by `make lessons`. With `LESSON_OUTPUTS` set they print what each cell shows, in the Rust kernel's
//! form, from which `make lesson-outputs` fills the notebooks.

#![allow(clippy::expect_used, clippy::print_stdout, clippy::unwrap_used)]
// A notebook may name what a reader uses in an exercise.
#![allow(unused, clippy::collapsible_if, clippy::manual_is_multiple_of)]

use std::fmt::Debug;

/// The notebooks' folder is where a lesson runs. One thread for each lesson: several run side by side, and sums come in
/// the same order on every machine.
fn go_to_the_notebooks() -> std::io::Result<()> {
    tch::set_num_threads(1);
    std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/notebooks-rs"))
}

fn outputs_are_wanted() -> bool {
    std::env::var_os("LESSON_OUTPUTS").is_some()
}

/// Says that what follows is of this cell; the last one is followed by `end`.
fn cell(name: &str) {
    if outputs_are_wanted() {
        println!("\nLESSON_CELL {name}");
    }
}

/// How the kernel shows what has no display of its own. Methods that a type has itself go before those of a trait.
trait Plain {
    fn evcxr_display(&self);
}

impl<T: Debug + ?Sized> Plain for T {
    fn evcxr_display(&self) {
        println!("EVCXR_BEGIN_CONTENT text/plain\n{self:?}\nEVCXR_END_CONTENT");
    }
}

/// Shows what a cell ends with.
macro_rules! show {
    ($shown:expr) => {
        match &$shown {
            shown if $crate::outputs_are_wanted() => shown.evcxr_display(),
            _ => {}
        }
    };
}
use show;

#[rustfmt::skip]
mod lesson_01;
#[rustfmt::skip]
mod lesson_02;
#[rustfmt::skip]
mod lesson_03;
#[rustfmt::skip]
mod lesson_04;
#[rustfmt::skip]
mod lesson_05;
#[rustfmt::skip]
mod lesson_06;
#[rustfmt::skip]
mod lesson_07;
#[rustfmt::skip]
mod lesson_08;
#[rustfmt::skip]
mod lesson_09;
#[rustfmt::skip]
mod lesson_10;
#[rustfmt::skip]
mod lesson_11;
#[rustfmt::skip]
mod lesson_12;
