//! Which cell stands where on a grid: two axes down and across, the others page by page, large grids on several pages.
//!
//! Enters: the record of a sweep, and what the user chose to see. Leaves: pages of places. Which of the cells are made is
//! not asked here.

use super::field::{label, title};
use super::plan::Place;
use super::record::{CellRecord, SweepRecord};
use crate::error::{Error, Result};
use serde_json::Value;

/// What the user chose to see.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The axis that runs down; without one, the second.
    pub rows: Option<String>,
    /// The axis that runs across; without one, the first.
    pub cols: Option<String>,
    /// Only cells with these values, as they are written on the grid.
    pub only: Vec<(String, String)>,
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
    values: Vec<Value>,
}

impl Line {
    fn title(&self) -> String {
        self.name.as_deref().map(title).unwrap_or_default().into()
    }

    fn labels(&self, range: std::ops::Range<usize>) -> Vec<String> {
        match self.name {
            Some(_) => self.values[range].iter().map(label).collect(),
            None => vec![String::new()],
        }
    }
}

/// The pages of a sweep.
///
/// # Errors
/// When an axis is not one of the sweep's, when both directions are the same, or no cell is left.
pub fn pages(record: &SweepRecord, choice: &Choice) -> Result<Vec<Page>> {
    let shown = shown(record, choice)?;
    let mut axes: Vec<(String, Vec<Value>)> = record
        .axes
        .iter()
        .map(|axis| (axis.name.clone(), values(&axis.values, &shown, &axis.name)))
        .filter(|(_, values)| values.len() > 1)
        .collect();
    for asked in [&choice.rows, &choice.cols].into_iter().flatten() {
        let known: Vec<&str> = record.axes.iter().map(|a| a.name.as_str()).collect();
        let value = shown.first().and_then(|(_, c)| c.at.get(asked));
        if value.is_none() && !known.contains(&asked.as_str()) {
            return Err(Error::unknown("axis", title(asked), known.iter().map(|name| title(name).replace(' ', "_"))));
        }
        if !axes.iter().any(|(name, _)| name == asked) {
            axes.push((asked.clone(), values(&[], &shown, asked)));
        }
    }
    if choice.rows.is_some() && choice.rows == choice.cols {
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
                Line { name: Some(name), values }
            }
            None => Line { name: None, values: vec![Value::Null] },
        }
    };
    let cols = take(&choice.cols, &choice.rows);
    let rows = take(&choice.rows, &None);
    let mut pages = vec![];
    for at in combinations(&axes) {
        let here: Vec<_> =
            shown.iter().filter(|(_, c)| at.iter().all(|(n, v)| c.at.get(n).unwrap_or(&Value::Null) == v)).collect();
        if here.is_empty() {
            continue;
        }
        let here: Vec<(usize, &CellRecord)> = here.into_iter().copied().collect();
        for row in (0..rows.values.len()).step_by(choice.max_rows.max(1)) {
            for col in (0..cols.values.len()).step_by(choice.max_cols.max(1)) {
                let down = row..(row + choice.max_rows.max(1)).min(rows.values.len());
                let across = col..(col + choice.max_cols.max(1)).min(cols.values.len());
                pages.push(page(&here, (&rows, down), (&cols, across)));
            }
        }
    }
    Ok(pages)
}

/// The cells that are shown, with their indices.
fn shown<'a>(record: &'a SweepRecord, choice: &Choice) -> Result<Vec<(usize, &'a CellRecord)>> {
    let mut cells: Vec<(usize, &CellRecord)> = record.cells.iter().enumerate().collect();
    for (axis, value) in &choice.only {
        let labels = |cells: &[(usize, &CellRecord)]| {
            let mut labels: Vec<String> = vec![];
            for (_, cell) in cells {
                let label = label(cell.at.get(axis).unwrap_or(&Value::Null));
                if !labels.contains(&label) {
                    labels.push(label);
                }
            }
            labels
        };
        let left: Vec<_> =
            cells.iter().filter(|(_, c)| c.at.get(axis).is_some_and(|v| label(v) == *value)).copied().collect();
        if left.is_empty() {
            return Err(Error::invalid(
                format!("no cell has {} `{value}`", title(axis)),
                format!("there are: {}", labels(&cells).join(", ")),
            ));
        }
        cells = left;
    }
    if cells.is_empty() {
        return Err(Error::invalid("the sweep has no cells", "make some with `sdviz sweep`"));
    }
    Ok(cells)
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
    let (prompt, common) = common(here, &[&rows.name, &cols.name]);
    Page {
        common,
        prompt,
        row_title: rows.title(),
        col_title: cols.title(),
        row_labels: rows.labels(down),
        col_labels: cols.labels(across),
        cells,
    }
}

/// The prompt of all these cells, if it is one; and what else they have in common, in words. Settings that are switched
/// off are not mentioned.
fn common(cells: &[(usize, &CellRecord)], axes: &[&Option<String>]) -> (Option<String>, String) {
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
            "negative_prompt" => words.push(format!("without “{}”", label(value))),
            "eta" if value.as_f64() == Some(0.0) => {}
            "width" => size[0] = Some(label(value)),
            "height" => size[1] = Some(label(value)),
            "model" => words.push(short(&label(value))),
            "scheduler" => words.push(label(value)),
            "steps" => words.push(format!("{} steps", label(value))),
            name => words.push(format!("{} {}", title(name), label(value))),
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
        let axis = |name: &str, values: Value| Axis { name: name.into(), values: values.as_array().unwrap().clone() };
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
            only: vec![("guidance_scale".into(), "4".into())],
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
        let choice = Choice { max_cols: 2, max_rows: 1, only: vec![("seed".into(), "0".into())], ..Choice::default() };
        let pages = pages(&sweep(), &choice).unwrap();
        assert_eq!(pages.iter().map(|p| p.cells.len()).collect::<Vec<_>>(), [2, 1, 2, 1]);
        assert_eq!(pages[3].col_labels, ["50"]);
        assert_eq!(indices(&pages[3]), [5]);
    }

    #[test]
    fn one_axis_is_one_row() {
        let choice = Choice {
            only: vec![("seed".into(), "0".into()), ("guidance_scale".into(), "1".into())],
            ..Choice::default()
        };
        let pages = pages(&sweep(), &choice).unwrap();
        assert_eq!(pages[0].row_labels, [""]);
        assert_eq!(indices(&pages[0]), [0, 1, 2]);
        assert_eq!(pages[0].common, "guidance scale 1 · seed 0");
    }
}
