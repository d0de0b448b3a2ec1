//! A sweep as a data set: the finished picture of each cell, with the axes as columns, in Hugging Face's imagefolder layout.
//!
//! Enters: a sweep directory. Leaves: `imagefolder/` in its `exports/`, as [`crate::export::imagefolder`] writes it.

use super::field::{self, MODEL};
use super::plan::Axis;
use super::record::{CellRecord, SweepRecord};
use super::store::{State, Store};
use crate::error::{Error, Result};
use crate::export::imagefolder::{DataSet, Row};
use crate::export::{Outputs, asked};
use crate::record::schema::batch_suffix;
use crate::trace::reader::Run;
use crate::units::count;
use serde_json::Value;

/// Writes the data set of what is made of a sweep so far.
///
/// # Errors
/// [`Error::NotRecorded`] when no cell has a finished picture; when a cell cannot be read or a file not be written.
pub fn export(store: &Store, record: &SweepRecord, outputs: &mut Outputs) -> Result<()> {
    let (mut set, mut made) = (DataSet::default(), 0);
    for cell in &record.cells {
        if store.state(&cell.cell) != State::Complete {
            continue;
        }
        let run = Run::open(store.cell(&cell.cell))?;
        let mut pictured = false;
        for batch in 0..asked::batch_items(&run)? {
            let Some(png) = run.final_file(batch)? else { continue };
            pictured = true;
            let name = format!("{}{}.png", cell.cell, batch_suffix(batch));
            set.add(outputs, &name, &png, row(&record.axes, cell, &run, batch))?;
        }
        made += usize::from(pictured);
    }
    let dir = store.dir().display();
    if made == 0 {
        return Err(Error::NotRecorded {
            message: format!("`{dir}` has no finished picture yet"),
            hint: format!(
                "`sdviz sweep --status {dir}` says how far it is; `--decode final` decodes the finished pictures"
            ),
        });
    }
    if made < record.cells.len() {
        outputs.remark(format!("{made} of {} have a finished picture", count(record.cells.len(), "cell")));
    }
    let axes: Vec<&str> = record.axes.iter().map(Axis::title).collect();
    let title = if axes.is_empty() { "A sweep".into() } else { format!("A sweep over {}", axes.join(", ")) };
    let about =
        "Stable Diffusion pictures made with every combination of some settings, each a row with all of its own.";
    set.finish(outputs, &title, about)
}

/// What is said of a cell's picture: its settings, its axes where those do not say it already, its name.
fn row(axes: &[Axis], cell: &CellRecord, run: &Run, batch: usize) -> Row {
    let mut row = asked::settings(run.record(), batch);
    // The settings have these under diffusers' names, and the pictures' sizes.
    let said = |name: &str| ["steps", "width", "height", MODEL].contains(&name);
    for axis in axes.iter().filter(|axis| !said(&axis.name)) {
        let column = if field::field(&axis.name).is_some() { &axis.name } else { axis.title() };
        let value = match cell.at.get(&axis.name) {
            Some(value @ (Value::Array(_) | Value::Object(_))) => field::label(value).into(),
            Some(value) => value.clone(),
            None => Value::Null,
        };
        if !row.contains_key(column) {
            row.insert(column.into(), value);
        }
    }
    row.insert("cell".into(), cell.cell.clone().into());
    row
}
