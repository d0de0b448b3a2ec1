//! The layers' log: an observer that measures how much each layer adds to what goes through it.
//!
//! Enters: the inputs and outputs of the UNet's layers. Leaves: `blocks.jsonl`, a [`LayerRow`] for each layer, picture and
//! step, over the rows that are told the prompt. The sums stay on the device until the step is done.

use crate::error::{Error, IoContext, Result};
use crate::record::layers::{BLOCKS_FILE, LayerKind, LayerRow};
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::site::{Branch, Site};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use tch::{Device, Kind, Tensor};

/// Sums of squares of in, out and update, the sum of in·out, and how many numbers there are.
const SUMS: i64 = 4;

/// Writes a row for each layer at each step.
#[derive(Debug)]
pub struct BlockLog {
    path: PathBuf,
    /// What entered a module, by its site, until its output comes; within a transformer block what goes through it.
    entered: HashMap<String, Tensor>,
    /// What a ResNet block's convolutions gave, by its site.
    added: HashMap<String, Tensor>,
    /// Of the step that goes on: `[pictures, 4]`, and the numbers of a picture.
    measured: Vec<(String, LayerKind, Tensor, f64)>,
}

/// What a site is to the log.
enum Role<'a> {
    /// The input of a module.
    In(&'a str),
    /// What a ResNet block adds.
    Residual(&'a str),
    /// The output of a ResNet block or a transformer.
    Out(LayerKind),
    /// What a part of a transformer block adds.
    Part(LayerKind, &'a str),
}

/// What a site is, if it is anything to the log.
fn role(name: &str) -> Option<Role<'_>> {
    let (above, last) = name.strip_prefix("unet.").and_then(|_| name.rsplit_once('.'))?;
    let is_layer = |name: &str| {
        let mut parts = name.rsplit('.');
        let number = parts.next().is_some_and(|part| part.parse::<usize>().is_ok());
        number && parts.next().is_some_and(|part| ["resnets", "attentions", "transformer_blocks"].contains(&part))
    };
    let of = |list: &str| above.ends_with(list) && last.parse::<usize>().is_ok();
    match last {
        "in" if is_layer(above) => Some(Role::In(above)),
        "conv2" => Some(Role::Residual(above)),
        "attn1" => Some(Role::Part(LayerKind::Attn1, above)),
        "attn2" => Some(Role::Part(LayerKind::Attn2, above)),
        "ff" => Some(Role::Part(LayerKind::Ff, above)),
        _ if of(".resnets") => Some(Role::Out(LayerKind::Resnet)),
        _ if of(".attentions") => Some(Role::Out(LayerKind::Transformer)),
        _ => None,
    }
}

impl BlockLog {
    /// For the run that is recorded in `dir`.
    pub fn new(dir: &Path) -> BlockLog {
        let (entered, added, measured) = (HashMap::new(), HashMap::new(), vec![]);
        BlockLog { path: dir.join(BLOCKS_FILE), entered, added, measured }
    }

    fn see(&mut self, site: &Site, tensor: &Tensor) {
        let Some(role) = role(site.name) else { return };
        let rows = site.rows.of(Branch::Text(0)).unwrap_or(0..tensor.size()[0]);
        let tensor = tensor.narrow(0, rows.start, rows.end - rows.start).to_kind(Kind::Float);
        match role {
            Role::In(module) => drop(self.entered.insert(module.into(), tensor)),
            Role::Residual(module) => drop(self.added.insert(module.into(), tensor)),
            Role::Out(LayerKind::Resnet) => {
                if let Some(update) = self.added.remove(site.name) {
                    self.measure(site.name, LayerKind::Resnet, &(&tensor - &update), &update, &tensor);
                }
            }
            Role::Out(kind) => {
                if let Some(before) = self.entered.remove(site.name) {
                    self.measure(site.name, kind, &before, &(&tensor - &before), &tensor);
                }
            }
            Role::Part(kind, block) => {
                if let Some(before) = self.entered.remove(block) {
                    let after = &before + &tensor;
                    self.measure(site.name, kind, &before, &tensor, &after);
                    // After the feed-forward part nothing goes on through the block.
                    if kind != LayerKind::Ff {
                        self.entered.insert(block.into(), after);
                    }
                }
            }
        }
    }

    fn measure(&mut self, site: &str, kind: LayerKind, before: &Tensor, update: &Tensor, after: &Tensor) {
        let numbers = (after.numel() as i64 / after.size()[0].max(1)) as f64;
        let sum =
            |a: &Tensor, b: &Tensor| (a * b).flatten(1, -1).sum_dim_intlist([1i64].as_slice(), false, Kind::Float);
        let sums = [sum(before, before), sum(after, after), sum(update, update), sum(before, after)];
        self.measured.push((site.into(), kind, Tensor::stack(&sums, 1), numbers));
    }

    fn write(&mut self, step: usize) -> Result<()> {
        self.entered.clear();
        self.added.clear();
        let measured = std::mem::take(&mut self.measured);
        if measured.is_empty() {
            return Ok(());
        }
        // One way over to the host for all of them.
        let all = Tensor::stack(&measured.iter().map(|(.., sums, _)| sums).collect::<Vec<_>>(), 0);
        let pictures = all.size()[1] as usize;
        let all = all.to_device(Device::Cpu).to_kind(Kind::Double).contiguous().view(-1);
        let sums: Vec<f64> = Vec::try_from(&all)?;
        let mut text = String::new();
        for (place, (site, kind, _, numbers)) in measured.into_iter().enumerate() {
            for batch in 0..pictures {
                let from = (place * pictures + batch) * SUMS as usize;
                let row = row(step, &site, kind, batch, &sums[from..from + SUMS as usize], numbers);
                text += &serde_json::to_string(&row).map_err(|e| Error::bad_file(&self.path, "log of layers", e))?;
                text.push('\n');
            }
        }
        let open = std::fs::OpenOptions::new().create(true).append(true).open(&self.path);
        open.and_then(|mut file| file.write_all(text.as_bytes())).at("write", &self.path)
    }
}

fn row(step: usize, site: &str, kind: LayerKind, batch: usize, sums: &[f64], numbers: f64) -> LayerRow {
    let (before, after, update, product) = (sums[0], sums[1], sums[2], sums[3]);
    // Nothing at all has no direction: then in and out are alike.
    let ratio = |a: f64, b: f64, none: f64| if b > 0.0 { a / b } else { none };
    LayerRow {
        step,
        site: site.into(),
        kind,
        batch,
        rms_in: (before / numbers).sqrt(),
        rms_out: (after / numbers).sqrt(),
        rms_update: (update / numbers).sqrt(),
        cos: ratio(product, (before * after).sqrt(), 1.0),
        share: ratio(update, before + update, 0.0),
    }
}

impl Observer for BlockLog {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(name, _) if role(name).is_some())
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Tensor(site, tensor) => self.see(site, tensor),
            Event::Step(step) => self.write(step.index)?,
            _ => {}
        }
        Ok(Flow::Continue)
    }
}
