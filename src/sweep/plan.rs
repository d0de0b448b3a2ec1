//! From axes to cells: the product of the axes' values, checked whole against the models before the first is made.
//!
//! Enters: axes, and a plan for what they leave open. Leaves: drafts, and with a loaded model cells: complete plans, each
//! under a hash of everything that shapes its picture.

pub use super::axis::Axis;
use super::field::{self, MODEL, REPLACE};
use super::identity::Identity;
use super::replace::exchange;
use crate::error::{Error, Result};
use crate::pipeline::Pipeline;
use crate::pipeline::init_image::InitImage;
use crate::prompt::compose;
use crate::record::conditions::PromptSyntax;
use crate::record::plan::{Decode, Plan, Quantity};
use serde_json::{Map, Value};

/// More cells than this are taken for a slip of the finger.
const MOST_CELLS: usize = 100_000;

/// Where a cell stands: a value for every field that can be an axis, and for every replacement.
pub type Place = Map<String, Value>;

/// A cell before the model has had its say: sizes that were not given are 0, a scheduler that was not given is empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// The model as it was named, if it was.
    pub model: Option<String>,
    /// The plan.
    pub plan: Plan,
    /// The axes' values.
    pub at: Place,
}

/// A cell, ready to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Its name: a hash of plan and model.
    pub id: String,
    /// The model as it was named, if it was.
    pub model: Option<String>,
    /// The plan with every setting as it will take effect.
    pub plan: Plan,
    /// Where it stands.
    pub at: Place,
    /// Calls of the model, each of which predicts twice in one batch when there is guidance.
    pub calls: usize,
}

/// The product of the axes, the first axis changing fastest, on top of `base`.
///
/// # Errors
/// When there are too many, or words to replace stand in no prompt.
pub fn drafts(axes: &[Axis], base: &Plan) -> Result<Vec<Draft>> {
    let count = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.values.len()));
    let Some(count) = count.filter(|n| *n <= MOST_CELLS) else {
        return Err(Error::invalid(
            format!("a sweep of more than {MOST_CELLS} cells"),
            "give an axis fewer values, or make several sweeps",
        ));
    };
    (0..count).map(|index| draft(axes, base, index)).collect()
}

fn draft(axes: &[Axis], base: &Plan, mut index: usize) -> Result<Draft> {
    let mut json = serde_json::to_value(base).map_err(|e| unreadable(&e))?;
    let (mut at, mut model) = (Place::new(), None);
    for axis in axes {
        let value = &axis.values[index % axis.values.len()];
        index /= axis.values.len();
        at.insert(axis.name.clone(), value.clone());
        match axis.name.as_str() {
            MODEL => model = value.as_str().map(String::from),
            name if name.starts_with(REPLACE) => {}
            name => json[name] = value.clone(),
        }
    }
    let mut plan: Plan = serde_json::from_value(json).map_err(|e| unreadable(&e))?;
    // The place keeps the prompts as they were written, the plan has them as they are drawn.
    at.insert("prompt".into(), plan.prompt.clone().into());
    at.insert("negative_prompt".into(), plan.negative_prompt.clone().into());
    exchange_words(&mut plan, &at)?;
    Ok(Draft { model, plan, at })
}

/// Puts the values of the replacements at this place into the prompts, all at once.
fn exchange_words(plan: &mut Plan, at: &Place) -> Result<()> {
    let pairs: Vec<(&str, &str)> = at
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(REPLACE)?, value.as_str().unwrap_or_default())))
        .collect();
    let mut used = vec![false; pairs.len()];
    let prompt = exchange(&plan.prompt, &pairs, &mut used);
    let negative_prompt = exchange(&plan.negative_prompt, &pairs, &mut used);
    if let Some(((words, _), _)) = pairs.iter().zip(&used).find(|(_, used)| !**used) {
        let other = pairs.iter().map(|(other, _)| other).find(|o| o.len() > words.len() && o.contains(words));
        return Err(
            match other.filter(|other| plan.prompt.contains(**other) || plan.negative_prompt.contains(**other)) {
                Some(other) => Error::invalid(
                    format!(
                        "`{words}` stands in the prompt `{}` only inside of `{other}`, which is replaced too",
                        plan.prompt
                    ),
                    "replace words that do not overlap",
                ),
                None => Error::invalid(
                    format!("`{words}` does not stand in the prompt `{}`", plan.prompt),
                    "`--replace` exchanges words of the prompt: write them as they stand there",
                ),
            },
        );
    }
    (plan.prompt, plan.negative_prompt) = (prompt, negative_prompt);
    Ok(())
}

fn unreadable(error: &serde_json::Error) -> Error {
    Error::Invalid { message: format!("a value does not fit its field: {error}"), hint: None }
}

impl Draft {
    /// The cell this draft becomes with its model and the picture it begins from: checked, completed, named.
    ///
    /// # Errors
    /// When the plan cannot be carried out with this model.
    pub fn complete(&self, pipeline: &Pipeline, init: Option<&InitImage>, identity: &Identity) -> Result<Cell> {
        let mut plan = self.plan.clone();
        if let Some(init) = init {
            (plan.width, plan.height) = init.size(plan.width, plan.height, pipeline.model().vae_scale_factor);
        }
        pipeline.complete(&mut plan)?;
        if !self.at.contains_key("guidance_scale") {
            plan.guidance_scale = pipeline.guidance_scale();
        }
        if !self.at.contains_key("steps") {
            plan.steps = pipeline.steps();
        }
        let (record, _) = pipeline.plan(&plan)?;
        let id = identity.name(&record.plan, &record.model);
        let mut at = self.place(&record.plan, &record.model.id)?;
        at.retain(|_, value| !value.is_null());
        Ok(Cell { id, model: self.model.clone(), calls: record.schedule.len() - 1, plan: record.plan, at })
    }

    /// The same, with every step decoded: the latents, and beside them what the model predicts.
    pub fn decoding_all(&self) -> Draft {
        let decode_what = Quantity::PICTURED.to_vec();
        Draft { plan: Plan { decode: Decode::Every(1), decode_what, ..self.plan.clone() }, ..self.clone() }
    }

    /// The value of every field, in the table's order, then the replacements'.
    fn place(&self, plan: &Plan, model: &str) -> Result<Place> {
        let json = serde_json::to_value(plan).map_err(|e| unreadable(&e))?;
        let mut place = Place::new();
        for field in field::FIELDS {
            let own = if field.name == MODEL { model.into() } else { json[field.name].clone() };
            // A plan leaves out some fields that have their usual value, and says more of edits than was asked.
            let asked = self
                .at
                .get(field.name)
                .filter(|_| ["prompt", "negative_prompt", "edits"].contains(&field.name) || own.is_null());
            place.insert(field.name.into(), asked.cloned().unwrap_or(own));
        }
        place.extend(self.at.iter().filter(|(name, _)| name.starts_with(REPLACE)).map(|(n, v)| (n.clone(), v.clone())));
        Ok(place)
    }
}

impl Cell {
    /// Predictions that each call makes: with guidance two, and one more for each further part that `AND` joins.
    pub fn predictions(&self) -> usize {
        let parts = match self.plan.prompt_syntax {
            PromptSyntax::Plain => 1,
            PromptSyntax::A1111 => compose::parse(&self.plan.prompt).len(),
        };
        parts + usize::from(self.plan.guidance_scale > 1.0 || parts > 1)
    }

    /// What tells this cell from the others: `steps 25, guidance scale 7.5`.
    pub fn name(&self, axes: &[Axis]) -> String {
        name(&self.at, axes)
    }
}

/// A place in words: `steps 25, guidance scale 7.5`; of replaced words `red → green`.
pub fn name(at: &Place, axes: &[Axis]) -> String {
    let word = |axis: &Axis| {
        // What replaces words is no value of something that they name.
        let arrow = if axis.name.starts_with(REPLACE) && axis.title.is_none() { "→ " } else { "" };
        format!("{} {arrow}{}", axis.title(), field::label(at.get(&axis.name).unwrap_or(&Value::Null)))
    };
    let words: Vec<String> = axes.iter().map(word).collect();
    if words.is_empty() { "the one cell".into() } else { words.join(", ") }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::sweep::replace::replacement;

    fn axis(name: &str, values: Vec<Value>) -> Axis {
        Axis::new(name, values)
    }

    #[test]
    fn the_first_axis_changes_fastest() {
        let axes = [axis("steps", vec![5.into(), 25.into()]), axis("guidance_scale", vec![1.0.into(), 4.0.into()])];
        let drafts = drafts(&axes, &Plan::default()).unwrap();
        let settings: Vec<_> = drafts.iter().map(|d| (d.plan.steps, d.plan.guidance_scale)).collect();
        assert_eq!(settings, [(5, 1.0), (25, 1.0), (5, 4.0), (25, 4.0)]);
    }

    #[test]
    fn replacements_change_the_prompt_and_keep_its_template() {
        let base = Plan { prompt: "a cat on a mat".into(), ..Plan::default() };
        let replace = |typed: &[&str]| -> Vec<Axis> {
            typed.iter().map(|text| replacement(text, &[&base.prompt]).unwrap()).collect()
        };
        let drafts = |typed: &[&str]| super::drafts(&replace(typed), &base);
        let prompts = |typed: &[&str]| -> Vec<String> {
            drafts(typed).unwrap().into_iter().map(|draft| draft.plan.prompt).collect()
        };
        let two = drafts(&["cat=cat,dog"]).unwrap();
        assert_eq!(two[1].plan.prompt, "a dog on a mat");
        assert_eq!(two[1].at["prompt"], "a cat on a mat");
        assert_eq!(two[1].at["replace:cat"], "dog");
        assert_eq!(prompts(&["animal:cat=cat,", "mat=mat,cat"])[1..], ["a on a mat", "a cat on a cat", "a on a cat"]);
        // Two axes that exchange words do not find each other's.
        assert_eq!(prompts(&["cat=mat", "mat=cat"]), ["a mat on a cat"]);
        let refused = |typed: &[&str]| drafts(typed).unwrap_err().to_string();
        assert_eq!(refused(&["cow=cow,dog"]), "`cow` does not stand in the prompt `a cat on a mat`");
        assert!(refused(&["cat=dog", "a cat=the cat"]).contains("only inside of `a cat`"), "overlapping");
    }

    #[test]
    fn too_many_cells_are_refused_before_they_are_made() {
        let many: Vec<Value> = (0..1000).map(Value::from).collect();
        let axes = [axis("seed", many.clone()), axis("steps", many)];
        assert!(drafts(&axes, &Plan::default()).unwrap_err().to_string().contains("more than 100000 cells"));
    }
}
