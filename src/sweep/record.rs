//! `sweep.json`: the axes and the cells of a sweep, as data, and what happens to them when the sweep is widened.
//!
//! Enters: what a command asks for, and what the folder says already. Leaves: both together. Which cells are done is not
//! written here: that is what the cells' own folders say.

use super::field::{FIELDS, MODEL};
use super::plan::{Axis, Cell, Place};
use super::values::order;
use crate::error::{Error, IoContext, Result};
pub use crate::record::schema::SWEEP_FILE;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;

/// The version of `sweep.json` that this program writes.
pub const SWEEP_VERSION: u32 = 1;

/// What `sweep.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepRecord {
    /// The layout's version.
    pub schema_version: u32,
    /// The program that wrote it last.
    #[serde(default)]
    pub sdviz_version: String,
    /// What varies, with its values in the order of the grid.
    #[serde(default)]
    pub axes: Vec<Axis>,
    /// Every cell that was asked for, whether it is made or not.
    #[serde(default)]
    pub cells: Vec<CellRecord>,
}

/// A cell in `sweep.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellRecord {
    /// Its name: the folder `cells/NAME`.
    pub cell: String,
    /// Its value of every field.
    pub at: Place,
    /// How often the model is called for it.
    #[serde(default)]
    pub calls: usize,
}

impl SweepRecord {
    /// The record of what one command asks for.
    pub fn new(axes: &[Axis], cells: &[Cell]) -> SweepRecord {
        let record = |c: &Cell| CellRecord { cell: c.id.clone(), at: c.at.clone(), calls: c.calls };
        let mut sweep = SweepRecord {
            schema_version: SWEEP_VERSION,
            sdviz_version: env!("CARGO_PKG_VERSION").into(),
            axes: axes.to_vec(),
            cells: cells.iter().map(record).collect(),
        };
        sweep.axes = sweep.varying(axes);
        sweep
    }

    /// Reads `sweep.json`, or gives `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read, is not valid, or a newer program with another layout wrote it.
    pub fn read(dir: &Path) -> Result<Option<SweepRecord>> {
        let path = dir.join(SWEEP_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).at("read", &path),
        };
        let json: Value = serde_json::from_str(&text).map_err(|e| Error::bad_file(&path, "sweep record", e))?;
        let version = json["schema_version"].as_u64().unwrap_or(0);
        if version > SWEEP_VERSION as u64 {
            return Err(Error::invalid(
                format!("`{}` has schema version {version}, this sdviz reads up to {SWEEP_VERSION}", path.display()),
                "use the sdviz that made it, or a newer one",
            ));
        }
        serde_json::from_value(json).map(Some).map_err(|e| Error::bad_file(&path, "sweep record", e))
    }

    /// This sweep with another's cells added. Where both have a cell at the same place, the other's is the one that
    /// counts. Gives the number of cells that were taken over in this way by ones of another name.
    pub fn widen(&mut self, other: &SweepRecord) -> usize {
        let mut replaced = 0;
        let places: std::collections::HashMap<String, usize> =
            self.cells.iter().enumerate().map(|(i, c)| (key(&c.at), i)).collect();
        for cell in &other.cells {
            match places.get(&key(&cell.at)) {
                Some(&i) => {
                    replaced += usize::from(self.cells[i].cell != cell.cell);
                    self.cells[i] = cell.clone();
                }
                None => self.cells.push(cell.clone()),
            }
        }
        let mut axes = self.axes.clone();
        for axis in &other.axes {
            match axes.iter_mut().find(|a| a.name == axis.name) {
                Some(known) => {
                    known.values = merged(&known.values, &axis.values);
                    known.title = axis.title.clone().or(known.title.take());
                }
                None => axes.push(axis.clone()),
            }
        }
        self.axes = self.varying(&axes);
        self.schema_version = SWEEP_VERSION;
        self.sdviz_version = other.sdviz_version.clone();
        replaced
    }

    /// The axes along which the cells differ: those of `known` in their order, then the table's; all values that occur,
    /// the known ones in their order.
    fn varying(&self, known: &[Axis]) -> Vec<Axis> {
        let mut axes: Vec<Axis> = known.to_vec();
        for field in FIELDS {
            if !axes.iter().any(|a| a.name == field.name) && !self.follows_model(field.name) {
                axes.push(Axis::new(field.name, vec![]));
            }
        }
        for axis in &mut axes {
            let (mut there, mut seen) = (vec![], HashSet::new());
            for cell in &self.cells {
                let value = cell.at.get(&axis.name).unwrap_or(&Value::Null);
                if seen.insert(value.to_string()) {
                    there.push(value.clone());
                }
            }
            axis.values.retain(|v| seen.contains(&v.to_string()));
            axis.values = merged(&axis.values, &there);
        }
        axes.retain(|a| a.values.len() > 1);
        axes
    }

    /// Whether a field has one value for each model: a size, a scheduler or a guidance scale that was left to the models is
    /// no axis.
    fn follows_model(&self, name: &str) -> bool {
        let mut of_model = std::collections::HashMap::new();
        ["width", "height", "scheduler", "guidance_scale"].contains(&name)
            && self.cells.iter().all(|cell| {
                let value = cell.at.get(name);
                let model = cell.at.get(MODEL).and_then(Value::as_str);
                *of_model.entry(model).or_insert(value) == value
            })
    }
}

fn key(at: &Place) -> String {
    let mut pairs: Vec<_> = at.iter().filter(|(_, value)| !value.is_null()).collect();
    pairs.sort_by_key(|(name, _)| name.as_str());
    format!("{pairs:?}")
}

/// The known values, then the new ones; where both rise, the new ones go where they belong.
fn merged(known: &[Value], new: &[Value]) -> Vec<Value> {
    let texts: HashSet<String> = known.iter().map(Value::to_string).collect();
    let fresh: Vec<Value> = new.iter().filter(|v| !texts.contains(&v.to_string())).cloned().collect();
    let rises =
        |list: &[Value]| list.iter().all(Value::is_number) && list.windows(2).all(|w| order(&w[0], &w[1]).is_le());
    let belong = !known.is_empty() && rises(known) && rises(&fresh);
    let mut all = [known, &fresh].concat();
    if belong {
        all.sort_by(order);
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use serde_json::json;

    fn sweep(axes: &[(&str, &[u64])], cells: &[(&str, u64, u64)]) -> SweepRecord {
        let cell = |(id, steps, seed): &(&str, u64, u64)| CellRecord {
            cell: id.to_string(),
            at: json!({ "steps": steps, "seed": seed }).as_object().unwrap().clone(),
            calls: *steps as usize,
        };
        let axes = axes.iter().map(|(name, v)| Axis::new(*name, v.iter().map(|n| json!(n)).collect()));
        SweepRecord {
            schema_version: 1,
            sdviz_version: String::new(),
            axes: axes.collect(),
            cells: cells.iter().map(cell).collect(),
        }
    }

    #[test]
    fn widening_adds_values_where_they_belong() {
        let mut wide = sweep(&[("steps", &[5, 50])], &[("a", 5, 0), ("b", 50, 0)]);
        assert_eq!(wide.widen(&sweep(&[("steps", &[25, 50])], &[("c", 25, 0), ("b", 50, 0)])), 0);
        assert_eq!(wide.axes, sweep(&[("steps", &[5, 25, 50])], &[]).axes);
        assert_eq!(wide.cells.len(), 3);
        // One value more, which is no axis by itself.
        wide.widen(&sweep(&[], &[("d", 10, 0)]));
        assert_eq!(wide.axes, sweep(&[("steps", &[5, 10, 25, 50])], &[]).axes);
    }

    #[test]
    fn large_seeds_keep_their_order_and_an_axis_its_newest_name() {
        const LARGE: u64 = 1 << 53;
        let mut wide = sweep(&[("seed", &[LARGE, LARGE + 2])], &[("a", 5, LARGE), ("b", 5, LARGE + 2)]);
        wide.axes[0].title = Some("old".into());
        let mut other = sweep(&[("seed", &[LARGE + 1])], &[("c", 5, LARGE + 1)]);
        other.axes[0].title = Some("new".into());
        wide.widen(&other);
        let json: SweepRecord = serde_json::from_str(&serde_json::to_string(&wide).unwrap()).unwrap();
        let values: Vec<u64> = json.axes[0].values.iter().map(|v| v.as_u64().unwrap()).collect();
        assert_eq!(values, [LARGE, LARGE + 1, LARGE + 2]);
        assert_eq!(json.axes[0].title(), "new");
    }

    #[test]
    fn a_field_in_which_cells_come_to_differ_becomes_an_axis() {
        let mut wide = sweep(&[("steps", &[50, 5])], &[("a", 50, 0), ("b", 5, 0)]);
        wide.widen(&sweep(&[("steps", &[50, 5])], &[("c", 50, 7), ("d", 5, 7)]));
        assert_eq!(wide.axes, sweep(&[("steps", &[50, 5]), ("seed", &[0, 7])], &[]).axes);
    }

    #[test]
    fn a_size_that_is_left_to_the_models_is_no_axis() {
        let mut models = sweep(&[], &[("a", 5, 0), ("b", 5, 0), ("c", 5, 0)]);
        for (cell, (model, width)) in models.cells.iter_mut().zip([("m", 64), ("n", 128), ("n", 128)]) {
            cell.at.extend([("model".to_string(), json!(model)), ("width".to_string(), json!(width))]);
        }
        let names = |sweep: &SweepRecord| -> Vec<String> { sweep.varying(&[]).into_iter().map(|a| a.name).collect() };
        assert_eq!(names(&models), ["model"]);
        models.cells[2].at["width"] = json!(256);
        assert_eq!(names(&models), ["width", "model"]);
    }

    #[test]
    fn the_newer_cell_of_a_place_counts() {
        let mut wide = sweep(&[], &[("a", 5, 0)]);
        assert_eq!(wide.widen(&sweep(&[], &[("b", 5, 0)])), 1);
        assert_eq!((wide.cells.len(), wide.cells[0].cell.as_str()), (1, "b"));
        assert!(wide.axes.is_empty());
    }
}
