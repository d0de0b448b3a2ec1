//! What a run will keep of its attention: from what was asked for to layers, sizes and columns, before anything is
//! computed.

use super::conditioning::TextRequest;
use super::load::Pipeline;
use crate::error::{Error, Result};
use crate::model::attention::AttentionLayer;
use crate::prompt::columns::Columns;
use crate::record::attention::{
    AttendedText, Attending, AttentionPlan, AttentionRecord, Detail, Layer, Prediction, side,
};
use crate::record::conditions::Phase;
use crate::record::schema::RunRecord;

/// What the heads of each step of a small model may take on disk where nobody asked for them.
const MOST_UNASKED: usize = 50_000_000;

/// Whether what was asked for means anything.
///
/// # Errors
/// When a place does not lie on the picture.
pub fn check(asked: &AttentionPlan) -> Result<()> {
    match asked.queries.iter().find(|query| !query.iter().all(|x| (0.0..=1.0).contains(x))) {
        Some([x, y]) => Err(Error::invalid(
            format!("the place {x},{y} does not lie on the picture"),
            "give x and y from 0 to 1, from the upper left corner: `--query 0.5,0.5` is the middle",
        )),
        None => Ok(()),
    }
}

impl Pipeline {
    /// Puts into a record what its run keeps of attention, and into its plan what was left to the model.
    ///
    /// # Errors
    /// As [`check`]; when the tokenizer refuses a prompt.
    pub(super) fn resolve_attention(&self, record: &mut RunRecord) -> Result<()> {
        let Some(asked) = record.plan.attention.clone() else { return Ok(()) };
        check(&asked)?;
        let request = TextRequest::of(record, &self.tokenizer)?;
        let factor = self.model.vae_scale_factor;
        let latents = |width: usize, height: usize| [height / factor, width / factor];
        let first = latents(record.plan.width, record.plan.height);
        let all = self.unet.attention_layers();
        let layers = |site: fn(&AttentionLayer) -> &String| {
            let layer = |of: &AttentionLayer| {
                let [h, w] = first.map(|latents| side(latents, of.factor));
                Layer { site: site(of).clone(), factor: of.factor, heads: of.heads, h, w }
            };
            all.iter().map(layer).collect::<Vec<_>>()
        };
        let own = asked.own || !asked.queries.is_empty();
        let (predictions, texts) = self.attending(record, &asked, &request)?;
        let mut kept = AttentionRecord {
            detail: asked.detail.unwrap_or_default(),
            latents: first,
            second_latents: record.hires.as_ref().map(|second| latents(second.width, second.height)),
            predictions,
            texts,
            layers: layers(|layer| &layer.cross),
            self_layers: if own { layers(|layer| &layer.own) } else { vec![] },
            own: asked.own,
            queries: asked.queries.clone(),
        };
        if asked.detail.is_none() && self.is_small() {
            let detailed = AttentionRecord { detail: Detail::HeadsPerStep, ..kept.clone() };
            if attention_bytes(&detailed, record) <= MOST_UNASKED {
                kept = detailed;
            }
        }
        record.plan.attention = Some(AttentionPlan { detail: Some(kept.detail), ..asked });
        record.attention = Some(kept);
        Ok(())
    }

    /// The predictions that are kept, and the texts that they are told.
    fn attending(
        &self,
        record: &RunRecord,
        asked: &AttentionPlan,
        request: &TextRequest,
    ) -> Result<(Vec<Attending>, Vec<AttendedText>)> {
        let columns = Columns { tokenizer: &self.tokenizer, chunks: request.chunks(), all: asked.all_tokens };
        let plan = &record.plan;
        let guided = request.is_guided().then_some(Prediction::Uncond);
        let mut predictions: Vec<(Prediction, Vec<Phase>)> = vec![];
        // By their place among the conditions' texts, or of a plain run 0 for the prompt and 1 for the negative one.
        match &record.conditions {
            Some(all) => {
                let parts = all.prompt.iter().enumerate();
                predictions.extend(parts.map(|(i, part)| (Prediction::Part(i), part.schedule.clone())));
                predictions.extend(guided.map(|uncond| (uncond, all.negative_prompt.clone())));
            }
            None => {
                let always = |text| vec![Phase { until: record.last_step(), text }];
                predictions.push((Prediction::TEXT, always(0)));
                predictions.extend(guided.map(|uncond| (uncond, always(1))));
            }
        }
        predictions.retain(|(prediction, _)| asked.all_branches || *prediction == Prediction::TEXT);
        let (mut known, mut texts): (Vec<usize>, Vec<AttendedText>) = (vec![], vec![]);
        for phase in predictions.iter_mut().flat_map(|(_, schedule)| schedule) {
            let place = known.iter().position(|text| *text == phase.text);
            if place.is_none() {
                known.push(phase.text);
                texts.push(match &record.conditions {
                    Some(all) => columns.weighted(&all.texts[phase.text])?,
                    None => columns.plain(if phase.text == 0 { &plan.prompt } else { &plan.negative_prompt })?,
                });
            }
            phase.text = place.unwrap_or(texts.len() - 1);
        }
        let attending = |(prediction, schedule)| Attending { prediction, schedule };
        Ok((predictions.into_iter().map(attending).collect(), texts))
    }
}

/// What the files of a run's attention will take on disk, in bytes.
pub fn attention_bytes(kept: &AttentionRecord, record: &RunRecord) -> usize {
    let begins = |step: usize| record.hires.as_ref().is_some_and(|second| second.first_step == step);
    let steps = (1..=record.last_step()).filter(|step| !begins(*step));
    let steps: Vec<(usize, usize)> = steps.map(|step| (step, record.pass(step))).collect();
    kept.bytes(record.plan.batch_size, &steps)
}
