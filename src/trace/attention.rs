//! Reads what a run recorded of its attention. Needs neither the model nor libtorch.
//!
//! Enters: a [`Run`]. Leaves: for a step and a prediction the maps by size, layer or head, and the rows of self-attention,
//! as arrays of f32 whose shapes are those that the record promises.

use crate::error::{Error, Result};
use crate::record::attention::{
    self, AttendedText, AttentionRecord, CROSS_FOLDER, Layer, MEAN_HEADS_FILE, Prediction, SELF_FOLDER,
};
use crate::trace::floats;
use crate::trace::reader::Run;
use ndarray::{Array, Array3, Array4, Array5, ArrayD, Dimension, IntoDimension, IxDyn};
use safetensors::SafeTensors;
use std::path::PathBuf;

/// What a run recorded of its attention.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    run: &'a Run,
    record: &'a AttentionRecord,
}

/// The maps of one layer's heads, `[batch, heads, columns, h, w]`.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadMaps {
    /// The layer's place in [`AttentionRecord::layers`].
    pub layer: usize,
    /// Its maps.
    pub maps: Array5<f32>,
}

impl Run {
    /// What was recorded of the attention.
    ///
    /// # Errors
    /// When nothing was.
    pub fn attention(&self) -> Result<Attention<'_>> {
        let record = self.record().attention.as_ref().ok_or_else(|| Error::NotRecorded {
            message: format!("`{}` has no attention recorded", self.name().display()),
            hint: "record it with `sdviz trace … --attention`".into(),
        })?;
        Ok(Attention { run: self, record })
    }
}

impl<'a> Attention<'a> {
    /// What is kept of which layers, and what the columns of the maps stand for.
    pub fn record(&self) -> &'a AttentionRecord {
        self.record
    }

    /// The steps whose maps are there, in order. The steps that a pass begins with have none.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn steps(&self) -> Result<Vec<usize>> {
        self.run.numbered(CROSS_FOLDER)
    }

    /// The steps of which there is self-attention.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn self_steps(&self) -> Result<Vec<usize>> {
        self.run.numbered(SELF_FOLDER)
    }

    /// The text that a prediction is told at a step: its columns are those of the maps.
    ///
    /// # Errors
    /// When the prediction was not recorded.
    pub fn text(&self, prediction: Prediction, step: usize) -> Result<&'a AttendedText> {
        self.record.text(prediction, step).ok_or_else(|| self.no_prediction(prediction))
    }

    /// The maps of a size: means over the heads and the layers of that size, `[batch, columns, h, w]`. At each place the
    /// columns add up to one. `None` where the step was not made, or is not there yet.
    ///
    /// # Errors
    /// When the prediction or the size was not recorded; when the file is there but not valid.
    pub fn maps(&self, step: usize, prediction: Prediction, factor: usize) -> Result<Option<Array4<f32>>> {
        if !self.record.factors().contains(&factor) {
            let sizes: Vec<String> = self.record.factors().iter().map(|factor| format!("f{factor}")).collect();
            return Err(Error::unknown("size", &format!("f{factor}"), sizes));
        }
        let columns = self.text(prediction, step)?.columns.len();
        let [h, w] = self.record.grid(factor, self.pass(step));
        let file = self.file(&attention::cross_file(step))?;
        file.map(|file| file.array(&format!("{prediction}/f{factor}"), (self.batch(), columns, h, w))).transpose()
    }

    /// One layer's maps: the mean over its heads, `[batch, columns, h, w]`. `None` where the step is not there.
    ///
    /// # Errors
    /// When layers were not recorded; otherwise as [`Attention::maps`].
    pub fn layer(&self, step: usize, prediction: Prediction, layer: &Layer) -> Result<Option<Array4<f32>>> {
        match self.record.detail {
            attention::Detail::Sizes => Err(self.not_kept("layers", "--attention layers")),
            attention::Detail::Layers => {
                let columns = self.text(prediction, step)?.columns.len();
                let [h, w] = self.record.grid(layer.factor, self.pass(step));
                let file = self.file(&attention::cross_file(step))?;
                let shape = (self.batch(), columns, h, w);
                file.map(|file| file.array(&format!("{prediction}/{}", layer.site), shape)).transpose()
            }
            attention::Detail::HeadsPerStep => {
                let heads = self.heads(step, prediction, layer)?;
                Ok(heads.and_then(|heads| heads.mean_axis(ndarray::Axis(1))))
            }
        }
    }

    /// One layer's maps of each head, `[batch, heads, columns, h, w]`. `None` where the step is not there.
    ///
    /// # Errors
    /// When the heads of each step were not recorded; otherwise as [`Attention::maps`].
    pub fn heads(&self, step: usize, prediction: Prediction, layer: &Layer) -> Result<Option<Array5<f32>>> {
        if self.record.detail != attention::Detail::HeadsPerStep {
            return Err(self.not_kept("heads of each step", "--attention heads-per-step"));
        }
        let columns = self.text(prediction, step)?.columns.len();
        let shape = self.head_shape(layer, columns, self.pass(step));
        let file = self.file(&attention::heads_file(step))?;
        file.map(|file| file.array(&format!("{prediction}/{}", layer.site), shape)).transpose()
    }

    /// Each head's maps of all layers as the mean over the steps at which a text, by its place in
    /// [`AttentionRecord::texts`], was told to a prediction in a pass, 1 or 2. `None` where they are not there: they are
    /// written at the end, so a run that was killed has none.
    ///
    /// # Errors
    /// When the prediction was not recorded, or the file is there but not valid.
    pub fn mean_heads(&self, prediction: Prediction, text: usize, pass: usize) -> Result<Option<Vec<HeadMaps>>> {
        let columns = self.record.texts.get(text).ok_or_else(|| self.no_prediction(prediction))?.columns.len();
        let Some(file) = self.file(MEAN_HEADS_FILE)? else { return Ok(None) };
        let prefix = mean_prefix(prediction, text, pass);
        let tensors = file.tensors()?;
        if !tensors.names().iter().any(|name| name.starts_with(&prefix)) {
            return Ok(None);
        }
        let maps = |(place, layer): (usize, &Layer)| {
            let shape = self.head_shape(layer, columns, pass);
            let maps = file.of(&tensors, &format!("{prefix}{}", layer.site), shape)?;
            Ok(HeadMaps { layer: place, maps })
        };
        self.record.layers.iter().enumerate().map(maps).collect::<Result<_>>().map(Some)
    }

    /// Self-attention of a size: the mean over the heads and the layers of that size, `[batch, places, places]`; row p is
    /// where place p looks, places counted row by row. `None` where the step is not there.
    ///
    /// # Errors
    /// When it was not recorded, as of sizes that are too large; otherwise as [`Attention::maps`].
    pub fn rows(&self, step: usize, prediction: Prediction, factor: usize) -> Result<Option<Array3<f32>>> {
        let pass = self.pass(step);
        if !self.record.self_factors(pass).contains(&factor) {
            return Err(self.not_kept(&format!("self-attention of size f{factor}"), "--attention self"));
        }
        self.text(prediction, step)?;
        let places = self.record.grid(factor, pass).iter().product::<usize>();
        let file = self.file(&attention::self_file(step))?;
        let shape = (self.batch(), places, places);
        file.map(|file| file.array(&format!("{prediction}/f{factor}"), shape)).transpose()
    }

    /// Where a chosen place looks, in each layer of self-attention, at the latents' size: `[batch, layers, h, w]`. `query`
    /// counts the places in [`AttentionRecord::queries`]. `None` where the step is not there.
    ///
    /// # Errors
    /// When there is no such place; otherwise as [`Attention::maps`].
    pub fn query(&self, step: usize, prediction: Prediction, query: usize) -> Result<Option<Array4<f32>>> {
        if query >= self.record.queries.len() {
            return Err(self.not_kept("place", "--query X,Y"));
        }
        self.text(prediction, step)?;
        let [h, w] = self.record.latents(self.pass(step));
        let file = self.file(&attention::self_file(step))?;
        let shape = (self.batch(), self.record.self_layers.len(), h, w);
        file.map(|file| file.array(&format!("{prediction}/query/{query}"), shape)).transpose()
    }

    fn batch(&self) -> usize {
        self.run.record().plan.batch_size
    }

    fn pass(&self, step: usize) -> usize {
        self.run.record().pass(step)
    }

    fn head_shape(&self, layer: &Layer, columns: usize, pass: usize) -> (usize, usize, usize, usize, usize) {
        let [h, w] = self.record.grid(layer.factor, pass);
        (self.batch(), layer.heads, columns, h, w)
    }

    fn file(&self, name: &str) -> Result<Option<File>> {
        let bytes = self.run.bytes(name)?;
        Ok(bytes.map(|bytes| File { name: self.run.name().join(name), bytes }))
    }

    fn not_kept(&self, what: &str, flag: &str) -> Error {
        Error::NotRecorded {
            message: format!("`{}` has no {what} recorded", self.run.name().display()),
            hint: format!("record it with `sdviz trace … {flag}`"),
        }
    }

    fn no_prediction(&self, prediction: Prediction) -> Error {
        let kept: Vec<String> = self.record.predictions.iter().map(|kept| format!("`{}`", kept.prediction)).collect();
        Error::NotRecorded {
            message: format!(
                "`{}` has no attention of `{prediction}` recorded, only of {}",
                self.run.name().display(),
                kept.join(", ")
            ),
            hint: "record it with `sdviz trace … --attention-branches`; without guidance there is no `uncond`".into(),
        }
    }
}

/// What the keys of a mean begin with: `text/0/`, of a second pass `hires/text/0/`.
pub fn mean_prefix(prediction: Prediction, text: usize, pass: usize) -> String {
    format!("{}{prediction}/{text}/", if pass > 1 { "hires/" } else { "" })
}

/// A file of maps.
struct File {
    name: PathBuf,
    bytes: Vec<u8>,
}

impl File {
    fn bad(&self, reason: impl ToString) -> Error {
        Error::bad_file(&self.name, "safetensors file", reason)
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|e| self.bad(e))
    }

    /// The numbers of a key, which has to be there in this shape.
    fn array<S: IntoDimension>(&self, key: &str, shape: S) -> Result<Array<f32, S::Dim>> {
        self.of(&self.tensors()?, key, shape)
    }

    fn of<S: IntoDimension>(&self, tensors: &SafeTensors, key: &str, shape: S) -> Result<Array<f32, S::Dim>> {
        let view = tensors.tensor(key).map_err(|_| self.bad(format!("it has no `{key}`")))?;
        let shape = shape.into_dimension();
        if view.shape() != shape.slice() {
            let (found, expected) = (view.shape(), shape.slice());
            return Err(self.bad(format!("`{key}` has shape {found:?}, run.json says {expected:?}")));
        }
        let numbers = floats::of(key, &view).map_err(|e| self.bad(e))?;
        let array = ArrayD::from_shape_vec(IxDyn(shape.slice()), numbers).map_err(|e| self.bad(e))?;
        array.into_dimensionality::<S::Dim>().map_err(|e| self.bad(e))
    }
}
