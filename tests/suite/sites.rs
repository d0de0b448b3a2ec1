//! Sites: what is known of a tensor at each, that looking changes no byte, and that changing is what it says.

use crate::common::golden_file;
use sdviz::error::{Error, Result};
use sdviz::model::resolve;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::editor::Editor;
use sdviz::watch::observer::{Ask, Event, Flow, Observer};
use sdviz::watch::probe::Probe;
use sdviz::watch::site::{Axes, Branch, Grid, Pattern, Rows, Site};
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

fn load(kind: Kind) -> Pipeline {
    let folder = golden_file("tiny-sd");
    let choice = resolve::resolve(folder.to_str()).unwrap();
    Pipeline::load(&choice, LoadOptions { kind, ..LoadOptions::default() }).unwrap()
}

fn plan() -> Plan {
    let scheduler = "dpmpp_2m".into();
    Plan { prompt: "a lovely cat".into(), steps: 3, width: 64, height: 96, scheduler, ..Plan::default() }
}

/// The latents of each step and the finished picture's bytes.
fn draw(pipeline: &Pipeline, plan: &Plan, observers: Vec<&mut dyn Observer>, editors: Vec<&mut dyn Editor>) -> Run {
    let mut kept = Reservoir::new(&Quantity::ALL, Decode::Final);
    let mut all: Vec<&mut dyn Observer> = vec![&mut kept];
    all.extend(observers.into_iter().map(|observer| observer as &mut dyn Observer));
    let editors = editors.into_iter().map(|editor| editor as &mut dyn Editor).collect();
    pipeline.generate(plan, &Probe::new(all).with_editors(editors)).unwrap();
    Run { latents: kept.latents_reservoir, quantities: kept.quantities, picture: kept.images[0].as_raw().clone() }
}

struct Run {
    latents: Vec<Tensor>,
    quantities: BTreeMap<Quantity, Vec<(usize, Tensor)>>,
    picture: Vec<u8>,
}

impl Run {
    fn same(&self, other: &Run) -> bool {
        let tensors = |run: &Run| -> Vec<Tensor> {
            let others = run.quantities.values().flatten().map(|(_, t)| t.shallow_clone());
            run.latents.iter().map(Tensor::shallow_clone).chain(others).collect()
        };
        let (ours, theirs) = (tensors(self), tensors(other));
        self.picture == other.picture && ours.iter().zip(&theirs).all(|(a, b)| a.equal(b))
    }
}

/// What is known of a tensor: its axes, grid, rows, shape, and the values.
type Known = (Axes, Option<Grid>, Rows, Tensor);

/// Looks at every site that fits, and keeps the first of each.
struct Look(Pattern, BTreeMap<String, Known>);

impl Look {
    fn at(pattern: &str) -> Look {
        Look(Pattern::new(pattern), BTreeMap::new())
    }
}

impl Observer for Look {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(name, _) if self.0.matches(name))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        if let Event::Tensor(site, tensor) = event {
            let known = (site.axes, site.grid, site.rows.clone(), tensor.copy());
            self.1.entry(site.name.to_string()).or_insert(known);
        }
        Ok(Flow::Continue)
    }
}

/// Changes what fits, in some steps.
struct Change<F: Fn(&Site, &Tensor) -> Tensor>(&'static str, std::ops::RangeInclusive<usize>, F);

impl<F: Fn(&Site, &Tensor) -> Tensor> Editor for Change<F> {
    fn wants(&self, site: &str, step: usize) -> bool {
        self.1.contains(&step) && Pattern::new(self.0).matches(site)
    }

    fn edit(&mut self, site: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some((self.2)(site, tensor)))
    }
}

#[test]
fn looking_at_every_site_changes_no_byte() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let pipeline = load(kind);
        let mut look = Look::at("**");
        let watched = draw(&pipeline, &plan(), vec![&mut look], vec![]);
        assert!(watched.same(&draw(&pipeline, &plan(), vec![], vec![])), "{kind:?}");
        assert!(look.1.len() > 300, "{} sites", look.1.len());
        let probs = look.1.iter().filter(|(name, _)| name.ends_with(".probs"));
        let sums = probs.map(|(_, (.., tensor))| (tensor.sum_dim_intlist(-1, false, Kind::Float) - 1.0).abs().max());
        assert!(sums.map(|t| t.double_value(&[])).fold(0.0, f64::max) < 1e-5, "{kind:?}");
    }
}

#[test]
fn an_editor_that_multiplies_by_one_changes_no_byte() {
    let pipeline = load(Kind::Float);
    let mut one = Change("**", 0..=3, |_, tensor| tensor * 1.0);
    assert!(draw(&pipeline, &plan(), vec![], vec![&mut one]).same(&draw(&pipeline, &plan(), vec![], vec![])));
}

#[test]
fn a_tensor_comes_with_what_it_is() {
    let pipeline = load(Kind::Float);
    let mut look = Look::at("**");
    // Two pictures of 40×56 pixels: 5×7 places, which halve to 3×4 and 2×2.
    let odd = Plan { width: 56, height: 40, batch_size: 2, ..plan() };
    draw(&pipeline, &odd, vec![&mut look], vec![]);
    let site = |name: &str| look.1.get(name).unwrap_or_else(|| panic!("{name} is not there"));
    let both = vec![Branch::Uncond, Branch::Text(0)];

    let (axes, grid, rows, tensor) = site("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.probs");
    assert_eq!((*axes, *grid), (Axes::Attention((3, 4)), Some((3, 4))));
    assert_eq!((&rows.branches, rows.batch, tensor.size()[0], tensor.size()[2]), (&both, 2, 4, 12));
    let (_, grid, _, tensor) = site("unet.up_blocks.1.resnets.0.skip");
    assert_eq!(*grid, Some((tensor.size()[2], tensor.size()[3])));
    let (_, _, rows, tensor) = site("latents");
    assert_eq!((rows, tensor.size()), (&Rows::plain(2), vec![2, 4, 5, 7]));
    let (_, grid, rows, _) = site("vae.decoder.mid_block.attentions.0.probs");
    assert_eq!((*grid, rows), (Some((5, 7)), &Rows::one(0)));
    let (axes, _, rows, tensor) = site("text_encoder.text_model.encoder.layers.1.self_attn.probs");
    assert_eq!((*axes, rows.count(), tensor.size()[0]), (Axes::Prompts, 2, 2));
    assert!(tensor.triu(1).abs().max().double_value(&[]) == 0.0, "no token looks at those after it");

    // What a block is given and what it makes of it: the residual branch is their difference.
    let value = |name: &str| site(name).3.shallow_clone();
    let block = "unet.mid_block.resnets.0";
    let out = value(&format!("{block}.in")) + value(&format!("{block}.conv2"));
    assert!(out.equal(&value(block)));
    assert!(value("unet.mid_block.in").equal(&value("unet.down_blocks.3")));
    let (uncond, text, guided) = (value("noise_uncond"), value("noise_text"), value("noise_guided"));
    let scale = value("guidance_scale").double_value(&[]);
    assert_eq!(scale, 7.5);
    assert!((&uncond + scale * (text - &uncond)).equal(&guided));
}

#[test]
fn an_edit_reaches_what_it_names_and_nothing_before() {
    let pipeline = load(Kind::Float);
    let plain = draw(&pipeline, &plan(), vec![], vec![]);
    // The prompt's rows look at the first token only, in the second step.
    let only_first = |site: &Site, probs: &Tensor| {
        let text = site.rows.of(Branch::Text(0)).unwrap();
        let edited = probs.copy();
        let _ = edited.narrow(0, text.start, 1).fill_(0.0);
        let _ = edited.narrow(0, text.start, 1).narrow(3, 0, 1).fill_(1.0);
        edited
    };
    let mut change = Change("unet.mid_block.attentions.0.transformer_blocks.0.attn2.probs", 2..=2, only_first);
    let edited = draw(&pipeline, &plan(), vec![], vec![&mut change]);
    assert!(edited.latents[1].equal(&plain.latents[1]) && !edited.latents[2].equal(&plain.latents[2]));
    let noise = |run: &Run, what| run.quantities[&what][1].1.shallow_clone();
    assert!(noise(&edited, Quantity::NoiseUncond).equal(&noise(&plain, Quantity::NoiseUncond)));
    assert!(!noise(&edited, Quantity::NoiseText).equal(&noise(&plain, Quantity::NoiseText)));
}

#[test]
fn each_place_that_can_be_edited_has_its_effect() {
    let pipeline = load(Kind::Float);
    let plain = draw(&pipeline, &plan(), vec![], vec![]);
    for site in [
        "text_encoder.text_model.encoder.layers.0.self_attn.scores",
        "text_encoder.text_model.encoder.layers.1.mlp",
        "unet.time_embedding",
        "unet.down_blocks.1.in",
        "unet.down_blocks.1.resnets.0.conv2",
        "unet.down_blocks.1.attentions.0.in",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.in",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_v",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.context",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.heads",
        "unet.up_blocks.1.resnets.1.skip",
        "unet.up_blocks.1.resnets.1.backbone",
        "unet.conv_out",
        "unet.sample",
        "starting_latents",
        "noise_uncond",
        "noise_guided",
        "guidance_scale",
        "latents",
    ] {
        let mut change = Change(site, 0..=3, |_, tensor| tensor * 0.5);
        let edited = draw(&pipeline, &plan(), vec![], vec![&mut change]);
        assert!(!edited.latents[3].equal(&plain.latents[3]), "{site}");
    }
    for site in ["vae.decoder.mid_block.attentions.0.probs", "vae.decoder.up_blocks.0"] {
        let mut change = Change(site, 0..=3, |_, tensor| tensor * 0.5);
        let edited = draw(&pipeline, &plan(), vec![], vec![&mut change]);
        assert!(edited.latents[3].equal(&plain.latents[3]) && edited.picture != plain.picture, "{site}");
    }
}

#[test]
fn observers_see_what_the_editors_left_in_their_order() {
    let pipeline = load(Kind::Float);
    let mut look = Look::at("unet.conv_in");
    let mut plain = Look::at("unet.conv_in");
    draw(&pipeline, &plan(), vec![&mut plain], vec![]);
    let mut double = Change("unet.conv_in", 1..=1, |_, tensor| tensor * 2.0);
    let mut add = Change("unet.conv_in", 1..=1, |_, tensor| tensor + 1.0);
    draw(&pipeline, &plan(), vec![&mut look], vec![&mut double, &mut add]);
    let value = |look: &Look| look.1["unet.conv_in"].3.shallow_clone();
    assert!(value(&look).equal(&(value(&plain) * 2.0 + 1.0)));
}

/// A wrong shape is refused by name; a number that is not finite is found where the editor made it.
#[test]
fn what_an_editor_does_wrong_is_named() {
    let pipeline = load(Kind::Float);
    let fails = |editor: &mut dyn Editor| {
        pipeline.generate(&plan(), &Probe::new(vec![]).with_editors(vec![editor])).unwrap_err()
    };
    let error = fails(&mut Change("unet.mid_block", 1..=1, |_, tensor| tensor.narrow(1, 0, 1)));
    assert!(error.to_string().contains("`unet.mid_block`"), "{error}");
    let error = fails(&mut Change("unet.mid_block", 2..=2, |_, tensor| tensor * f64::NAN));
    assert!(matches!(&error, Error::NotFinite { site, step: 2, .. } if site == "unet.mid_block"), "{error}");
}

/// In tiles the autoencoder's sites are those of a tile, for editors too.
#[test]
fn tiles_can_be_watched_and_changed() {
    let folder = golden_file("tiny-sd");
    let choice = resolve::resolve(folder.to_str()).unwrap();
    let options = LoadOptions { vae_tiling: "on".parse().unwrap(), ..LoadOptions::default() };
    let pipeline = Pipeline::load(&choice, options).unwrap();
    let plan = Plan { steps: 1, width: 96, height: 96, ..plan() };
    let mut look = Look::at("vae.decoder.conv_out");
    let mut grey = Change("vae.decoder.conv_out", 0..=1, |_, tensor| tensor.zeros_like());
    let run = draw(&pipeline, &plan, vec![&mut look], vec![&mut grey]);
    assert_eq!(look.1["vae.decoder.conv_out"].0, Axes::Tile);
    assert!(run.picture.iter().all(|byte| *byte == 128), "all of it is the middle grey");
}
