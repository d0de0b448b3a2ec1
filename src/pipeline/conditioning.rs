//! What the model is told at each step: embeddings of texts, in the order of the predictions, and their weights.
//!
//! Enters: the texts of a run as ids and token weights, and which of them holds when. Leaves: for each step one tensor,
//! the negative prompt's embeddings first. A plain prompt holds for all steps and counts once.

use super::guidance;
use crate::error::{Error, Result};
use crate::model::text_encoder::TextEncoder;
use crate::model::tokenizer::Tokenizer;
use crate::prompt::conditions;
use crate::record::conditions::{Conditions, Phase, PromptPart, PromptSyntax, Text, WeightedToken, at};
use crate::record::plan::Plan;
use crate::record::schema::RunRecord;
use crate::watch::probe::Probe;
use crate::watch::site::{Axes, Branch, Rows};
use tch::{Device, Kind, Tensor};

/// The mean of a chunk that is worth restoring, in standard deviations. CLIP's is about a tenth.
const LEAST_MEAN: f64 = 0.001;

/// What has to be encoded for a run.
#[derive(Debug)]
pub struct TextRequest {
    /// What makes the embeddings what they are.
    pub key: Key,
    /// The ids of each chunk of each text, the first text's first: all with the same number of chunks.
    ids: Vec<Vec<i64>>,
    /// The weights of the same places.
    weights: Vec<Vec<f32>>,
    /// Up to which step which texts hold, by their place among the texts: the negative prompt's, then the prompt's parts.
    phases: Vec<(usize, Vec<usize>)>,
    /// How much each part of the prompt counts.
    parts: Vec<f64>,
    guidance_scale: Option<f64>,
}

/// Texts, how they are read, how many windows each fills, and which layer their embeddings are taken from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    texts: Vec<String>,
    syntax: PromptSyntax,
    chunks: usize,
    clip_skip: usize,
}

impl TextRequest {
    /// For a run, from its record.
    ///
    /// # Errors
    /// When the tokenizer refuses a prompt.
    pub fn of(record: &RunRecord, tokenizer: &Tokenizer) -> Result<TextRequest> {
        match &record.conditions {
            None => TextRequest::plain(&guidance::as_predicted(record), tokenizer),
            Some(conditions) => Ok(TextRequest::composed(&guidance::as_predicted(record), conditions, tokenizer)),
        }
    }

    /// How many windows each text fills.
    pub fn chunks(&self) -> usize {
        self.key.chunks
    }

    /// Whether there is a prediction with the negative prompt.
    pub fn is_guided(&self) -> bool {
        self.guidance_scale.is_some()
    }

    /// The negative prompt, where there is guidance, and the prompt.
    fn plain(plan: &Plan, tokenizer: &Tokenizer) -> Result<TextRequest> {
        let guidance_scale = (plan.guidance_scale > 1.0).then_some(plan.guidance_scale);
        let negative = guidance_scale.map(|_| plan.negative_prompt.clone());
        let texts: Vec<String> = negative.into_iter().chain([plan.prompt.clone()]).collect();
        let ids = texts.iter().map(|text| Ok(tokenizer.encode(text)?.ids)).collect::<Result<_>>()?;
        Ok(TextRequest {
            ids,
            weights: vec![],
            phases: vec![(usize::MAX, (0..texts.len()).collect())],
            parts: vec![1.0],
            guidance_scale,
            key: Key { texts, syntax: PromptSyntax::Plain, chunks: 1, clip_skip: plan.clip_skip },
        })
    }

    /// The texts of a scheduled and composed prompt. Parts that do not simply count once are weighed against the negative
    /// prompt, so they need it whatever the guidance scale.
    fn composed(plan: &Plan, conditions: &Conditions, tokenizer: &Tokenizer) -> TextRequest {
        let parts: Vec<f64> = conditions.prompt.iter().map(|part| part.weight).collect();
        let guided = plan.guidance_scale > 1.0 || parts != [1.0];
        let negative = guided.then_some(&conditions.negative_prompt);
        let schedules: Vec<_> = negative.into_iter().chain(conditions.prompt.iter().map(|p| &p.schedule)).collect();

        let mut ends: Vec<usize> = schedules.iter().flat_map(|s| s.iter().map(|phase| phase.until)).collect();
        ends.sort_unstable();
        ends.dedup();
        let mut used: Vec<usize> = vec![];
        let mut place = |text: usize| {
            used.iter().position(|known| *known == text).unwrap_or_else(|| {
                used.push(text);
                used.len() - 1
            })
        };
        let phases = ends.iter().map(|end| (*end, schedules.iter().map(|s| place(at(s, *end))).collect())).collect();

        let chunks = used.iter().map(|text| conditions.texts[*text].chunks.len()).max().unwrap_or(1);
        let (mut ids, mut weights) = (vec![], vec![]);
        for text in &used {
            for index in 0..chunks {
                let chunk = conditions.texts[*text].chunks.get(index).map_or(&[][..], Vec::as_slice);
                ids.push(tokenizer.places(chunk.iter().map(|token| token.id)));
                weights.push(place_weights(chunk, tokenizer.window()));
            }
        }
        let texts = used.iter().map(|text| conditions.texts[*text].text.clone()).collect();
        let key = Key { texts, syntax: plan.prompt_syntax, chunks, clip_skip: plan.clip_skip };
        TextRequest { key, ids, weights, phases, parts, guidance_scale: guided.then_some(plan.guidance_scale.max(1.0)) }
    }

    /// For one text by itself, read as the run's prompts are and as long as they are: what an edit has the model told.
    ///
    /// # Errors
    /// When the tokenizer refuses it, or it is longer than the run's prompts.
    pub fn alone(record: &RunRecord, text: &str, tokenizer: &Tokenizer) -> Result<TextRequest> {
        let plan = Plan { prompt: text.into(), guidance_scale: 1.0, ..record.plan.clone() };
        let Some(run) = &record.conditions else { return TextRequest::plain(&plan, tokenizer) };
        let mut conditions = conditions::read(tokenizer, text, "", record.last_step())?;
        let chunks = run.chunks();
        let first = at(&conditions.prompt[0].schedule, 1);
        let mut only = conditions.texts.swap_remove(first);
        if only.chunks.len() > chunks {
            return Err(Error::invalid(
                format!("`{text}` fills {} windows, the run's prompts fill {chunks}", only.chunks.len()),
                "make it shorter, or the run's own prompt longer",
            ));
        }
        only.chunks.resize(chunks, vec![]);
        Ok(TextRequest::of_text(&plan, only, tokenizer))
    }

    /// For one text whose tokens are known, by itself.
    pub fn of_text(plan: &Plan, text: Text, tokenizer: &Tokenizer) -> TextRequest {
        let plan = Plan { guidance_scale: 1.0, ..plan.clone() };
        let prompt = vec![PromptPart { weight: 1.0, schedule: vec![Phase { until: usize::MAX, text: 0 }] }];
        let alone = Conditions { texts: vec![text], prompt, negative_prompt: vec![] };
        TextRequest::composed(&plan, &alone, tokenizer)
    }

    /// Encodes the texts, in one batch: `[texts, chunks·window, width]`, in the encoder's dtype.
    ///
    /// # Errors
    /// An observer's.
    pub fn encode(&self, encoder: &TextEncoder, device: Device, probe: &Probe) -> Result<Tensor> {
        let rows: Vec<Tensor> = self.ids.iter().map(|ids| Tensor::from_slice(ids)).collect();
        let ids = Tensor::stack(&rows, 0).to_device(device);
        probe.set_rows(self.rows());
        probe.see("tokens", Axes::Prompts, &ids)?;
        let mut embeddings = encoder.forward_skipping(&ids, self.key.clip_skip, probe)?;
        if self.weights.iter().flatten().any(|weight| *weight != 1.0) {
            let rows: Vec<Tensor> = self.weights.iter().map(|row| Tensor::from_slice(row)).collect();
            let weights = Tensor::stack(&rows, 0).to_device(device);
            probe.see("token_weights", Axes::Prompts, &weights)?;
            embeddings = weighted(&embeddings, &weights);
            probe.see("weighted_embeddings", Axes::Prompts, &embeddings)?;
        }
        if self.key.chunks == 1 {
            return Ok(embeddings);
        }
        let (_, _, width) = embeddings.size3()?;
        Ok(embeddings.reshape([self.key.texts.len() as i64, -1, width]))
    }

    /// Whose the rows are that are encoded: those of the predictions, where each has one text for the whole run.
    fn rows(&self) -> Rows {
        let branches = branches(self.guidance_scale, &self.parts);
        let in_order = branches.len() == self.key.texts.len();
        match &self.phases[..] {
            [(_, places)] if in_order && places.iter().enumerate().all(|(index, place)| index == *place) => {
                Rows { branches, ..Rows::plain(self.key.chunks as i64) }
            }
            _ => Rows::plain(self.ids.len() as i64),
        }
    }

    /// Puts the embeddings of the texts in order for a batch of pictures.
    ///
    /// # Errors
    /// An observer's.
    pub fn arrange(self, texts: &Tensor, batch: usize, probe: &Probe) -> Result<Conditioning> {
        let branches = branches(self.guidance_scale, &self.parts);
        probe.set_rows(Rows { branches, ..Rows::plain(batch as i64) });
        let all: Vec<usize> = (0..self.key.texts.len()).collect();
        let mut arranged: Vec<(Vec<usize>, Tensor)> = vec![];
        let mut phases = vec![];
        for (until, places) in self.phases {
            let known = arranged.iter().find(|(of, _)| *of == places).map(|(_, tensor)| tensor.shallow_clone());
            let tensor = known.unwrap_or_else(|| {
                let order: Vec<i64> = places.iter().map(|place| *place as i64).collect();
                let order = || Tensor::from_slice(&order).to_device(texts.device());
                let rows = if places == all { texts.shallow_clone() } else { texts.index_select(0, &order()) };
                rows.repeat_interleave_self_int(batch as i64, 0, None)
            });
            if phases.is_empty() {
                probe.see("text_embeddings", Axes::Text, &tensor)?;
            }
            arranged.push((places, tensor.shallow_clone()));
            phases.push((until, tensor));
        }
        Ok(Conditioning { phases, parts: self.parts, ..Conditioning::guided(self.guidance_scale) })
    }
}

/// The weights of a chunk's places: 1 for begin-of-text, end-of-text and padding.
fn place_weights(chunk: &[WeightedToken], window: usize) -> Vec<f32> {
    let mut weights: Vec<f32> = [1.0].into_iter().chain(chunk.iter().map(|token| token.weight as f32)).collect();
    weights.resize(window, 1.0);
    weights
}

/// Embeddings `[chunks, tokens, width]` times the weights of their tokens `[chunks, tokens]`, then brought back to the mean
/// that each chunk had: without that, the whole prompt would grow with the weights. Where that mean is no more than
/// rounding beside the spread of the embeddings, their ratio says nothing and may be anything: then it is left alone.
pub fn weighted(embeddings: &Tensor, weights: &Tensor) -> Tensor {
    let mean = |z: &Tensor| z.mean_dim([1i64, 2].as_slice(), true, Kind::Float);
    let z = embeddings.to_kind(Kind::Float);
    let heavier = &z * weights.unsqueeze(-1);
    let restored = &heavier * (mean(&z) / mean(&heavier));
    let meant = mean(&z).abs().ge_tensor(&(z.std_dim([1i64, 2].as_slice(), false, true) * LEAST_MEAN));
    let changed = restored.where_self(&meant, &heavier);
    // A chunk without weights stays as it is, to the last bit.
    let untouched = weights.eq(1.0).all_dim(1, false).view([-1, 1, 1]);
    z.where_self(&untouched, &changed).to_kind(embeddings.kind())
}

fn branches(guidance_scale: Option<f64>, parts: &[f64]) -> Vec<Branch> {
    let uncond = guidance_scale.map(|_| Branch::Uncond);
    uncond.into_iter().chain((0..parts.len()).map(Branch::Text)).collect()
}

/// What the model is told, step by step.
#[derive(Debug)]
pub struct Conditioning {
    /// Up to which step which embeddings hold, `[predictions·batch, tokens, width]`: with guidance the negative prompt's
    /// first, then those of each part of the prompt.
    phases: Vec<(usize, Tensor)>,
    parts: Vec<f64>,
    guidance_scale: Option<f64>,
    /// The guidance scale that the model is told, where it is one that takes it.
    pub embedded: Option<f64>,
    /// How far the guided prediction is brought back to its deviation.
    pub rescale: f64,
}

impl Conditioning {
    fn guided(guidance_scale: Option<f64>) -> Conditioning {
        Conditioning { phases: vec![], parts: vec![1.0], guidance_scale, embedded: None, rescale: 0.0 }
    }

    /// With what a run asks for beside the scale, and what its model is told.
    pub fn told_by(self, record: &RunRecord) -> Conditioning {
        let embedded = guidance::embedded(&record.model, &record.plan);
        Conditioning { embedded, rescale: record.plan.guidance_rescale, ..self }
    }

    /// The same embeddings at every step: with a guidance scale the negative prompts' first, then the prompts', each of
    /// which counts once.
    pub fn unchanging(text: Tensor, guidance_scale: Option<f64>) -> Conditioning {
        Conditioning { phases: vec![(usize::MAX, text)], ..Conditioning::guided(guidance_scale) }
    }

    /// The embeddings at a step, counted from 1.
    pub fn at(&self, step: usize) -> &Tensor {
        let index = self.phases.iter().position(|(until, _)| step <= *until).unwrap_or(self.phases.len() - 1);
        &self.phases[index].1
    }

    /// How far to go beyond the prediction without the prompt towards the one with it; none for no guidance.
    pub fn guidance_scale(&self) -> Option<f64> {
        self.guidance_scale
    }

    /// The predictions that a step takes, in their order: with guidance one without the prompt, and one for each part of
    /// it.
    pub fn branches(&self) -> Vec<Branch> {
        branches(self.guidance_scale, &self.parts)
    }

    /// The predictions for the parts as one: each counts by how far it leads away from `uncond`, times its weight
    /// (composable diffusion). A single part of weight 1 is itself.
    pub fn joined(&self, uncond: &Tensor, parts: &[Tensor]) -> Tensor {
        if self.parts == [1.0] {
            return parts[0].shallow_clone();
        }
        let away = self.parts.iter().zip(parts).map(|(weight, part)| *weight * (part - uncond));
        away.fold(uncond.shallow_clone(), |sum, part| sum + part)
    }
}
