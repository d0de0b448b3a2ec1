//! The attention log: sums of the probabilities that the layers' attentions show, formed beside the run, which they do not
//! change.
//!
//! Enters: probabilities at their sites, some queries at a time. Leaves: after each step the maps of that step, and at the
//! end the mean of each head's over the steps. On the pipeline's device lie one step's maps and those means, in f32,
//! whatever the model computes in and however many steps there are.

use crate::error::{Error, Result};
use crate::record::attention::{self, Attending, AttentionRecord, Detail, Layer, MEAN_HEADS_FILE, Prediction};
use crate::record::schema::RunRecord;
use crate::trace::attention::mean_prefix;
use crate::trace::attention_file::MapFile;
use crate::trace::attention_maps::{columns, enlarged, mean_over_heads, on_grid, place};
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::site::{Branch, Grid, Site};
use std::collections::{BTreeMap, HashMap};
use tch::{Kind, Tensor};

/// A layer of the record, and which kind of attention it is.
#[derive(Debug, Clone, Copy)]
enum Watched {
    Cross(usize),
    Own(usize),
}

/// Sums of one step.
#[derive(Debug, Default)]
struct Sums {
    /// Each head's maps by prediction and layer, `[batch, heads, columns, places]`.
    heads: BTreeMap<(Prediction, usize), Tensor>,
    /// Rows of self-attention by prediction and factor, summed over heads and layers, `[batch, places, places]`, and over
    /// how many.
    rows: BTreeMap<(Prediction, usize), (Tensor, usize)>,
    /// Where a chosen place looks, by prediction, place and layer, at the latents' size, `[batch, 1, h, w]`.
    queries: BTreeMap<(Prediction, usize, usize), Tensor>,
}

/// Each head's sum over the steps of one pass, prediction, text and layer, and how many steps they are.
type Means = BTreeMap<(usize, Prediction, usize, usize), (Tensor, usize)>;

/// Keeps a run's attention.
#[derive(Debug, Default)]
pub struct AttentionLog {
    kept: Option<AttentionRecord>,
    /// The second pass's first step.
    second: Option<usize>,
    sites: HashMap<String, Watched>,
    step: Sums,
    means: Means,
}

impl AttentionLog {
    fn begin(&mut self, run: &RunRecord) {
        let Some(kept) = run.attention.clone() else { return };
        let site = |layer: &Layer| format!("{}.probs", layer.site);
        let cross = kept.layers.iter().enumerate().map(|(i, layer)| (site(layer), Watched::Cross(i)));
        let own = kept.self_layers.iter().enumerate().map(|(i, layer)| (site(layer), Watched::Own(i)));
        self.sites = cross.chain(own).collect();
        self.second = run.hires.as_ref().map(|second| second.first_step);
        self.kept = Some(kept);
    }

    fn pass(&self, step: usize) -> usize {
        1 + usize::from(self.second.is_some_and(|first| step >= first))
    }

    fn watched(&self, name: &str) -> Option<Watched> {
        if self.kept.is_none() || !name.ends_with(".probs") { None } else { self.sites.get(name).copied() }
    }

    /// Adds what one attention shows of some queries, `[rows, heads, queries, keys]`.
    fn add(&mut self, site: &Site, probs: &Tensor) -> Result<()> {
        let (Some(watched), Some(kept)) = (self.watched(site.name), self.kept.take()) else { return Ok(()) };
        let added = kept.predictions.iter().try_for_each(|told| {
            let rows = site.rows.of(branch(told.prediction)).ok_or_else(|| broken(site, "lacks a prediction"))?;
            let part = probs.narrow(0, rows.start, rows.end - rows.start).to_kind(Kind::Float);
            match watched {
                Watched::Cross(layer) => self.add_cross(&kept, (told.prediction, layer), site, &part),
                Watched::Own(layer) => self.add_own(&kept, (told.prediction, layer), site, &part),
            }
        });
        self.kept = Some(kept);
        added
    }

    fn add_cross(
        &mut self,
        kept: &AttentionRecord,
        (prediction, layer): (Prediction, usize),
        site: &Site,
        part: &Tensor,
    ) -> Result<()> {
        let text = kept.text(prediction, site.step).ok_or_else(|| broken(site, "has no text"))?;
        let (batch, heads, queries, keys) = part.size4()?;
        let [h, w] = kept.grid(kept.layers[layer].factor, self.pass(site.step)).map(|side| side as i64);
        if keys != text.places as i64 || site.grid != Some((h, w)) {
            return Err(misshapen(site, keys));
        }
        let maps = columns(part, text).transpose(2, 3);
        let shape = [batch, heads, text.columns.len() as i64, h * w];
        let whole = self.step.heads.entry((prediction, layer));
        let whole = whole.or_insert_with(|| Tensor::zeros(shape, (Kind::Float, part.device())));
        whole.narrow(3, site.first_query, queries).copy_(&maps);
        Ok(())
    }

    fn add_own(
        &mut self,
        kept: &AttentionRecord,
        (prediction, layer): (Prediction, usize),
        site: &Site,
        part: &Tensor,
    ) -> Result<()> {
        let (batch, heads, queries, keys) = part.size4()?;
        let (factor, pass) = (kept.self_layers[layer].factor, self.pass(site.step));
        let [h, w] = kept.grid(factor, pass).map(|side| side as i64);
        if keys != h * w || site.grid != Some((h, w)) {
            return Err(misshapen(site, keys));
        }
        if kept.self_factors(pass).contains(&factor) {
            let zeros = || (Tensor::zeros([batch, keys, keys], (Kind::Float, part.device())), 0);
            let (sum, count) = self.step.rows.entry((prediction, factor)).or_insert_with(zeros);
            let _ = sum.narrow(1, site.first_query, queries).g_add_(&part.sum_dim_intlist(1, false, Kind::Float));
            *count += if site.first_query == 0 { heads as usize } else { 0 };
        }
        let [high, wide] = kept.latents(pass).map(|side| side as i64);
        for (number, query) in kept.queries.iter().enumerate() {
            let at = place(*query, (h, w)) - site.first_query;
            if (0..queries).contains(&at) {
                let row = part.narrow(2, at, 1).mean_dim([1i64].as_slice(), false, Kind::Float).view([batch, 1, h, w]);
                let row = if (h, w) == (high, wide) { row.copy() } else { enlarged(&row, (high, wide)) };
                self.step.queries.insert((prediction, number, layer), row);
            }
        }
        Ok(())
    }

    /// The files of the step that is done now: none for a step without a model call.
    pub fn files(&mut self, step: usize, timestep: Option<f64>) -> Vec<MapFile> {
        let Some(kept) = &self.kept else { return vec![] };
        let sums = std::mem::take(&mut self.step);
        if sums.heads.is_empty() {
            return vec![];
        }
        let pass = 1 + usize::from(self.second.is_some_and(|first| step >= first));
        let (mut cross, mut heads) = (vec![], vec![]);
        for told in &kept.predictions {
            let prediction = told.prediction;
            for factor in kept.factors() {
                let of_size = sums
                    .heads
                    .iter()
                    .filter(|((of, layer), _)| *of == prediction && kept.layers[*layer].factor == factor);
                let mean = mean_over_heads(of_size.map(|(_, maps)| maps));
                cross.extend(
                    mean.map(|mean| (format!("{prediction}/f{factor}"), on_grid(&mean, kept.grid(factor, pass)))),
                );
            }
        }
        for ((prediction, layer), maps) in &sums.heads {
            let Layer { site, factor, .. } = &kept.layers[*layer];
            let (key, grid) = (format!("{prediction}/{site}"), kept.grid(*factor, pass));
            match kept.detail {
                Detail::Sizes => {}
                Detail::Layers => {
                    cross.extend(mean_over_heads([maps].into_iter()).map(|mean| (key, on_grid(&mean, grid))))
                }
                Detail::HeadsPerStep => heads.push((key, on_grid(maps, grid))),
            }
        }
        let own = own_tensors(&sums, kept);
        let about = serde_json::json!({ "step": step, "timestep": timestep, "texts": told(kept, step) });
        let file = |name, tensors| MapFile { name, about: about.clone(), tensors, half: true };
        let files = [
            file(attention::cross_file(step), cross),
            file(attention::heads_file(step), heads),
            file(attention::self_file(step), own),
        ];
        for ((prediction, layer), maps) in sums.heads {
            let Some(text) = kept.text_at(prediction, step) else { continue };
            match self.means.get_mut(&(pass, prediction, text, layer)) {
                Some((sum, count)) => {
                    let _ = sum.g_add_(&maps);
                    *count += 1;
                }
                None => {
                    self.means.insert((pass, prediction, text, layer), (maps, 1));
                }
            }
        }
        files.into_iter().filter(|file| !file.tensors.is_empty()).collect()
    }

    /// The file of the heads' means over the steps that were made, if any was.
    pub fn mean_file(&mut self) -> Option<MapFile> {
        let kept = self.kept.as_ref()?;
        let tensors: Vec<(String, Tensor)> = std::mem::take(&mut self.means)
            .into_iter()
            .map(|((pass, prediction, text, layer), (sum, count))| {
                let Layer { site, factor, .. } = &kept.layers[layer];
                let key = format!("{}{site}", mean_prefix(prediction, text, pass));
                (key, on_grid(&(sum / count as f64), kept.grid(*factor, pass)))
            })
            .collect();
        let name = MEAN_HEADS_FILE.to_string();
        (!tensors.is_empty()).then_some(MapFile { name, about: serde_json::Value::Null, tensors, half: false })
    }
}

impl Observer for AttentionLog {
    fn wants(&self, ask: Ask) -> bool {
        let Ask::Site(name, step) = ask else { return false };
        match (self.watched(name), &self.kept) {
            (Some(Watched::Cross(_)), _) => true,
            (Some(Watched::Own(layer)), Some(kept)) => {
                let whole = kept.self_factors(self.pass(step)).contains(&kept.self_layers[layer].factor);
                whole || !kept.queries.is_empty()
            }
            _ => false,
        }
    }

    fn wants_branch(&self, branch_of: Branch) -> bool {
        self.kept.iter().flat_map(|kept| &kept.predictions).any(|told| branch(told.prediction) == branch_of)
    }

    fn wants_queries(&self, name: &str, step: usize, grid: Grid) -> Option<Vec<i64>> {
        let (Some(Watched::Own(layer)), Some(kept)) = (self.watched(name), &self.kept) else { return None };
        if kept.self_factors(self.pass(step)).contains(&kept.self_layers[layer].factor) {
            return None;
        }
        Some(kept.queries.iter().map(|query| place(*query, grid)).collect())
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Begin(run) => self.begin(run),
            // Another observer may have asked for what this one does not want.
            Event::Tensor(site, tensor) if self.wants(Ask::Site(site.name, site.step)) => self.add(site, tensor)?,
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

/// Which text each prediction was told at a step.
fn told(kept: &AttentionRecord, step: usize) -> serde_json::Value {
    let text = |told: &Attending| Some((told.prediction.to_string(), kept.text_at(told.prediction, step)?.into()));
    serde_json::Value::Object(kept.predictions.iter().filter_map(text).collect())
}

/// The branch of a batch that a prediction is made in.
fn branch(prediction: Prediction) -> Branch {
    match prediction {
        Prediction::Uncond => Branch::Uncond,
        Prediction::Part(part) => Branch::Text(part),
    }
}

fn own_tensors(sums: &Sums, kept: &AttentionRecord) -> Vec<(String, Tensor)> {
    let rows = sums
        .rows
        .iter()
        .map(|((prediction, factor), (sum, count))| (format!("{prediction}/f{factor}"), sum / (*count).max(1) as f64));
    let mut tensors: Vec<(String, Tensor)> = rows.collect();
    for told in &kept.predictions {
        for number in 0..kept.queries.len() {
            let layers = sums.queries.range((told.prediction, number, 0)..(told.prediction, number + 1, 0));
            let layers: Vec<&Tensor> = layers.map(|(_, row)| row).collect();
            if !layers.is_empty() {
                tensors.push((format!("{}/query/{number}", told.prediction), Tensor::cat(&layers, 1)));
            }
        }
    }
    tensors
}

fn misshapen(site: &Site, keys: i64) -> Error {
    let (h, w) = site.grid.unwrap_or_default();
    broken(site, &format!("lies on {h}×{w} places and has {keys} keys"))
}

/// A model that shows other probabilities than its layers promise.
fn broken(site: &Site, what: &str) -> Error {
    Error::Broken(format!("`{}` {what} at step {}: another attention than was to be recorded", site.name, site.step))
}
