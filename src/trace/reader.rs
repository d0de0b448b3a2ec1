//! Reads the record of a run: one in a folder, complete, still going, killed or failed, or one in memory. Needs neither the
//! model nor libtorch.
//!
//! Enters: a folder, or a [`Memory`](super::memory::Memory). Leaves: a [`Run`], which everything that is drawn from a run takes: the record, and on
//! demand the tensors and pictures of the steps that are whole.

use crate::error::{Error, Result};
use crate::record::layers::LayerRow;
use crate::record::plan::Quantity;
use crate::record::schema::{Level, RunRecord, SiteRow};
use image::RgbImage;
use ndarray::{Array3, Array4, Axis};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A record that can be read: what a run directory and a run in memory have in common.
pub trait Source: fmt::Debug + Send + Sync {
    /// What messages call it: the run directory, or a word for one that has none.
    fn name(&self) -> &Path;

    /// The run directory, if it has one.
    fn dir(&self) -> Option<&Path>;

    /// The steps that are there, in order; 0 is the starting latents.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn steps(&self) -> Result<Vec<usize>>;

    /// The steps of which there is a decoded picture of `what`, for batch item `batch`.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn pictured_steps(&self, what: Quantity, batch: usize) -> Result<Vec<usize>>;

    /// The tensor of this key in a step, `[batch, channels, height/8, width/8]`; `None` where it was not recorded.
    ///
    /// # Errors
    /// When the step is not there or cannot be read.
    fn tensor(&self, step: usize, key: &str) -> Result<Option<Array4<f32>>>;

    /// The shape of that tensor, found without reading the numbers where that can be.
    ///
    /// # Errors
    /// As [`Source::tensor`].
    fn shape(&self, step: usize, key: &str) -> Result<Option<Vec<usize>>> {
        Ok(self.tensor(step, key)?.map(|tensor| tensor.shape().to_vec()))
    }

    /// The decoded picture of a step, if the step was decoded.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    fn picture(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<RgbImage>>;

    /// The same as the PNG that a run directory holds, with its texts.
    ///
    /// # Errors
    /// As [`Source::picture`].
    fn picture_file(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<Vec<u8>>>;

    /// The finished picture, if the run came that far.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    fn final_picture(&self, batch: usize) -> Result<Option<RgbImage>>;

    /// The same as the PNG that a run directory holds, with its texts.
    ///
    /// # Errors
    /// As [`Source::final_picture`].
    fn final_file(&self, batch: usize) -> Result<Option<Vec<u8>>>;

    /// The names of the files in a folder of the record (`attention/cross`); none where there is no such folder.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn names(&self, folder: &str) -> Result<Vec<String>>;

    /// What a file of the record holds, by its path in the run directory; `None` where it is not there.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    fn bytes(&self, file: &str) -> Result<Option<Vec<u8>>>;

    /// The shape log; empty where none was kept.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    fn shapes(&self) -> Result<Vec<SiteRow>>;

    /// The steps of which tensors at sites were kept.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn site_steps(&self) -> Result<Vec<usize>> {
        Ok(vec![])
    }

    /// The keys of the sites that were kept of a step.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    fn site_keys(&self, _step: usize) -> Result<Vec<String>> {
        Ok(vec![])
    }

    /// The tensor of this key, `[batch, channels, height, width]`, if it was kept.
    ///
    /// # Errors
    /// When the file is there but cannot be read, or the tensor lies on no image.
    fn site(&self, _step: usize, _key: &str) -> Result<Option<Array4<f32>>> {
        Ok(None)
    }

    /// What each layer adds; empty where it was not kept.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    fn layers(&self) -> Result<Vec<LayerRow>> {
        Ok(vec![])
    }
}

/// A recorded run, in a folder or in memory. A clone shares what it holds.
#[derive(Debug, Clone)]
pub struct Run {
    source: Arc<dyn Source>,
    record: Arc<RunRecord>,
    /// What messages call it, where that is not what its source does.
    called: Option<Arc<Path>>,
}

impl Run {
    /// What a source holds, and what its record says.
    pub(super) fn of(source: impl Source + 'static, record: RunRecord) -> Run {
        Run { source: Arc::new(source), record: Arc::new(record), called: None }
    }

    /// What messages call it: the run directory, or `memory`, unless it was given a name.
    pub fn name(&self) -> &Path {
        self.called.as_deref().unwrap_or(self.source.name())
    }

    /// The same run under another name, for those who must not learn where it lies. Errors about its files name them still.
    #[must_use]
    pub fn called(self, name: impl AsRef<Path>) -> Run {
        Run { called: Some(name.as_ref().into()), ..self }
    }

    /// The run directory, if it has one.
    pub fn dir(&self) -> Option<&Path> {
        self.source.dir()
    }

    /// What `run.json` says.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// The steps that are there, in order; 0 is the starting latents.
    ///
    /// # Errors
    /// When the folder of the steps cannot be listed. A run that has none yet gives an empty list.
    pub fn steps(&self) -> Result<Vec<usize>> {
        self.source.steps()
    }

    /// The steps of which there is a decoded picture of `what` ([`Quantity::Latents`] or [`Quantity::PredictedOriginal`]),
    /// for batch item `batch`.
    ///
    /// # Errors
    /// As [`Run::steps`].
    pub fn pictured_steps(&self, what: Quantity, batch: usize) -> Result<Vec<usize>> {
        self.source.pictured_steps(what, batch)
    }

    /// A recorded tensor, `[batch, channels, height/8, width/8]`, or `None` where it was not recorded (step 0 has only
    /// the latents).
    ///
    /// # Errors
    /// When the step is missing, unreadable or not valid.
    pub fn tensors(&self, step: usize, what: Quantity) -> Result<Option<Array4<f32>>> {
        self.source.tensor(step, what.key())
    }

    /// The tensor of this key in a step, as [`Source::tensor`].
    ///
    /// # Errors
    /// As [`Run::tensors`].
    pub fn keyed(&self, step: usize, key: &str) -> Result<Option<Array4<f32>>> {
        self.source.tensor(step, key)
    }

    /// The shape of that tensor, as [`Source::shape`].
    ///
    /// # Errors
    /// As [`Run::tensors`].
    #[cfg(feature = "libtorch")]
    pub(super) fn shape_of(&self, step: usize, key: &str) -> Result<Option<Vec<usize>>> {
        self.source.shape(step, key)
    }

    /// The encoded picture of a run that begins from one, `[batch, channels, height/8, width/8]`, times the scaling
    /// factor; of a run with a second pass, the enlarged latents or encoded picture that it begins from. `None` where
    /// there is none.
    ///
    /// # Errors
    /// As [`Run::tensors`].
    pub fn encoded(&self) -> Result<Option<Array4<f32>>> {
        self.source.tensor(self.record.hires.as_ref().map_or(0, |second| second.first_step), "encoded")
    }

    /// The mask among the latents, `[1, 1, height/8, width/8]`, 1 where the picture was repainted; `None` where there is
    /// none.
    ///
    /// # Errors
    /// As [`Run::tensors`].
    pub fn mask(&self) -> Result<Option<Array4<f32>>> {
        self.source.tensor(0, "mask")
    }

    /// A recorded tensor of one picture of the batch, `[channels, height/8, width/8]`.
    ///
    /// # Errors
    /// As [`Run::tensors`]; also when the batch has no such item.
    pub fn tensor(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<Array3<f32>>> {
        let Some(all) = self.tensors(step, what)? else { return Ok(None) };
        if batch >= all.len_of(Axis(0)) {
            return Err(Error::invalid(
                format!("the batch has no picture {batch}: `{}` holds {}", self.name().display(), all.len_of(Axis(0))),
                "pictures of a batch are counted from 0",
            ));
        }
        Ok(Some(all.index_axis_move(Axis(0), batch)))
    }

    /// The decoded picture of a step, or `None` where the step was not decoded.
    ///
    /// # Errors
    /// When the file is there but cannot be read as a picture.
    pub fn picture(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<RgbImage>> {
        self.source.picture(step, what, batch)
    }

    /// The same as the PNG that a run directory holds.
    ///
    /// # Errors
    /// As [`Run::picture`].
    pub fn picture_file(&self, step: usize, what: Quantity, batch: usize) -> Result<Option<Vec<u8>>> {
        self.source.picture_file(step, what, batch)
    }

    /// The finished picture, or `None` if the run did not come that far.
    ///
    /// # Errors
    /// As [`Run::picture`].
    pub fn final_picture(&self, batch: usize) -> Result<Option<RgbImage>> {
        self.source.final_picture(batch)
    }

    /// The same as the PNG that a run directory holds.
    ///
    /// # Errors
    /// As [`Run::picture`].
    pub fn final_file(&self, batch: usize) -> Result<Option<Vec<u8>>> {
        self.source.final_file(batch)
    }

    /// The noise level of the latents in step `step`.
    pub fn level(&self, step: usize) -> Option<&Level> {
        self.record.schedule.get(step)
    }

    /// The steps that have a file of tensors in a folder of the record, in order.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(super) fn numbered(&self, folder: &str) -> Result<Vec<usize>> {
        let number = |name: String| name.strip_suffix(".safetensors")?.parse().ok();
        let mut steps: Vec<usize> = self.source.names(folder)?.into_iter().filter_map(number).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// What a file of the record holds, by its path in the run directory.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub(super) fn bytes(&self, file: &str) -> Result<Option<Vec<u8>>> {
        self.source.bytes(file)
    }

    /// The rows of the shape log. A last line that a killed run left unfinished is passed over.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn site_rows(&self) -> Result<Vec<SiteRow>> {
        self.source.shapes()
    }

    /// The steps of which tensors at sites were kept, in order.
    ///
    /// # Errors
    /// As [`Run::steps`].
    pub fn site_steps(&self) -> Result<Vec<usize>> {
        self.source.site_steps()
    }

    /// The keys of the sites that were kept of a step: names, with `@uncond` for the negative prompt's rows.
    ///
    /// # Errors
    /// As [`Run::tensors`].
    pub fn site_keys(&self, step: usize) -> Result<Vec<String>> {
        self.source.site_keys(step)
    }

    /// The tensor at a site, `[batch, channels, height, width]`, if it was kept.
    ///
    /// # Errors
    /// As [`Run::tensors`]; also when it lies on no image.
    pub fn site(&self, step: usize, key: &str) -> Result<Option<Array4<f32>>> {
        self.source.site(step, key)
    }

    /// What each layer adds at each step, in the order of computation; empty where `--blocks` was not given.
    ///
    /// # Errors
    /// When the file is there but cannot be read.
    pub fn layer_rows(&self) -> Result<Vec<LayerRow>> {
        self.source.layers()
    }
}
