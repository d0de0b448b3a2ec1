//! What an edit did to a picture: measures of an edited run against the same run without the edit.
//!
//! Enters: two recorded runs, and a judge if their prompt names what it knows. Leaves: numbers, each of which is said in a
//! line above every table: [`Measure::about`].

use super::judge::{Certainty, Judge};
use crate::arithmetic::decibels;
use crate::error::{Error, Result};
use crate::record::plan::Quantity;
use crate::trace::reader::Run;
use image::RgbImage;
use serde::Serialize;

/// The highest PSNR that is told apart, in decibels.
const BEST_PSNR: f64 = 99.0;

/// A measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Of the finished picture.
    Psnr,
    /// Of the last latents.
    Latents,
    /// What the judge thinks of the object.
    Object,
    /// What the judge thinks of the background.
    Background,
}

impl Measure {
    /// All of them.
    pub const ALL: [Measure; 4] = [Measure::Latents, Measure::Psnr, Measure::Object, Measure::Background];

    /// Its name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Psnr => "psnr",
            Measure::Latents => "latents",
            Measure::Object => "object",
            Measure::Background => "background",
        }
    }

    /// What it is, in a line.
    pub fn about(self) -> &'static str {
        match self {
            Measure::Psnr => "PSNR of the finished picture to the unedited one, in dB: lower is a larger change",
            Measure::Latents => "change of the last latents, ‖edited − unedited‖ / ‖unedited‖",
            Measure::Object => "change of the judge's probability of the prompt's object",
            Measure::Background => {
                "change of the share of the border that is nearest to the prompt's background colour"
            }
        }
    }
}

/// The numbers of one edited picture, or their means over several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Measured {
    /// See [`Measure::Psnr`].
    pub psnr: f64,
    /// See [`Measure::Latents`]; none where the runs recorded no latents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latents: Option<f64>,
    /// See [`Measure::Object`]; none where the prompt names none that the judge knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<f64>,
    /// See [`Measure::Background`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<f64>,
}

impl Measured {
    /// One of the numbers.
    pub fn get(&self, measure: Measure) -> Option<f64> {
        match measure {
            Measure::Psnr => Some(self.psnr),
            Measure::Latents => self.latents,
            Measure::Object => self.object,
            Measure::Background => self.background,
        }
    }

    /// The means of several.
    pub fn mean(all: &[Measured]) -> Measured {
        let mean = |of: &dyn Fn(&Measured) -> Option<f64>| {
            let values: Vec<f64> = all.iter().filter_map(of).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        Measured {
            psnr: mean(&|one| Some(one.psnr)).unwrap_or(BEST_PSNR),
            latents: mean(&|one| one.latents),
            object: mean(&|one| one.object),
            background: mean(&|one| one.background),
        }
    }
}

/// A run that others are compared with.
#[derive(Debug)]
pub struct Unedited {
    picture: RgbImage,
    latents: Option<Vec<f32>>,
    /// What is looked for in the pictures, and how sure the judge is of it here.
    wanted: Option<(Wanted, Seen)>,
}

/// The object and the background of a prompt, as places in the judge's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    object: Option<usize>,
    background: Option<usize>,
}

type Seen = (Option<f64>, Option<f64>);

impl Wanted {
    /// What of a judge's classes a prompt names: the longest object name, and a colour before `background`.
    pub fn of(prompt: &str, judge: &Judge) -> Option<Wanted> {
        let classes = judge.classes();
        let prompt = format!(" {} ", prompt.to_lowercase());
        let named = |name: &str| prompt.contains(&format!(" {name} "));
        let objects = classes.objects.iter().enumerate().filter(|(_, object)| named(&object.name));
        let object = objects.max_by_key(|(_, object)| object.name.len()).map(|(place, _)| place);
        let background = classes.backgrounds.iter().position(|b| named(&format!("{} background", b.name)));
        (object.is_some() || background.is_some()).then_some(Wanted { object, background })
    }

    fn seen(self, certainty: &Certainty) -> Seen {
        (self.object.map(|place| certainty.objects[place]), self.background.map(|place| certainty.backgrounds[place]))
    }
}

impl Unedited {
    /// Of a finished run of one picture. With a judge, it is asked about what the prompt names.
    ///
    /// # Errors
    /// When the run has no finished picture.
    pub fn of(run: &Run, judge: Option<&Judge>) -> Result<Unedited> {
        let picture = finished(run)?;
        let wanted = judge.and_then(|judge| Some((judge, Wanted::of(&run.record().plan.prompt, judge)?)));
        let seen = |(judge, wanted): (&Judge, Wanted)| {
            let certainty = judge.probabilities(std::slice::from_ref(&picture))?;
            Ok::<_, Error>((wanted, wanted.seen(&certainty[0])))
        };
        let wanted = wanted.map(seen).transpose()?;
        Ok(Unedited { latents: last_latents(run)?, wanted, picture })
    }

    /// What an edited run is beside it.
    ///
    /// # Errors
    /// When it has no finished picture, or one of another size.
    pub fn measure(&self, run: &Run, judge: Option<&Judge>) -> Result<Measured> {
        let picture = finished(run)?;
        if picture.dimensions() != self.picture.dimensions() {
            return Err(Error::invalid("two pictures of different sizes", "compare runs of one size"));
        }
        let square = |(a, b): (&u8, &u8)| ((f64::from(*a) - f64::from(*b)) / 255.0).powi(2);
        let squares: f64 = picture.as_raw().iter().zip(self.picture.as_raw()).map(square).sum();
        let psnr = decibels(squares / picture.as_raw().len() as f64).min(BEST_PSNR);
        let (mut object, mut background) = (None, None);
        if let (Some((wanted, before)), Some(judge)) = (&self.wanted, judge) {
            let now = wanted.seen(&judge.probabilities(&[picture])?[0]);
            object = now.0.zip(before.0).map(|(now, before)| now - before);
            background = now.1.zip(before.1).map(|(now, before)| now - before);
        }
        let latents = last_latents(run)?.zip(self.latents.as_ref()).map(|(now, before)| change(&now, before));
        Ok(Measured { psnr, latents, object, background })
    }
}

/// ‖now − before‖ / ‖before‖.
fn change(now: &[f32], before: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let apart = norm(&mut now.iter().zip(before).map(|(a, b)| f64::from(a - b)));
    apart / norm(&mut before.iter().map(|x| f64::from(*x))).max(f64::MIN_POSITIVE)
}

fn finished(run: &Run) -> Result<RgbImage> {
    run.final_picture(0)?.ok_or_else(|| Error::NotRecorded {
        message: format!("`{}` has no finished picture", run.name().display()),
        hint: "make it with `--decode final`".into(),
    })
}

fn last_latents(run: &Run) -> Result<Option<Vec<f32>>> {
    let latents = run.tensor(run.record().last_step(), Quantity::Latents, 0)?;
    Ok(latents.map(|latents| latents.iter().copied().collect()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tch::Device;

    #[test]
    fn the_prompt_says_what_is_looked_for() {
        let judge = Judge::embedded(Device::Cpu).unwrap();
        let wanted = Wanted::of("a red apple on a blue background", &judge).unwrap();
        assert_eq!(wanted.object, judge.classes().object("red apple"));
        assert_eq!(wanted.background, judge.classes().background("blue"));
        assert!(wanted.object.is_some() && wanted.background.is_some());
        assert_eq!(Wanted::of("an astronaut", &judge), None);
    }

    #[test]
    fn probabilities_add_to_one_and_agree_with_the_verdict() {
        let judge = Judge::embedded(Device::Cpu).unwrap();
        let picture = RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * 4) as u8, (y * 4) as u8, 90]));
        let seen = &judge.probabilities(std::slice::from_ref(&picture)).unwrap()[0];
        let sum = |values: &[f64]| values.iter().sum::<f64>();
        assert!((sum(&seen.objects) - 1.0).abs() < 1e-6 && (sum(&seen.backgrounds) - 1.0).abs() < 1e-9);
        let verdict = judge.judge(&[picture]).unwrap()[0];
        assert!(seen.objects.iter().all(|p| *p <= seen.objects[verdict.object]));
    }

    #[test]
    fn means_pass_over_what_is_not_there() {
        let one = |psnr, object| Measured { psnr, object, ..Measured::default() };
        let mean = Measured::mean(&[one(10.0, Some(0.5)), one(20.0, None)]);
        assert_eq!((mean.psnr, mean.object, mean.background), (15.0, Some(0.5), None));
        assert!((change(&[1.0, 2.0], &[1.0, 1.0]) - 0.5f64.sqrt()).abs() < 1e-12);
    }
}
