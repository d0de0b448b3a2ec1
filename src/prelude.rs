//! Everything that a notebook's cell needs: `use sdviz::prelude::*;`.

pub use crate::draw::drawing::Drawing;
pub use crate::draw::keep::{All, Keep};
pub use crate::draw::model::{Model, ModelOptions, Parts};
pub use crate::draw::tokens::TokenTable;
pub use crate::draw::{guided, no_noise};
pub use crate::error::{Error, Result};
pub use crate::export::figure::Figure;
pub use crate::record::plan::Decode::{self, Every};
pub use crate::record::plan::{Plan, Quantity};
pub use crate::record::schema::{RunRecord, Status};
pub use crate::scheduler::{Noise, NoiseLevel, Scheduler, StepOutput};
pub use crate::show::animation::Animation;
pub use crate::show::figure::plot_runs;
pub use crate::show::latents::Latents;
pub use crate::show::picture::{Picture, sheet, sheet_of};
pub use crate::show::pictures::Pictures;
pub use crate::show::preview::Preview;
pub use crate::show::shapes::Shapes;
pub use crate::show::table::Table;
pub use crate::trace::reader::Run;
pub use crate::watch::editor::Editor;
pub use crate::watch::observer::{Ask, Event, Flow, Observer, Step};
pub use crate::watch::site::{Axes, Branch, Rows, Site};
pub use image::{Rgb, RgbImage};
pub use ndarray::{Array2, Array3, Array4, Axis, s};
pub use tch::{Device, Kind, Tensor};
