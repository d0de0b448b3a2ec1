//! Teaching a model a new thing from a handful of pictures in the hand: a LoRA.

use crate::draw::model::Model;
use crate::error::{Error, IoContext, Result, caught};
use crate::files::atomic::write_atomically;
use crate::show::picture::Picture;
use crate::train::adapters;
use crate::train::config::TrainConfig;
use crate::train::stages::TrainRequest;
use std::borrow::Borrow;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// What is taught, and how. What is not said is as `sdviz train lora` has it.
#[derive(Debug, Clone)]
pub struct Lesson {
    model: Model,
    pictures: Vec<(String, Picture)>,
    keep: Vec<(String, Picture)>,
    steps: Option<u64>,
    batch: Option<i64>,
    learning_rate: Option<f64>,
    rank: Option<i64>,
    seed: u64,
}

impl Model {
    /// Teaches what these pictures show, each with its caption. The model itself stays as it is; LoRAs that it was loaded
    /// with are left out.
    pub fn teach<L: AsRef<str>, P: Borrow<Picture>>(&self, pictures: &[(L, P)]) -> Lesson {
        let (model, pictures) = (self.clone(), owned(pictures));
        Lesson { model, pictures, keep: vec![], steps: None, batch: None, learning_rate: None, rank: None, seed: 0 }
    }
}

impl Lesson {
    /// Captioned pictures of what must not be forgotten: half of what is seen.
    #[must_use]
    pub fn keep<L: AsRef<str>, P: Borrow<Picture>>(mut self, pictures: &[(L, P)]) -> Lesson {
        self.keep = owned(pictures);
        self
    }

    /// How many steps.
    #[must_use]
    pub fn steps(mut self, steps: u64) -> Lesson {
        self.steps = Some(steps);
        self
    }

    /// How many pictures a step looks at.
    #[must_use]
    pub fn batch(mut self, pictures: i64) -> Lesson {
        self.batch = Some(pictures);
        self
    }

    /// How large a step is, at its highest.
    #[must_use]
    pub fn learning_rate(mut self, rate: f64) -> Lesson {
        self.learning_rate = Some(rate);
        self
    }

    /// How much can be learned: the rank of what is added.
    #[must_use]
    pub fn rank(mut self, rank: i64) -> Lesson {
        self.rank = Some(rank);
        self
    }

    /// The seed of everything random.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Lesson {
        self.seed = seed;
        self
    }

    /// Teaches, and writes the LoRA: [`Model::options`] takes it with `.lora(file, weight)`.
    ///
    /// # Errors
    /// When there is no picture, a number cannot be, the loss is not finite, or the file cannot be written.
    pub fn lora(&self, file: impl AsRef<Path>) -> Result<PathBuf> {
        if self.steps == Some(0) {
            return Err(Error::invalid("0 steps teach nothing", "ask for at least one"));
        }
        let folder = tempfile::tempdir().at("write in", &std::env::temp_dir())?;
        let (data, keep, out) = (folder.path().join("new"), folder.path().join("keep"), folder.path().join("out"));
        write(&data, &self.pictures)?;
        write(&keep, &self.keep)?;
        let mut config = TrainConfig::read(None)?;
        let (course, training) = (&mut config.lora.noise.course, &mut config.lora.rank);
        *training = self.rank.unwrap_or(*training);
        course.steps = self.steps.unwrap_or(course.steps);
        course.batch = self.batch.unwrap_or(course.batch);
        course.learning_rate = self.learning_rate.unwrap_or(course.learning_rate);
        config.lora.alpha = self.rank.map_or(config.lora.alpha, |rank| rank as f64);
        // Nobody looks at the samples of a training in a folder of the moment.
        (config.samples.prompts, config.samples.steps) = (vec![], 1);
        let request = TrainRequest {
            data: &data,
            keep: (!self.keep.is_empty()).then_some(keep.as_path()),
            config,
            out: &out,
            init: Some(self.model.loaded().name()),
            seed: self.seed,
            force: false,
            device: self.model.device(),
            interrupted: Default::default(),
            quiet: true,
            hold: RefCell::default(),
        };
        let done = caught(|| adapters::lora(&request, &|_| {}))?;
        let bytes = std::fs::read(&done.learned).at("read", &done.learned)?;
        write_atomically(file.as_ref(), &bytes)?;
        Ok(file.as_ref().to_path_buf())
    }
}

fn owned<L: AsRef<str>, P: Borrow<Picture>>(pictures: &[(L, P)]) -> Vec<(String, Picture)> {
    pictures.iter().map(|(caption, picture)| (caption.as_ref().to_string(), picture.borrow().clone())).collect()
}

/// A folder of pictures with captions, as a training reads it.
fn write(folder: &Path, pictures: &[(String, Picture)]) -> Result<()> {
    std::fs::create_dir_all(folder).at("create", folder)?;
    for (number, (caption, picture)) in pictures.iter().enumerate() {
        write_atomically(&folder.join(format!("{number:04}.png")), &picture.png()?)?;
        write_atomically(&folder.join(format!("{number:04}.txt")), caption.as_bytes())?;
    }
    Ok(())
}
