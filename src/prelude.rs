//! Everything that a notebook's cell needs: `use sdviz::prelude::*;`.

#[cfg(feature = "libtorch")]
pub use crate::draw::drawing::Drawing;
#[cfg(feature = "libtorch")]
pub use crate::draw::keep::{All, Keep};
#[cfg(feature = "libtorch")]
pub use crate::draw::merge::merge;
#[cfg(feature = "libtorch")]
pub use crate::draw::model::{Model, ModelOptions, Part, Parts};
#[cfg(feature = "libtorch")]
pub use crate::draw::teach::Lesson;
#[cfg(feature = "libtorch")]
pub use crate::draw::tokens::TokenTable;
#[cfg(feature = "libtorch")]
pub use crate::draw::{guided, no_noise};
#[cfg(feature = "libtorch")]
pub use crate::edit::{Edit, Op, Selector};
pub use crate::error::{Error, Result};
pub use crate::export::figure::Figure;
pub use crate::record::attention::{AttentionPlan, Detail, Prediction};
pub use crate::record::attribution::{Asked, Dropping};
pub use crate::record::plan::Decode::{self, Every};
pub use crate::record::plan::{Plan, Quantity};
pub use crate::record::schema::{RunRecord, Status};
#[cfg(feature = "libtorch")]
pub use crate::scheduler::{Noise, NoiseLevel, Scheduler, StepOutput};
pub use crate::show::animation::Animation;
pub use crate::show::attention::WordMaps;
pub use crate::show::figure::plot_runs;
pub use crate::show::latents::Latents;
pub use crate::show::picture::{Picture, sheet, sheet_of};
pub use crate::show::pictures::Pictures;
pub use crate::show::preview::Preview;
pub use crate::show::shapes::Shapes;
pub use crate::show::table::Table;
pub use crate::trace::reader::Run;
#[cfg(feature = "libtorch")]
pub use crate::watch::editor::Editor;
#[cfg(feature = "libtorch")]
pub use crate::watch::observer::{Ask, Event, Flow, Observer, Step};
#[cfg(feature = "libtorch")]
pub use crate::watch::site::{Axes, Branch, Rows, Site};
pub use image::{Rgb, RgbImage};
pub use ndarray::{Array2, Array3, Array4, Axis, s};
#[cfg(feature = "libtorch")]
pub use tch::{Device, Kind, Tensor};
