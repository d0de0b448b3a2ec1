//! Which cell stands where on a grid: two axes down and across, the others page by page, large grids on several pages.
//!
//! Enters: the record of a sweep, and what the user chose to see. Leaves: pages of places. Which of the cells are made is
//! not asked here.

use super::field::{self, MODEL, REPLACE, SCHEDULER, label};
use super::plan::Place;
use super::record::{CellRecord, SweepRecord};
use crate::error::{Error, Result};
use crate::export::settings::scheduler_name;
use serde_json::Value;

/// What the user chose to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The axis that runs down, as it was typed: a field's name or flag, a replacement's name or words. Without one, the
    /// second.
    pub rows: Option<String>,
    /// The axis that runs across; without one, the first.
    pub cols: Option<String>,
    /// Only cells with these values, `AXIS=VALUE`, as they are written on the grid.
    pub only: Vec<String>,
    /// Most columns on a page.
    pub max_cols: usize,
    /// Most rows on a page.
    pub max_rows: usize,
}

impl Default for Choice {
    fn default() -> Self {
        Choice { rows: None, cols: None, only: vec![], max_cols: 10, max_rows: 8 }
    }
}

/// One page of a grid.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// What the cells of the page have in common, apart from the prompt: `seed 1 · scheduler pndm · …`.
    pub common: String,
    /// The prompt, where all cells of the page have the same.
    pub prompt: Option<String>,
    /// The title of the axis that runs down; empty where there is none.
    pub row_title: String,
    /// The title of the axis that runs across; empty where there is none.
    pub col_title: String,
    /// The rows' values.
    pub row_labels: Vec<String>,
    /// The columns' values.
    pub col_labels: Vec<String>,
    /// The cells, row by row: their indices in the record, `None` where no cell was asked for.
    pub cells: Vec<Option<usize>>,
}

/// An axis on the grid, with the values that occur.
struct Line {
    name: Option<String>,
    title: String,
    values: Vec<Value>,
}

impl Line {
    /// No axis: one place for all.
    fn nothing() -> Line {
        Line { name: None, title: String::new(), values: vec![Value::Null] }
    }

    fn labels(&self, range: std::ops::Range<usize>) -> Vec<String> {
        let labels: Vec<String> = self.values.iter().map(label).collect();
        let shorter: Vec<String> = labels.iter().map(|text| short(text)).collect();
        let distinct = (1..shorter.len()).all(|i| !shorter[..i].contains(&shorter[i]));
        match &self.name {
            // Models are called by the last part of their paths where that tells them apart.
            Some(name) if name == MODEL && distinct => shorter[range].to_vec(),
            Some(name) if name == SCHEDULER => labels[range].iter().map(|name| scheduler_name(name)).collect(),
            Some(_) => labels[range].to_vec(),
            None => vec![String::new()],
        }
    }
}

/// The title of an axis of this sweep, or of a field that is none.
fn title<'a>(record: &'a SweepRecord, name: &'a str) -> &'a str {
    record.axes.iter().find(|axis| axis.name == name).map_or_else(|| field::title(name), |axis| axis.title())
}

/// The name of an axis as it was typed: that of a field, or a replacement's name or words.
fn axis_name(record: &SweepRecord, typed: &str) -> String {
    let words = |name: &str| name.strip_prefix(REPLACE) == Some(typed);
    let named = record.axes.iter().find(|axis| axis.title() == typed || axis.name == typed || words(&axis.name));
    match (field::field(typed), named) {
        (Some(field), _) => field.name.into(),
        (None, Some(axis)) => axis.name.clone(),
        (None, None) => format!("{REPLACE}{typed}"),
    }
}

fn unknown_axis(record: &SweepRecord, typed: &str) -> Error {
    let written = |axis: &super::plan::Axis| match field::field(&axis.name) {
        Some(field) => field.name.to_string(),
        None => axis.title().to_string(),
    };
    Error::unknown("axis", typed, record.axes.iter().map(written))
}

/// The pages of a sweep.
///
/// # Errors
/// When an axis is not one of the sweep's, when both directions are the same, or no cell is left.
pub fn pages(record: &SweepRecord, choice: &Choice) -> Result<Vec<Page>> {
    if choice.max_cols == 0 || choice.max_rows == 0 {
        return Err(Error::invalid("pages without columns or rows", "`--max-cols` and `--max-rows` are at least 1"));
    }
    let shown = shown(record, choice)?;
    let named = |typed: &Option<String>| typed.as_deref().map(|typed| axis_name(record, typed));
    let (rows, cols) = (named(&choice.rows), named(&choice.cols));
    let mut axes: Vec<(String, Vec<Value>)> = record
        .axes
        .iter()
        .map(|axis| (axis.name.clone(), values(&axis.values, &shown, &axis.name)))
        .filter(|(_, values)| values.len() > 1)
        .collect();
    for (asked, typed) in [(&rows, &choice.rows), (&cols, &choice.cols)] {
        let (Some(asked), Some(typed)) = (asked, typed) else { continue };
        if !record.axes.iter().any(|axis| axis.name == *asked) && !shown.iter().any(|(_, c)| c.at.contains_key(asked)) {
            return Err(unknown_axis(record, typed));
        }
        if !axes.iter().any(|(name, _)| name == asked) {
            axes.push((asked.clone(), values(&[], &shown, asked)));
        }
    }
    if rows.is_some() && rows == cols {
        return Err(Error::invalid("rows and columns are the same axis", "choose two axes"));
    }
    let mut take = |asked: &Option<String>, other: &Option<String>| -> Line {
        let wanted = |name: &String| match asked {
            Some(asked) => name == asked,
            None => Some(name) != other.as_ref(),
        };
        match axes.iter().position(|(name, values)| wanted(name) && (asked.is_some() || values.len() > 1)) {
            Some(i) => {
                let (name, values) = axes.remove(i);
                Line { title: title(record, &name).into(), name: Some(name), values }
            }
            None => Line::nothing(),
        }
    };
    let cols = take(&cols, &rows);
    let rows = take(&rows, &None);
    let mut pages = vec![];
    for at in combinations(&axes) {
        let here: Vec<_> =
            shown.iter().filter(|(_, c)| at.iter().all(|(n, v)| c.at.get(n).unwrap_or(&Value::Null) == v)).collect();
        if here.is_empty() {
            continue;
        }
        let here: Vec<(usize, &CellRecord)> = here.into_iter().copied().collect();
        for row in (0..rows.values.len()).step_by(choice.max_rows) {
            for col in (0..cols.values.len()).step_by(choice.max_cols) {
                let down = row..(row + choice.max_rows).min(rows.values.len());
                let across = col..(col + choice.max_cols).min(cols.values.len());
                pages.push(page(record, &here, (&rows, down), (&cols, across)));
            }
        }
    }
    Ok(pages)
}

/// The cells that are shown, with their indices.
fn shown<'a>(record: &'a SweepRecord, choice: &Choice) -> Result<Vec<(usize, &'a CellRecord)>> {
    let mut cells: Vec<(usize, &CellRecord)> = record.cells.iter().enumerate().collect();
    for text in &choice.only {
        let (axis, value) = condition(record, text)?;
        let left: Vec<_> = cells
            .iter()
            .filter(|(_, c)| c.at.get(&axis).is_some_and(|v| is_written(&axis, v, value)))
            .copied()
            .collect();
        if left.is_empty() {
            let there = values(&[], &cells, &axis);
            return Err(Error::invalid(
                format!("no cell has {} `{value}`", title(record, &axis)),
                format!("there are: {}", there.iter().map(label).collect::<Vec<_>>().join(", ")),
            ));
        }
        cells = left;
    }
    if cells.is_empty() {
        return Err(Error::invalid("the sweep has no cells", "make some with `sdviz sweep`"));
    }
    Ok(cells)
}

/// The axis and the value of `AXIS=VALUE`. Replaced words may hold a `=` themselves: the first place counts before which
/// an axis stands.
fn condition<'a>(record: &SweepRecord, text: &'a str) -> Result<(String, &'a str)> {
    let is_there = |name: &String| record.cells.iter().any(|cell| cell.at.contains_key(name));
    let parted = text.match_indices('=').map(|(at, _)| (text[..at].trim(), text[at + 1..].trim()));
    let mut known =
        parted.clone().map(|(axis, value)| (axis_name(record, axis), value)).filter(|(axis, _)| is_there(axis));
    match (known.next(), parted.clone().next()) {
        (Some(found), _) => Ok(found),
        (None, Some((axis, _))) => Err(unknown_axis(record, axis)),
        (None, None) => Err(Error::invalid(format!("`{text}` names no value"), "write `--where seed=1`")),
    }
}

/// Whether a value is what was typed: as it stands on the grid, as it is, or another way to write the same number.
fn is_written(axis: &str, value: &Value, typed: &str) -> bool {
    let text = label(value);
    let same_number = value.is_f64() && typed.parse::<f64>().ok() == value.as_f64();
    let proper = (axis == MODEL && short(&text) == typed) || (axis == SCHEDULER && scheduler_name(&text) == typed);
    text == typed || proper || value.as_str() == Some(typed) || same_number
}

/// The values of a field that occur in these cells, in the order of the axis.
fn values(order: &[Value], cells: &[(usize, &CellRecord)], name: &str) -> Vec<Value> {
    let mut there: Vec<Value> = vec![];
    for (_, cell) in cells {
        let value = cell.at.get(name).unwrap_or(&Value::Null);
        if !there.contains(value) {
            there.push(value.clone());
        }
    }
    let mut ordered: Vec<Value> = order.iter().filter(|v| there.contains(v)).cloned().collect();
    ordered.extend(there.into_iter().filter(|v| !order.contains(v)));
    ordered
}

/// Every combination of the values of the axes that are left, the first axis changing fastest; one empty combination
/// where none is left.
fn combinations(axes: &[(String, Vec<Value>)]) -> Vec<Place> {
    let mut all = vec![Place::new()];
    for (name, values) in axes {
        all = values
            .iter()
            .flat_map(|value| {
                all.iter().map(move |at| {
                    let mut at = at.clone();
                    at.insert(name.clone(), value.clone());
                    at
                })
            })
            .collect();
    }
    all
}

fn page(
    record: &SweepRecord,
    here: &[(usize, &CellRecord)],
    (rows, down): (&Line, std::ops::Range<usize>),
    (cols, across): (&Line, std::ops::Range<usize>),
) -> Page {
    let fits = |cell: &CellRecord, line: &Line, value: &Value| match &line.name {
        Some(name) => cell.at.get(name).unwrap_or(&Value::Null) == value,
        None => true,
    };
    let mut cells = vec![];
    for row in &rows.values[down.clone()] {
        for col in &cols.values[across.clone()] {
            cells.push(here.iter().find(|(_, c)| fits(c, rows, row) && fits(c, cols, col)).map(|(i, _)| *i));
        }
    }
    let (prompt, common) = common(record, here, &[&rows.name, &cols.name]);
    Page {
        common,
        prompt,
        row_title: rows.title.clone(),
        col_title: cols.title.clone(),
        row_labels: rows.labels(down),
        col_labels: cols.labels(across),
        cells,
    }
}

/// The prompt of all these cells, if it is one; and what else they have in common, in words. Settings that are switched
/// off are not mentioned.
fn common(record: &SweepRecord, cells: &[(usize, &CellRecord)], axes: &[&Option<String>]) -> (Option<String>, String) {
    let Some((_, first)) = cells.first() else { return (None, String::new()) };
    let same = |name: &str| cells.iter().all(|(_, c)| c.at.get(name) == first.at.get(name));
    let (mut prompt, mut words, mut size) = (None, vec![], [None, None]);
    for (name, value) in &first.at {
        if axes.iter().any(|axis| axis.as_deref() == Some(name)) || !same(name) {
            continue;
        }
        match name.as_str() {
            "prompt" => prompt = Some(label(value)),
            "negative_prompt" if value.as_str() == Some("") => {}
            "negative_prompt" => words.push(format!("not “{}”", label(value))),
            "eta" if value.as_f64() == Some(0.0) => {}
            "width" => size[0] = Some(label(value)),
            "height" => size[1] = Some(label(value)),
            "model" => words.push(short(&label(value))),
            "scheduler" => words.push(scheduler_name(&label(value))),
            "steps" => words.push(format!("{} steps", label(value))),
            name => words.push(format!("{} {}", title(record, name), label(value))),
        }
    }
    match size {
        [Some(width), Some(height)] => words.push(format!("{width}×{height}")),
        [Some(width), None] => words.push(format!("width {width}")),
        [None, Some(height)] => words.push(format!("height {height}")),
        [None, None] => {}
    }
    (prompt, words.join(" · "))
}

/// The last part of a model's path.
fn short(model: &str) -> String {
    model.trim_end_matches('/').rsplit('/').next().unwrap_or(model).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::sweep::plan::Axis;
    use serde_json::json;

    fn sweep() -> SweepRecord {
        let mut cells = vec![];
        for seed in 0..2 {
            for scale in [1.0, 4.0] {
                for steps in [5, 25, 50] {
                    let at = json!({ "prompt": "a cat", "steps": steps, "guidance_scale": scale, "seed": seed });
                    let at = at.as_object().unwrap().clone();
                    cells.push(CellRecord { cell: cells.len().to_string(), at, calls: steps });
                }
            }
        }
        let axis = |name: &str, values: Value| Axis::new(name, values.as_array().unwrap().clone());
        let axes = vec![
            axis("steps", json!([5, 25, 50])),
            axis("guidance_scale", json!([1.0, 4.0])),
            axis("seed", json!([0, 1])),
        ];
        SweepRecord { schema_version: 1, sdviz_version: String::new(), axes, cells }
    }

    fn indices(page: &Page) -> Vec<usize> {
        page.cells.iter().map(|c| c.unwrap()).collect()
    }

    #[test]
    fn the_third_axis_makes_pages() {
        let pages = pages(&sweep(), &Choice::default()).unwrap();
        assert_eq!(pages.len(), 2);
        assert_eq!(pages[0].col_labels, ["5", "25", "50"]);
        assert_eq!(pages[0].row_labels, ["1", "4"]);
        assert_eq!(indices(&pages[0]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(indices(&pages[1]), [6, 7, 8, 9, 10, 11]);
        assert_eq!((pages[1].common.as_str(), pages[1].prompt.as_deref()), ("seed 1", Some("a cat")));
    }

    #[test]
    fn any_two_axes_and_any_choice_of_cells() {
        let choice = Choice {
            rows: Some("steps".into()),
            cols: Some("seed".into()),
            only: vec!["guidance_scale=4".into()],
            ..Choice::default()
        };
        let pages = pages(&sweep(), &choice).unwrap();
        assert_eq!(pages.len(), 1);
        assert_eq!(indices(&pages[0]), [3, 9, 4, 10, 5, 11]);
        assert_eq!((pages[0].row_title.as_str(), pages[0].col_title.as_str()), ("steps", "seed"));
        let wrong = Choice { rows: Some("eta".into()), ..Choice::default() };
        let error = super::pages(&sweep(), &wrong).unwrap_err();
        assert_eq!(error.to_string(), "unknown axis `eta`");
        assert_eq!(error.hint().unwrap(), "one of: steps, guidance_scale, seed");
    }

    #[test]
    fn large_grids_go_on_on_further_pages() {
        let choice = Choice { max_cols: 2, max_rows: 1, only: vec!["seed=0".into()], ..Choice::default() };
        let pages = pages(&sweep(), &choice).unwrap();
        assert_eq!(pages.iter().map(|p| p.cells.len()).collect::<Vec<_>>(), [2, 1, 2, 1]);
        assert_eq!(pages[3].col_labels, ["50"]);
        assert_eq!(indices(&pages[3]), [5]);
    }

    #[test]
    fn one_axis_is_one_row() {
        let choice = Choice { only: vec!["seed=0".into(), "guidance-scale = 1.0".into()], ..Choice::default() };
        let pages = pages(&sweep(), &choice).unwrap();
        assert_eq!(pages[0].row_labels, [""]);
        assert_eq!(indices(&pages[0]), [0, 1, 2]);
        assert_eq!(pages[0].common, "guidance scale 1 · seed 0");
    }

    /// Two words that are exchanged, one with a name, in three colours and two styles.
    fn words() -> SweepRecord {
        let mut cells = vec![];
        for style in ["flat", ""] {
            for colour in ["red", "a=b", "blue"] {
                let at = json!({ "prompt": "a flat red cat", "replace:red": colour, "replace:flat": style });
                cells.push(CellRecord { cell: cells.len().to_string(), at: at.as_object().unwrap().clone(), calls: 1 });
            }
        }
        let axes = vec![
            Axis::new("replace:red", vec!["red".into(), "a=b".into(), "blue".into()]),
            Axis { title: Some("style".into()), ..Axis::new("replace:flat", vec!["flat".into(), "".into()]) },
        ];
        SweepRecord { schema_version: 1, sdviz_version: String::new(), axes, cells }
    }

    #[test]
    fn replacements_are_called_by_name_or_words() {
        let choice = |rows: &str, only: &[&str]| Choice {
            rows: Some(rows.into()),
            only: only.iter().map(ToString::to_string).collect(),
            ..Choice::default()
        };
        for rows in ["style", "flat", "replace:flat"] {
            let pages = pages(&words(), &choice(rows, &[])).unwrap();
            assert_eq!((pages[0].row_title.as_str(), pages[0].col_title.as_str()), ("style", "red"), "{rows}");
            assert_eq!(pages[0].row_labels, ["flat", "(none)"]);
        }
        for only in ["style=(none)", "style=", "flat="] {
            assert_eq!(indices(&pages(&words(), &choice("style", &[only])).unwrap()[0]), [3, 4, 5], "{only}");
        }
        let page = &pages(&words(), &choice("red", &["red=a=b"])).unwrap()[0];
        assert_eq!(indices(page), [1, 4]);
        let error = pages(&words(), &choice("red", &["colour=red"])).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.hint().unwrap().as_str()),
            ("unknown axis `colour`", "one of: red, style")
        );
        assert!(pages(&words(), &choice("red", &["red"])).unwrap_err().to_string().contains("names no value"));
    }

    #[test]
    fn a_page_without_columns_or_rows_is_refused() {
        for (max_cols, max_rows) in [(0, 1), (1, 0)] {
            assert!(pages(&sweep(), &Choice { max_cols, max_rows, ..Choice::default() }).is_err());
        }
    }

    #[test]
    fn models_are_called_by_the_last_part_of_their_paths() {
        let labels = |names: [&str; 2]| {
            let values = names.iter().map(|name| Value::from(*name)).collect();
            Line { name: Some(MODEL.into()), title: "model".into(), values }.labels(0..2)
        };
        assert_eq!(labels(["/home/a/one/", "owner/two"]), ["one", "two"]);
        assert_eq!(labels(["a/one", "b/one"]), ["a/one", "b/one"]);
    }

    #[test]
    fn schedulers_are_called_by_their_proper_names() {
        let values = vec!["euler_a".into(), "dpmpp_2m_karras".into()];
        let line = Line { name: Some(SCHEDULER.into()), title: "scheduler".into(), values };
        assert_eq!(line.labels(0..2), ["Euler a", "DPM++ 2M Karras"]);
        assert!(["euler_a", "Euler a"].iter().all(|typed| is_written(SCHEDULER, &"euler_a".into(), typed)));
    }
}
