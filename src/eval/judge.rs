//! The judge: says which object a picture shows and on which background. It shares nothing with the models it judges.
//!
//! Enters: pictures. Leaves: verdicts. The background is found by rule, the object by a small convolutional network that
//! `sdviz train judge` teaches. `judge.json` names the classes, `judge.safetensors` has the weights.

use crate::dataset::caption::fill;
use crate::dataset::config::{Background, Config};
use crate::dataset::manifest::Row;
use crate::error::{Error, IoContext, Result};
use crate::model::layers::{Conv2d, GroupNorm, Linear};
use crate::model::weights::{Bytes, WeightFile, Weights};
use crate::viz::pixels;
use image::imageops::FilterType;
use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::path::Path;
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Side of the pictures that the network sees.
pub const SIDE: u32 = 64;
/// The file that names the classes.
pub const CLASSES_FILE: &str = "judge.json";
/// The file with the weights.
pub const WEIGHTS_FILE: &str = "judge.safetensors";
/// Channels after each block. 220,000 parameters with 48 objects.
const WIDTHS: [i64; 4] = [32, 64, 96, 160];
/// Groups of the norms.
const GROUPS: i64 = 8;
/// Pictures that are looked at together.
const FEW: usize = 32;
/// The share of the picture's side that counts as its border.
const BORDER: f64 = 1.0 / 32.0;

/// What a judge names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The object.
    #[default]
    Object,
    /// The style that it is drawn in.
    Style,
}

impl Of {
    fn is_object(&self) -> bool {
        *self == Of::Object
    }

    /// The folder that such a judge is left in, and the option that names it.
    pub fn folder(self) -> &'static str {
        match self {
            Of::Object => "judge",
            Of::Style => "style-judge",
        }
    }

    /// The word for several.
    pub fn plural(self) -> &'static str {
        match self {
            Of::Object => "objects",
            Of::Style => "styles",
        }
    }

    /// What a data set says of a picture.
    pub fn label(self, row: &Row) -> &str {
        match self {
            Of::Object => &row.object,
            Of::Style => &row.style,
        }
    }
}

/// What a judge can tell apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Classes {
    /// What it names; the objects, where nothing is said.
    #[serde(default, skip_serializing_if = "Of::is_object")]
    pub of: Of,
    /// The objects, or the styles by their words.
    pub objects: Vec<Thing>,
    /// The backgrounds.
    pub backgrounds: Vec<Background>,
}

/// An object by the name it goes by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thing {
    /// The name.
    pub name: String,
    /// Whether it stands without `a`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plural: bool,
}

/// What a judge sees in a picture, as places in the lists of [`Classes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The object.
    pub object: usize,
    /// The background.
    pub background: usize,
}

/// How sure a judge is of each of its classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Certainty {
    /// The probability of each object; together 1.
    pub objects: Vec<f64>,
    /// The share of the border's pixels that are nearest to each background's colour; together 1.
    pub backgrounds: Vec<f64>,
}

impl Classes {
    /// The classes of a data set.
    pub fn of(config: &Config, of: Of) -> Classes {
        let thing =
            |object: &crate::dataset::config::Object| Thing { name: object.name().into(), plural: object.plural };
        let objects = match of {
            Of::Object => config.objects.iter().map(thing).collect(),
            Of::Style => config.styles.iter().map(|s| Thing { name: s.word.clone(), plural: false }).collect(),
        };
        Classes { of, objects, backgrounds: config.backgrounds.clone() }
    }

    /// Whether a picture of a data set shows one class and no other: one thing, and no red apple that is blue.
    pub fn fits(&self, row: &Row) -> bool {
        let own_colour = || row.colour.is_none() || self.object(&row.object).is_some();
        row.second_object.is_none() && (self.of == Of::Style || own_colour())
    }

    /// The place of an object's name.
    pub fn object(&self, name: &str) -> Option<usize> {
        self.objects.iter().position(|object| object.name == name)
    }

    /// The place of a background's name.
    pub fn background(&self, name: &str) -> Option<usize> {
        self.backgrounds.iter().position(|background| background.name == name)
    }

    /// The background of a picture: the named colour nearest to the median of its border.
    pub fn background_of(&self, picture: &RgbImage) -> usize {
        self.nearest(border_colour(picture))
    }

    /// The named colour nearest to this one.
    fn nearest(&self, colour: [u8; 3]) -> usize {
        let distance = |background: &Background| -> u32 {
            let squares = background.rgb.iter().zip(colour).map(|(a, b)| u32::from(a.abs_diff(b)).pow(2));
            squares.sum()
        };
        let nearest = self.backgrounds.iter().enumerate().min_by_key(|(_, background)| distance(background));
        nearest.map_or(0, |(place, _)| place)
    }

    /// The share of a picture's border that is nearest to each background's colour.
    pub fn border_shares(&self, picture: &RgbImage) -> Vec<f64> {
        let (border, mut shares) = (border(picture), vec![0.0; self.backgrounds.len()]);
        for pixel in &border {
            shares[self.nearest(pixel.0)] += 1.0 / border.len() as f64;
        }
        shares
    }
}

impl Thing {
    /// `a red apple on a blue background`, or `a red apple`.
    pub fn prompt(&self, background: Option<&Background>) -> String {
        match background {
            Some(b) => fill("{a} {object} on {an} {background} background", &self.name, self.plural, "", &b.name),
            None => fill("{a} {object}", &self.name, self.plural, "", ""),
        }
    }
}

/// The pixels of a picture's border.
fn border(picture: &RgbImage) -> Vec<&Rgb<u8>> {
    let (width, height) = picture.dimensions();
    let wide = ((f64::from(width.min(height)) * BORDER).round() as u32).max(1);
    let outer = |x: u32, y: u32| x < wide || y < wide || x + wide >= width || y + wide >= height;
    picture.enumerate_pixels().filter(|(x, y, _)| outer(*x, *y)).map(|p| p.2).collect()
}

/// The median of each channel over the picture's border.
pub fn border_colour(picture: &RgbImage) -> [u8; 3] {
    let border = border(picture);
    [0, 1, 2].map(|channel| {
        let mut values: Vec<u8> = border.iter().map(|pixel| pixel.0[channel]).collect();
        let middle = values.len() / 2;
        if values.is_empty() { 0 } else { *values.select_nth_unstable(middle).1 }
    })
}

/// The network: four times convolution, norm and ReLU, each with half the sides of the one before, the mean over what is
/// left of the area, and a linear layer.
#[derive(Debug)]
pub struct Network {
    blocks: Vec<(Conv2d, GroupNorm)>,
    classes: Linear,
}

impl Network {
    /// From the root of its weights.
    ///
    /// # Errors
    /// When a weight is missing or has another shape.
    pub fn new(at: &Weights, classes: i64) -> Result<Network> {
        let mut blocks = vec![];
        let mut input = 3;
        for (i, output) in WIDTHS.into_iter().enumerate() {
            let (conv, norm) = (at / "conv" / i, at / "norm" / i);
            let conv = match i {
                0 => Conv2d::strided(conv, input, output, 5, 2, 2)?,
                _ => Conv2d::new(conv, input, output, 3)?,
            };
            blocks.push((conv, GroupNorm::new(norm, GROUPS, output, 1e-5)?));
            input = output;
        }
        Ok(Network { blocks, classes: Linear::new(at / "classes", input, classes)? })
    }

    /// Pictures `[batch, 3, 64, 64]` in −1..1 to a score for each class, `[batch, classes]`.
    pub fn forward(&self, pictures: &Tensor) -> Tensor {
        self.classes.forward(&self.features(pictures))
    }

    /// What the scores are made of, `[batch, 160]`.
    pub fn features(&self, pictures: &Tensor) -> Tensor {
        let mut x = pictures.shallow_clone();
        for (conv, norm) in &self.blocks {
            x = norm.forward(&conv.forward(&x)).relu();
            if x.size()[3] > 4 {
                x = x.max_pool2d([2, 2], [2, 2], [0, 0], [1, 1], false);
            }
        }
        x.mean_dim([2i64, 3].as_slice(), false, Kind::Float)
    }
}

/// A judge, ready.
#[derive(Debug)]
pub struct Judge {
    classes: Classes,
    network: Network,
    device: Device,
    _weights: Weights,
}

impl Judge {
    /// The embedded judge of the pocket model's data set.
    ///
    /// # Errors
    /// Never, as a test makes sure.
    pub fn embedded(device: Device) -> Result<Judge> {
        let weights = Bytes::Embedded(include_bytes!("../../assets/judge/judge.safetensors"));
        Judge::new(include_str!("../../assets/judge/judge.json"), weights, Path::new("assets/judge"), device)
    }

    /// The embedded judge of the styles of that data set.
    ///
    /// # Errors
    /// Never, as a test makes sure.
    pub fn embedded_of_styles(device: Device) -> Result<Judge> {
        let weights = Bytes::Embedded(include_bytes!("../../assets/style-judge/judge.safetensors"));
        let classes = include_str!("../../assets/style-judge/judge.json");
        Judge::new(classes, weights, Path::new("assets/style-judge"), device)
    }

    /// A judge from the folder that `sdviz train judge` left.
    ///
    /// # Errors
    /// When it is not there or not whole.
    pub fn read(folder: &Path, device: Device) -> Result<Judge> {
        let path = folder.join(CLASSES_FILE);
        if !path.is_file() {
            return Err(Error::invalid(
                format!("`{}` holds no judge: it has no {CLASSES_FILE}", folder.display()),
                "teach one with `sdviz train judge`, and name the folder that it says it learned",
            ));
        }
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        Judge::new(&text, Bytes::map(&folder.join(WEIGHTS_FILE))?, folder, device)
    }

    fn new(classes: &str, weights: Bytes, folder: &Path, device: Device) -> Result<Judge> {
        let bad = |e| Error::bad_file(&folder.join(CLASSES_FILE), "list of classes", e);
        let classes: Classes = serde_json::from_str(classes).map_err(bad)?;
        let file = Arc::new(WeightFile::new(&folder.join(WEIGHTS_FILE), weights)?);
        let weights = Weights::new("judge", file, device, Kind::Float);
        let network = Network::new(&weights, classes.objects.len() as i64)?;
        weights.finish()?;
        Ok(Judge { classes, network, device, _weights: weights })
    }

    /// What it can tell apart.
    pub fn classes(&self) -> &Classes {
        &self.classes
    }

    /// How sure it is of each class, for each picture: its verdict is the likeliest object.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn probabilities(&self, pictures: &[RgbImage]) -> Result<Vec<Certainty>> {
        let _no_gradients = tch::no_grad_guard();
        let mut all = vec![];
        for picture in pictures {
            let scores = self.network.forward(&input(picture).to_device(self.device));
            let objects = Vec::try_from(scores.softmax(-1, Kind::Double).to_device(Device::Cpu).view(-1))?;
            all.push(Certainty { objects, backgrounds: self.classes.border_shares(picture) });
        }
        Ok(all)
    }

    /// What it sees in each picture.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn judge<P: Borrow<RgbImage>>(&self, pictures: &[P]) -> Result<Vec<Verdict>> {
        let _no_gradients = tch::no_grad_guard();
        let mut verdicts = vec![];
        for some in pictures.chunks(FEW) {
            let scores = self.network.forward(&self.inputs(some));
            let objects: Vec<i64> = Vec::try_from(scores.argmax(1, false).to_device(Device::Cpu))?;
            verdicts.extend(some.iter().zip(objects).map(|(picture, object)| Verdict {
                object: object as usize,
                background: self.classes.background_of(picture.borrow()),
            }));
        }
        Ok(verdicts)
    }

    /// What its scores are made of, `[pictures, 160]` in f64 on the host: pictures that are alike to it lie near each other.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn features(&self, pictures: &[RgbImage]) -> Result<Tensor> {
        let _no_gradients = tch::no_grad_guard();
        let of = |some: &[RgbImage]| self.network.features(&self.inputs(some)).to_device(Device::Cpu);
        let features: Vec<Tensor> = pictures.chunks(FEW).map(of).collect();
        Ok(Tensor::f_cat(&features, 0)?.to_kind(Kind::Double))
    }

    fn inputs<P: Borrow<RgbImage>>(&self, pictures: &[P]) -> Tensor {
        let inputs: Vec<Tensor> = pictures.iter().map(|picture| input(picture.borrow())).collect();
        Tensor::cat(&inputs, 0).to_device(self.device)
    }
}

/// A picture as the network sees it, `[1, 3, 64, 64]` in −1..1.
fn input(picture: &RgbImage) -> Tensor {
    let small = match picture.dimensions() {
        (SIDE, SIDE) => picture.clone(),
        _ => pixels::resized(picture, (SIDE, SIDE), FilterType::Lanczos3),
    };
    crate::pipeline::start::to_tensor(&small)
}
