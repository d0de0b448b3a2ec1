//! Reads what was found out of a run's words. Needs neither the model nor libtorch.
//!
//! Enters: a [`Run`]. Leaves: for a step the maps and norms of each word, and what each token's gradient carries, in f32.

use crate::error::{Error, Result};
use crate::record::attention::Column;
use crate::record::attribution::{
    ATTRIBUTION_FOLDER, About, DROP, DROP_NORM, GRADIENT, SCORE, TEXT_NORM, WHOLE, WHOLE_NORM, attribution_file,
};
use crate::trace::floats;
use crate::trace::reader::Run;
use ndarray::{Array1, Array2, Array3, Array4};
use safetensors::SafeTensors;
use std::path::PathBuf;

/// What was found out of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// What it is.
    pub about: About,
    /// How far the prediction moves without each word.
    pub drop: Option<Dropped>,
    /// What each token's gradient carries.
    pub gradient: Option<Gradient>,
}

/// How far predictions move.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// Without each word at each place, `[batch, words, h, w]`.
    pub maps: Array4<f32>,
    /// The same over all places, `[batch, words]`.
    pub norms: Array2<f32>,
    /// Without the prompt at each place, `[batch, h, w]`.
    pub whole: Array3<f32>,
    /// The same over all places, `[batch]`.
    pub whole_norm: Array1<f32>,
    /// The norm of the prediction itself, `[batch]`.
    pub text_norm: Array1<f32>,
}

/// What the gradient of a score carries.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradient {
    /// Gradient times input of each place of the text, `[batch, places]`.
    pub tokens: Array2<f32>,
    /// The score, `[batch]`.
    pub score: Array1<f32>,
}

impl Run {
    /// The steps of which it was found out what words cause, in order.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn attribution_steps(&self) -> Result<Vec<usize>> {
        self.numbered(ATTRIBUTION_FOLDER)
    }

    /// What words cause in the prediction of a step; `None` where it was not found out.
    ///
    /// # Errors
    /// When the file is there but not valid.
    pub fn attribution(&self, step: usize) -> Result<Option<Attribution>> {
        let name = attribution_file(step);
        let Some(bytes) = self.bytes(&name)? else { return Ok(None) };
        File { path: self.name().join(name), batch: self.record().plan.batch_size }.read(&bytes).map(Some)
    }
}

/// A file, for messages, and how many pictures it is to be of.
struct File {
    path: PathBuf,
    batch: usize,
}

impl File {
    fn bad(&self, reason: impl ToString) -> Error {
        Error::bad_file(&self.path, "safetensors file", reason)
    }

    fn read(&self, bytes: &[u8]) -> Result<Attribution> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| self.bad(e))?;
        let about = header.metadata().as_ref().and_then(|entries| entries.get("sdviz"));
        let about = about.ok_or_else(|| self.bad("it does not say what it is"))?;
        let about: About = serde_json::from_str(about).map_err(|e| self.bad(e))?;
        let file = SafeTensors::deserialize(bytes).map_err(|e| self.bad(e))?;
        let (batch, words) = (self.batch, about.words.len());
        let drop = match about.dropping {
            None => None,
            Some(_) => {
                let (shape, numbers) = self.numbers(&file, DROP)?;
                let &[_, _, h, w] = shape.as_slice() else {
                    return Err(self.bad(format!("`{DROP}` has shape {shape:?}, expected four dimensions")));
                };
                let maps = Array4::from_shape_vec((batch, words, h, w), numbers).map_err(|e| self.bad(e))?;
                let whole = self.shaped(&file, WHOLE, (batch, h, w))?;
                let norms = self.shaped(&file, DROP_NORM, (batch, words))?;
                let [whole_norm, text_norm] = [WHOLE_NORM, TEXT_NORM].map(|key| self.shaped(&file, key, batch));
                Some(Dropped { maps, norms, whole, whole_norm: whole_norm?, text_norm: text_norm? })
            }
        };
        let gradient = match file.names().contains(&GRADIENT) {
            false => None,
            true => {
                let tokens = self.shaped(&file, GRADIENT, (batch, about.text.places))?;
                Some(Gradient { tokens, score: self.shaped(&file, SCORE, batch)? })
            }
        };
        self.check(&about)?;
        Ok(Attribution { about, drop, gradient })
    }

    /// Refuses a text whose columns lie outside it.
    fn check(&self, about: &About) -> Result<()> {
        let text = &about.text;
        let outside =
            |column: &&Column| column.place.checked_add(column.places.max(1)).is_none_or(|end| end > text.places);
        match text.columns.iter().find(outside) {
            Some(column) => Err(self.bad(format!("a column at place {} of {}", column.place, text.places))),
            None => Ok(()),
        }
    }

    fn numbers(&self, file: &SafeTensors, key: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let view = file.tensor(key).map_err(|_| self.bad(format!("it has no `{key}`")))?;
        let numbers = floats::of(key, &view).map_err(|e| self.bad(e))?;
        Ok((view.shape().to_vec(), numbers))
    }

    fn shaped<S: ndarray::IntoDimension>(
        &self,
        file: &SafeTensors,
        key: &str,
        shape: S,
    ) -> Result<ndarray::Array<f32, S::Dim>> {
        let (found, numbers) = self.numbers(file, key)?;
        let shape = shape.into_dimension();
        let wrong = self.bad(format!("`{key}` has shape {found:?}, which does not fit the others"));
        if found != ndarray::Dimension::slice(&shape) {
            return Err(wrong);
        }
        ndarray::Array::from_shape_vec(shape, numbers).map_err(|e| self.bad(e))
    }
}
