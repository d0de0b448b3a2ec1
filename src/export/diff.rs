//! Two runs compared: where they part, and how far apart they are at each step.
//!
//! Enters: two runs. Leaves: a [`Report`], as data. Steps are compared by their number; where the runs have different
//! numbers of model calls, a step of the one means nothing beside the same step of the other, and only the starting
//! latents and the end are compared.

use crate::error::Result;
use crate::record::plan::Quantity;
use crate::record::schema::Status;
use crate::trace::reader::Run;
pub use crate::viz::distance::psnr;
use ndarray::{Array4, Zip};
use serde::Serialize;
use serde_json::Value;

/// How far two tensors, or two pictures, are apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Gap {
    /// Largest absolute difference over the largest absolute value of either; 0 where they are bit for bit the same,
    /// infinite where one holds a NaN or an infinity that the other does not.
    pub relative: f64,
    /// Root mean square of the difference.
    pub rms: f64,
}

impl Gap {
    /// Whether the two are the same.
    pub fn is_none(&self) -> bool {
        self.relative == 0.0
    }
}

/// One step of one run beside one of the other.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepGap {
    /// The step in the first run.
    pub step: usize,
    /// The step in the second run: the same but for the last steps of runs of different lengths.
    pub step_b: usize,
    /// The quantities that both recorded.
    pub quantities: Vec<(Quantity, Gap)>,
    /// The pictures that both decoded: what of, and the PSNR in dB, `None` where they are the same.
    pub pictures: Vec<(Quantity, Option<f64>)>,
}

/// A field in which the two records differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldGap {
    /// Its name in `run.json`: `plan.seed`.
    pub field: String,
    /// In the first run; null where it is absent.
    pub a: Value,
    /// In the second run.
    pub b: Value,
}

/// The comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What differs in plan, model and environment.
    pub fields: Vec<FieldGap>,
    /// The steps that were compared.
    pub steps: Vec<StepGap>,
    /// PSNR of the finished pictures, in dB, for each of the batch that both have; `None` where they are the same.
    pub final_pictures: Vec<Option<f64>>,
    /// What could not be compared and would have to be for the runs to count as equal.
    pub not_compared: Vec<String>,
    /// What else to know: what only one of them recorded, how latents of different scales were compared.
    pub remarks: Vec<String>,
}

impl Report {
    /// The first step at which any quantity is apart by more than `tolerance` (0: at all), and the first such quantity
    /// in the order of computation: the predictions come before the latents they lead to.
    pub fn parting(&self, tolerance: f64) -> Option<(usize, Quantity)> {
        let order = |what: &Quantity| (*what == Quantity::Latents, *what);
        self.steps.iter().find_map(|step| {
            let beyond = step.quantities.iter().filter(|(_, gap)| gap.relative > tolerance);
            beyond.map(|(what, _)| *what).min_by_key(order).map(|what| (step.step, what))
        })
    }

    /// The largest relative distance of all steps; none if no tensor was compared.
    pub fn largest(&self) -> Option<f64> {
        self.steps.iter().flat_map(|s| &s.quantities).map(|(_, gap)| gap.relative).reduce(f64::max)
    }

    /// Whether the runs are equal within a tolerance: every step could be compared and none is beyond it. Where no
    /// tensor was recorded, the pictures must be the same.
    pub fn within(&self, tolerance: f64) -> bool {
        let pictures = || {
            let all = self.steps.iter().flat_map(|s| s.pictures.iter().map(|(_, psnr)| *psnr));
            let mut all = all.chain(self.final_pictures.iter().copied()).peekable();
            all.peek().is_some() && all.all(|psnr| psnr.is_none())
        };
        self.not_compared.is_empty() && self.largest().map_or_else(pictures, |largest| largest <= tolerance)
    }
}

/// Compares two runs, all pictures of their batches.
///
/// # Errors
/// When a step or a picture is there but cannot be read.
pub fn compare(a: &Run, b: &Run) -> Result<Report> {
    let mut report = Report {
        fields: field_gaps(a, b)?,
        steps: vec![],
        final_pictures: vec![],
        not_compared: vec![],
        remarks: vec![],
    };
    for (step_a, step_b) in pairs(a, b, &mut report.not_compared)? {
        let gap = step_gap(a, b, step_a, step_b, &mut report)?;
        report.steps.push(gap);
    }
    for batch in 0..a.record().plan.batch_size.min(b.record().plan.batch_size) {
        match (a.final_picture(batch)?, b.final_picture(batch)?) {
            (Some(one), Some(other)) if one.dimensions() == other.dimensions() => {
                report.final_pictures.push(psnr(&one, &other));
            }
            (Some(one), Some(other)) => {
                let ((w, h), (v, g)) = (one.dimensions(), other.dimensions());
                note(&mut report.not_compared, format!("the finished pictures are {w}×{h} and {v}×{g}"));
            }
            _ => {}
        }
    }
    Ok(report)
}

/// The steps to compare: in the first run and in the second.
///
/// # Errors
/// When the steps cannot be listed.
pub(super) fn shared_steps(a: &Run, b: &Run) -> Result<Vec<(usize, usize)>> {
    pairs(a, b, &mut vec![])
}

/// The steps to compare, and notes on those that cannot be.
fn pairs(a: &Run, b: &Run, not_compared: &mut Vec<String>) -> Result<Vec<(usize, usize)>> {
    let (steps_a, steps_b) = (a.steps()?, b.steps()?);
    let (last_a, last_b) = (a.record().last_step(), b.record().last_step());
    let second = |run: &Run| run.record().hires.as_ref().map(|second| second.first_step);
    if (last_a, second(a)) != (last_b, second(b)) {
        let (calls_a, calls_b) = (calls(a), calls(b));
        not_compared.push(format!(
            "the runs call the model {calls_a} and {calls_b} times: only the starting latents and the end are compared"
        ));
        let mut pairs = vec![];
        for (step_a, step_b) in [(0, 0), (last_a, last_b)] {
            if steps_a.contains(&step_a) && steps_b.contains(&step_b) {
                pairs.push((step_a, step_b));
            }
        }
        return Ok(pairs);
    }
    let (common, lone): (Vec<usize>, Vec<usize>) = steps_a.iter().partition(|step| steps_b.contains(step));
    let other: Vec<usize> = steps_b.into_iter().filter(|step| !steps_a.contains(step)).collect();
    for (steps, run, without) in [(lone, a, b), (other, b, a)] {
        if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
            let range = if first == last { format!("step {first} is") } else { format!("steps {first} to {last} are") };
            let status = without.record().status;
            let status = if status == Status::Complete { String::new() } else { format!(", which is {status}") };
            not_compared.push(format!(
                "{range} in `{}` but not in `{}`{status}",
                run.name().display(),
                without.name().display()
            ));
        }
    }
    Ok(common.into_iter().map(|step| (step, step)).collect())
}

fn step_gap(a: &Run, b: &Run, step: usize, step_b: usize, report: &mut Report) -> Result<StepGap> {
    let mut gap = StepGap { step, step_b, quantities: vec![], pictures: vec![] };
    for what in Quantity::ALL {
        match (a.tensors(step, what)?, b.tensors(step_b, what)?) {
            (Some(mut one), Some(mut other)) if one.shape() == other.shape() => {
                if let Some((scale, scale_b)) = scales(a, b, (step, step_b), what) {
                    one /= scale;
                    other /= scale_b;
                    note(&mut report.remarks, "latents are compared as the model sees them, divided by √(σ² + 1) where a scheduler holds them larger".into());
                }
                gap.quantities.push((what, tensor_gap(&one, &other)));
            }
            (Some(one), Some(other)) => {
                note(&mut report.not_compared, format!("{what} is {:?} and {:?}", one.shape(), other.shape()));
            }
            (None, None) => {}
            (one, _) => {
                let run = if one.is_some() { a } else { b };
                note(&mut report.remarks, format!("{what} is recorded only in `{}`", run.name().display()));
            }
        }
    }
    for what in [Quantity::Latents, Quantity::PredictedOriginal] {
        if let (Some(one), Some(other)) = (a.picture(step, what, 0)?, b.picture(step_b, what, 0)?)
            && one.dimensions() == other.dimensions()
        {
            gap.pictures.push((what, psnr(&one, &other)));
        }
    }
    Ok(gap)
}

/// What the latents of the two runs must be divided by to be of one scale, where they are not.
pub(super) fn scales(a: &Run, b: &Run, (step, step_b): (usize, usize), what: Quantity) -> Option<(f32, f32)> {
    let scale = |run: &Run, step| run.level(step).map_or(1.0, |level| level.latent_scale as f32);
    let (scale, scale_b) = (scale(a, step), scale(b, step_b));
    (what == Quantity::Latents && scale != scale_b && scale > 0.0 && scale_b > 0.0).then_some((scale, scale_b))
}

/// Adds a line, once.
fn note(lines: &mut Vec<String>, line: String) {
    if !lines.contains(&line) {
        lines.push(line);
    }
}

/// How often the run calls the model, in each of its passes: `25`, `25 + 15`.
fn calls(run: &Run) -> String {
    let (record, all) = (run.record(), run.record().calls());
    let first = record.hires.as_ref().map(|second| second.first_step - 1);
    first.map_or(all.to_string(), |first| format!("{first} + {}", all.saturating_sub(first)))
}

/// The distance of two tensors of one shape.
fn tensor_gap(a: &Array4<f32>, b: &Array4<f32>) -> Gap {
    let (mut difference, mut value, mut squares) = (0f64, 0f64, 0f64);
    Zip::from(a).and(b).for_each(|a, b| {
        if a.to_bits() == b.to_bits() || a == b {
            value = if a.is_finite() { value.max(f64::from(a.abs())) } else { value };
            return;
        }
        let (a, b) = (f64::from(*a), f64::from(*b));
        let apart = if a.is_finite() && b.is_finite() { (a - b).abs() } else { f64::INFINITY };
        difference = difference.max(apart);
        squares += apart * apart;
        value = value.max(a.abs()).max(b.abs());
    });
    let relative = match difference {
        0.0 => 0.0,
        // An infinity over an infinity would be a NaN, which is beyond no tolerance.
        d if d.is_infinite() => d,
        d => d / value,
    };
    Gap { relative, rms: (squares / a.len().max(1) as f64).sqrt() }
}

/// The fields of plan, model and environment that differ, in the record's order.
fn field_gaps(a: &Run, b: &Run) -> Result<Vec<FieldGap>> {
    let fields = |run: &Run| -> Result<Vec<(String, Value)>> {
        let bad = |e| crate::error::Error::bad_file(run.name(), "run", e);
        let record = serde_json::to_value(run.record()).map_err(bad)?;
        let mut leaves = vec![];
        for part in ["sdviz_version", "status", "plan", "model", "environment"] {
            flatten(part, &record[part], &mut leaves);
        }
        // Why a model was chosen changes nothing.
        leaves.retain(|(name, _)| name != "model.chosen_by");
        Ok(leaves)
    };
    let (a, b) = (fields(a)?, fields(b)?);
    let find = |leaves: &[(String, Value)], name: &str| {
        leaves.iter().find(|(n, _)| n == name).map_or(Value::Null, |(_, value)| value.clone())
    };
    let names = a.iter().chain(b.iter().filter(|(n, _)| !a.iter().any(|(m, _)| m == n))).map(|(n, _)| n);
    let gaps = names.map(|name| FieldGap { field: name.clone(), a: find(&a, name), b: find(&b, name) });
    Ok(gaps.filter(|gap| gap.a != gap.b).collect())
}

/// The leaves of a JSON tree with dotted names; a list of plain values is one leaf.
fn flatten(name: &str, value: &Value, leaves: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, v)| flatten(&format!("{name}.{key}"), v, leaves)),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            for (i, item) in list.iter().enumerate() {
                let part = item["name"].as_str().map_or_else(|| i.to_string(), String::from);
                flatten(&format!("{name}.{part}"), item, leaves);
            }
        }
        leaf => leaves.push((name.to_string(), leaf.clone())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use image::RgbImage;

    fn tensor(values: &[f32]) -> Array4<f32> {
        Array4::from_shape_vec((1, 1, 1, values.len()), values.to_vec()).unwrap()
    }

    #[test]
    fn gaps_are_relative_to_the_largest_value_of_either() {
        let gap = tensor_gap(&tensor(&[1.0, -4.0, 0.5]), &tensor(&[1.0, -3.0, 0.5]));
        assert_eq!(gap.relative, 0.25);
        assert!((gap.rms - (1.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(gap, Gap { relative: 0.25, ..gap });
        let same = tensor(&[f32::NAN, 0.0, 1.0]);
        assert!(tensor_gap(&same, &same).is_none());
        assert!(tensor_gap(&tensor(&[0.0]), &tensor(&[-0.0])).is_none());
    }

    #[test]
    fn a_nan_is_infinitely_far_from_a_number() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(tensor_gap(&tensor(&[bad, 1.0]), &tensor(&[2.0, 1.0])).relative, f64::INFINITY);
            assert_eq!(tensor_gap(&tensor(&[2.0, 1.0]), &tensor(&[bad, 1.0])).relative, f64::INFINITY);
        }
    }

    #[test]
    fn psnr_follows_its_formula() {
        let grey = |v| RgbImage::from_pixel(4, 4, image::Rgb([v; 3]));
        assert_eq!(psnr(&grey(7), &grey(7)), None);
        assert!((psnr(&grey(10), &grey(20)).unwrap() - 28.130_803_608_679).abs() < 1e-9);
    }
}
