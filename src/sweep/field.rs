//! What can be an axis: the one table of the fields of a plan that a sweep can vary.
//!
//! A new axis is one entry here: its flag, the reading of its values, its place in `sweep.json` and its title on a grid
//! all come from it. The name is that of the field in [`crate::record::plan::Plan`]; `model` alone stands beside the
//! plan.

use super::values;
use crate::edit::Edit;
use crate::error::{Error, Result};
use crate::pipeline::start;
use crate::record::conditions::PromptSyntax;
use crate::record::edits::PlannedEdit;
use crate::record::sigmas::Sigmas;
use crate::scheduler::SchedulerKind;
use serde_json::Value;

/// A field that can be an axis.
#[derive(Debug)]
pub struct Field {
    /// Its name in the plan and in `sweep.json`.
    pub name: &'static str,
    /// Its flag, without the dashes before it.
    pub flag: &'static str,
    /// Its title on a grid.
    pub title: &'static str,
    /// The flag's letter.
    pub short: Option<char>,
    /// Other names of the flag.
    pub aliases: &'static [&'static str],
    /// How the flag's value is called in the help.
    pub value_name: &'static str,
    /// What the help says.
    pub help: &'static str,
    /// Reads the text of one flag: the values it names, each known to mean something.
    pub values: fn(&str) -> Result<Vec<Value>>,
}

/// Every field that can be an axis, in the order of the help.
pub const FIELDS: &[Field] = &[
    Field {
        name: "prompt",
        flag: "prompt",
        title: "prompt",
        short: Some('p'),
        aliases: &[],
        value_name: "TEXT",
        help: "What to draw; repeat the flag for several prompts [default: that of the newest run here, with its settings]",
        values: |text| Ok(vec![text.into()]),
    },
    Field {
        name: "negative_prompt",
        flag: "negative-prompt",
        title: "negative prompt",
        short: Some('n'),
        aliases: &[],
        value_name: "TEXT",
        help: "What to stay away from; repeat the flag for several",
        values: |text| Ok(vec![text.into()]),
    },
    Field {
        name: "prompt_syntax",
        flag: "prompt-syntax",
        title: "prompt syntax",
        short: None,
        aliases: &[],
        value_name: "NAMES",
        help: "How the prompts are read: plain, a1111 [default: plain]",
        values: |text| {
            let known = |name: &String| name.parse::<PromptSyntax>().map(|syntax| Value::from(syntax.name()));
            values::split(text)?.iter().map(known).collect()
        },
    },
    Field {
        name: "clip_skip",
        flag: "clip-skip",
        title: "clip skip",
        short: None,
        aliases: &[],
        value_name: "LIST",
        help: "Layers of the text encoder to take the embeddings from, 1 the last [default: 1]",
        values: values::integers,
    },
    Field {
        name: "steps",
        flag: "steps",
        title: "steps",
        short: None,
        aliases: &["num-inference-steps"],
        value_name: "LIST",
        help: "Steps: `25`, `5,25,50`, `5-50 (+15)`, `5-50 [4]` [default: the model's own, else 25]",
        values: |text| {
            let values = values::integers(text)?;
            if values.contains(&0.into()) {
                return Err(Error::invalid("0 steps make no picture", "ask for at least one: `--steps 25` is usual"));
            }
            Ok(values)
        },
    },
    Field {
        name: "guidance_scale",
        flag: "guidance-scale",
        title: "guidance scale",
        short: Some('g'),
        aliases: &["cfg-scale", "cfg"],
        value_name: "LIST",
        help: "How strongly to follow the prompt; 1 switches guidance off [default: the model's own, else 7.5]",
        values: values::numbers,
    },
    Field {
        name: "seed",
        flag: "seed",
        title: "seed",
        short: Some('s'),
        aliases: &[],
        value_name: "LIST",
        help: "Seeds of the noise [default: 0]",
        values: seeds,
    },
    Field {
        name: "scheduler",
        flag: "scheduler",
        title: "scheduler",
        short: None,
        aliases: &["sampling-method"],
        value_name: "NAMES",
        help: "Schedulers, see `sdviz schedulers` [default: the model's own]",
        values: |text| {
            let known = |name: &String| SchedulerKind::parse(name).map(|kind| Value::from(kind.name()));
            values::split(text)?.iter().map(known).collect()
        },
    },
    Field {
        name: "eta",
        flag: "eta",
        title: "eta",
        short: None,
        aliases: &[],
        value_name: "LIST",
        help: "DDIM's eta, or TCD's: 0 adds no noise, 1 as much as DDPM [default: 0]",
        values: values::numbers,
    },
    Field {
        name: "sigmas",
        flag: "sigmas",
        title: "sigmas",
        short: None,
        aliases: &[],
        value_name: "NAMES",
        help: "Where the noise levels lie: karras, exponential, beta, sgm_uniform, simple, normal [default: as the model has them]",
        values: |text| {
            let known = |name: &String| name.parse::<Sigmas>().map(|sigmas| Value::from(sigmas.name()));
            values::split(text)?.iter().map(known).collect()
        },
    },
    Field {
        name: "guidance_rescale",
        flag: "guidance-rescale",
        title: "guidance rescale",
        short: None,
        aliases: &[],
        value_name: "LIST",
        help: "Shares of the guided prediction to bring back to the deviation of the one with the prompt [default: 0]",
        values: values::numbers,
    },
    Field {
        name: "strength",
        flag: "strength",
        title: "strength",
        short: None,
        aliases: &["denoising-strength"],
        value_name: "LIST",
        help: "How far to go from the picture after `--init-image`, above 0 and up to 1 [default: 0.75]",
        values: |text| {
            let values = values::numbers(text)?;
            values.iter().filter_map(Value::as_f64).try_for_each(start::check_strength)?;
            Ok(values)
        },
    },
    Field {
        name: "edits",
        flag: "edit",
        title: "edit",
        short: None,
        aliases: &[],
        value_name: "LIST",
        help: "What is changed on the way, `;` between values and ` + ` between edits of one value; an empty value changes nothing",
        values: edits,
    },
    Field {
        name: "width",
        flag: "width",
        title: "width",
        short: Some('W'),
        aliases: &[],
        value_name: "LIST",
        help: "Width in pixels [default: the model's own]",
        values: size,
    },
    Field {
        name: "height",
        flag: "height",
        title: "height",
        short: Some('H'),
        aliases: &[],
        value_name: "LIST",
        help: "Height in pixels [default: the model's own]",
        values: size,
    },
    Field {
        name: MODEL,
        flag: "model",
        title: "model",
        short: Some('m'),
        aliases: &[],
        value_name: "NAMES",
        help: "Models: folders in diffusers' layout, `owner/name`, `pocket` [default: $SDVIZ_MODEL, else pocket]",
        values: values::names,
    },
];

/// The field that stands beside the plan.
pub const MODEL: &str = "model";
/// The field whose values have proper names on a grid.
pub const SCHEDULER: &str = "scheduler";

/// What the name of a replacement's axis begins with, before the words it replaces.
pub const REPLACE: &str = "replace:";

/// A seed that is drawn would be another one each time, and the same command could not go on with a sweep.
fn seeds(text: &str) -> Result<Vec<Value>> {
    if let Some(drawn) = values::split(text)?.iter().find(|part| ["-1", "random"].contains(&part.as_str())) {
        return Err(Error::invalid(
            format!("`{drawn}` is no seed of a sweep: it would be another one each time the sweep goes on"),
            "name the seeds: `--seed 1-4`; `sdviz trace --seed random` draws one and says it",
        ));
    }
    values::integers(text)
}

/// Values of the axis of edits: each one edit, several, or none.
fn edits(text: &str) -> Result<Vec<Value>> {
    let value = |text: &str| {
        let edits = PlannedEdit::of_text(text);
        edits.iter().try_for_each(|edit| edit.edit.parse::<Edit>().map(drop))?;
        Ok(PlannedEdit::as_text(&edits).into())
    };
    PlannedEdit::parts(text, ";").iter().map(|part| value(part)).collect()
}

fn size(text: &str) -> Result<Vec<Value>> {
    let values = values::integers(text)?;
    if values.contains(&0.into()) {
        return Err(Error::invalid("a picture of 0 pixels", "512 is usual"));
    }
    Ok(values)
}

/// The field of a name as it stands in `sweep.json` or on the command line.
pub fn field(name: &str) -> Option<&'static Field> {
    FIELDS.iter().find(|f| f.name == name || f.flag == name)
}

/// An axis' title: `guidance scale`, or the words that are replaced.
pub fn title(axis: &str) -> &str {
    match axis.strip_prefix(REPLACE) {
        Some(words) => words,
        None => FIELDS.iter().find(|f| f.name == axis).map_or(axis, |f| f.title),
    }
}

/// A value as people read it: `7.5`, `4`, `euler_a`; `–` where there is none.
pub fn label(value: &Value) -> String {
    match value {
        Value::Null => "–".into(),
        Value::String(text) if text.is_empty() => "(none)".into(),
        Value::String(text) => text.clone(),
        Value::Number(n) => match n.as_f64() {
            Some(x) if n.is_f64() && (x == 0.0 || (1e-4..1e7).contains(&x.abs())) => x.to_string(),
            Some(x) if n.is_f64() => format!("{x:e}"),
            _ => n.to_string(),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::record::plan::Plan;

    #[test]
    fn every_field_but_the_model_is_one_of_the_plan() {
        // Values that are not the usual ones, for those are left out.
        let edits = vec![PlannedEdit::asked("zero mid")];
        let syntax = PromptSyntax::A1111;
        let plan = Plan { prompt_syntax: syntax, clip_skip: 2, strength: Some(0.5), edits, ..Plan::default() };
        let plan = Plan { sigmas: Some(Sigmas::Karras), guidance_rescale: 0.7, ..plan };
        let plan = serde_json::to_value(plan).unwrap();
        for field in FIELDS.iter().filter(|f| f.name != MODEL) {
            assert!(plan.get(field.name).is_some(), "{}", field.name);
        }
    }

    #[test]
    fn values_are_written_as_people_write_them() {
        let written: Vec<_> = [4.0.into(), 7.5.into(), 1e38.into(), 25.into(), "euler".into(), Value::Null, "".into()]
            .iter()
            .map(label)
            .collect();
        assert_eq!(written, ["4", "7.5", "1e38", "25", "euler", "–", "(none)"]);
    }

    #[test]
    fn an_unknown_scheduler_is_named_with_the_nearest() {
        let error = (field("scheduler").unwrap().values)("euler,dimm").unwrap_err().to_string();
        assert_eq!(error, "unknown scheduler `dimm`; did you mean `ddim`?");
    }
}
