//! Pictures as a data set in Hugging Face's imagefolder layout: what `load_dataset("imagefolder", data_dir=…)` reads, and
//! what a data set on the hub is made of.
//!
//! Enters: a run, or rows of others. Leaves: `imagefolder/images/`, the recorded PNGs byte for byte; `metadata.jsonl`, a
//! line a picture with all that it was made with; `README.md` with the head that the hub reads. Of a run the rows are the
//! decoded latents and predictions of each step and the finished pictures, of all its batch.

use super::{Outputs, asked, words};
use crate::error::{Error, IoContext, Result};
use crate::record::plan::Quantity;
use crate::record::schema::{self, RunRecord};
use crate::trace::reader::Run;
use crate::units::count;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The folder of the data set.
pub const FOLDER: &str = "imagefolder";
/// The list of the pictures.
pub const METADATA_FILE: &str = "metadata.jsonl";
/// The folder of the pictures.
pub const IMAGES_FOLDER: &str = "images";
/// Characters of a prompt in the title.
const TITLE: usize = 60;

/// A row: the names and values of its columns.
pub type Row = Map<String, Value>;

/// The data set of a run, for the registry.
///
/// # Errors
/// [`Error::NotRecorded`] when it has no picture; when one cannot be read or a file not be written.
pub fn export(run: &Run, outputs: &mut Outputs) -> Result<()> {
    let record = run.record();
    let mut set = DataSet::default();
    for batch in 0..asked::batch_items(run)? {
        for step in asked::pictured_steps(run, batch)? {
            for what in Quantity::PICTURED {
                let Some(png) = run.picture_file(step, what, batch)? else { continue };
                let name = schema::picture_file(step, what, batch);
                let name = name.rsplit('/').next().unwrap_or(&name);
                set.add(outputs, name, &png, step_row(run, step, what, batch))?;
            }
        }
        if let Some(png) = run.final_file(batch)? {
            set.add(outputs, &schema::final_file(batch), &png, final_row(record, batch))?;
        }
    }
    if set.rows.is_empty() {
        // Says which flags it takes.
        words::pictured(run, Quantity::Latents, 0)?;
    }
    let prompt = super::settings::shortened(&record.plan.prompt, TITLE);
    let title = if prompt.is_empty() { "A picture, step by step".into() } else { format!("{prompt}, step by step") };
    let about = "The steps of a Stable Diffusion run as pictures. `kind` says what a picture shows: `latents`, the \
                 latents after a step, decoded; `predicted_original`, the clean picture that the model call of a step \
                 predicts, decoded; `final`, the finished picture. `timestep`, `sigma` and `alpha_cumprod` are the noise \
                 level of the latents; of a prediction, that at which it was made.";
    set.finish(outputs, &title, about)?;
    let last = run.steps()?.last().and_then(|last| words::unfinished(run, *last));
    last.into_iter().for_each(|note| outputs.remark(note));
    Ok(())
}

/// What is said of the decoded picture of a step.
fn step_row(run: &Run, step: usize, what: Quantity, batch: usize) -> Row {
    let record = run.record();
    let entered = if what == Quantity::Latents { Some(step) } else { step.checked_sub(1) };
    let level = entered.and_then(|step| run.level(step));
    let mut row = place(what.key(), step, batch);
    row.insert("timestep".into(), json!(level.and_then(|level| level.timestep)));
    row.insert("sigma".into(), json!(level.map(|level| level.sigma)));
    row.insert("alpha_cumprod".into(), json!(level.map(|level| level.alpha_cumprod)));
    if record.hires.is_some() {
        row.insert("pass".into(), json!(record.pass(step)));
    }
    let preview = record.previewed(step, what).is_some();
    row.insert("decoder".into(), json!(if preview { words::PREVIEW_DECODER } else { "vae" }));
    row.extend(asked::settings(record, batch));
    row
}

/// What is said of a finished picture.
fn final_row(record: &RunRecord, batch: usize) -> Row {
    let level = record.schedule.last();
    let mut row = place("final", record.last_step(), batch);
    row.insert("timestep".into(), Value::Null);
    row.insert("sigma".into(), json!(level.map(|level| level.sigma)));
    row.insert("alpha_cumprod".into(), json!(level.map(|level| level.alpha_cumprod)));
    if record.hires.is_some() {
        row.insert("pass".into(), json!(record.pass(record.last_step())));
    }
    row.insert("decoder".into(), json!("vae"));
    row.extend(asked::settings(record, batch));
    row
}

fn place(kind: &str, step: usize, batch: usize) -> Row {
    let fields = [("kind", json!(kind)), ("step", json!(step)), ("batch_item", json!(batch))];
    fields.map(|(name, value)| (name.to_string(), value)).into_iter().collect()
}

/// A data set that grows by a picture at a time.
#[derive(Debug, Default)]
pub struct DataSet {
    rows: Vec<Row>,
    names: BTreeSet<String>,
}

impl DataSet {
    /// Adds a picture, `images/NAME`, and its row, to which name and size are added. A picture that is there already is
    /// not written again.
    ///
    /// # Errors
    /// Names the file.
    pub fn add(&mut self, outputs: &mut Outputs, name: &str, png: &[u8], row: Row) -> Result<()> {
        let name = format!("{IMAGES_FOLDER}/{name}");
        if self.names.insert(name.clone()) {
            outputs.write(&format!("{FOLDER}/{name}"), png)?;
        }
        let (width, height) = asked::png_size(png).unwrap_or_default();
        let head = [("file_name", json!(name)), ("width", json!(width)), ("height", json!(height))];
        self.rows.push(head.map(|(name, value)| (name.to_string(), value)).into_iter().chain(row).collect());
        Ok(())
    }

    /// Writes the list and the README, and removes pictures that an older list named and this one does not: what the list
    /// does not know would be a picture without a row.
    ///
    /// # Errors
    /// Names the file.
    pub fn finish(mut self, outputs: &mut Outputs, title: &str, about: &str) -> Result<()> {
        self.align();
        let name = format!("{FOLDER}/{METADATA_FILE}");
        let path = outputs.path(&name)?;
        let older = listed(&path);
        let line =
            |row: &Row| serde_json::to_string(row).map(|line| line + "\n").map_err(|e| Error::Broken(e.to_string()));
        let lines = self.rows.iter().map(line).collect::<Result<String>>()?;
        outputs.write(&name, lines.as_bytes())?;
        outputs.write(&format!("{FOLDER}/README.md"), self.readme(title, about).as_bytes())?;
        let gone = older.into_iter().filter(|older| !self.names.contains(older));
        for picture in gone.map(|older| path.with_file_name(older)).filter(|picture| picture.is_file()) {
            std::fs::remove_file(&picture).at("remove", &picture)?;
        }
        Ok(())
    }

    /// Gives all rows the same columns in the same order, with null where one has none, and a column that holds a fraction
    /// fractions throughout, one that holds a text texts: a column of Arrow has one type.
    fn align(&mut self) {
        let mut columns: Vec<String> = vec![];
        for name in self.rows.iter().flat_map(|row| row.keys()) {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        let one_type = |name: &String| {
            let values = || self.rows.iter().filter_map(|row| row.get(name));
            (values().any(Value::is_string), values().any(Value::is_f64))
        };
        let types: Vec<(bool, bool)> = columns.iter().map(one_type).collect();
        for row in &mut self.rows {
            let mut value = |(name, (texts, fractions)): (&String, &(bool, bool))| {
                let value = match row.get_mut(name).map(Value::take).unwrap_or_default() {
                    Value::Number(number) if *texts => json!(number.to_string()),
                    Value::Number(number) if *fractions => json!(number.as_f64()),
                    value => value,
                };
                (name.clone(), value)
            };
            *row = columns.iter().zip(&types).map(&mut value).collect();
        }
    }

    fn readme(&self, title: &str, about: &str) -> String {
        let size = match self.rows.len() {
            0..1_000 => "n<1K",
            1_000..10_000 => "1K<n<10K",
            10_000..100_000 => "10K<n<100K",
            _ => "100K<n<1M",
        };
        // No `configs`: two data sets with the same would be one to the library's cache.
        let column = |name: &String| if name == "file_name" { "`image`".into() } else { format!("`{name}`") };
        let columns = self.rows.first().into_iter().flat_map(Map::keys).map(column).collect::<Vec<_>>().join(", ");
        // What JSON writes between quotes YAML reads.
        let quoted = Value::from(title).to_string();
        let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
        format!(
            "---\npretty_name: {quoted}\ntask_categories:\n- text-to-image\ntags:\n- stable-diffusion\n- sdviz\n\
             size_categories:\n- {size}\n---\n\n# {title}\n\n{about}\n\n{}, made with sdviz {}. Columns: {columns}.\n\n\
             ```python\nfrom datasets import load_dataset\nrows = load_dataset(\"imagefolder\", data_dir=\".\", split=\"train\")\n\
             ```\n\nNo licence is stated: add `license:` to the head, as the model's licence allows.\n",
            count(self.rows.len(), "picture"),
            env!("CARGO_PKG_VERSION"),
        )
    }
}

/// The pictures that a list names, as far as they are ones that [`DataSet::add`] can have written.
fn listed(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let name = |line: &str| Some(serde_json::from_str::<Row>(line).ok()?.get("file_name")?.as_str()?.to_string());
    let ours = |name: &String| {
        name.strip_prefix(IMAGES_FOLDER).and_then(|rest| rest.strip_prefix('/')).is_some_and(|file| {
            file.ends_with(".png") && file.bytes().all(|b| b.is_ascii_alphanumeric() || [b'-', b'.'].contains(&b))
        })
    };
    text.lines().filter_map(name).filter(ours).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn row(text: &str) -> Row {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_column_has_one_type() {
        let rows = vec![row(r#"{"a": 1, "b": "x"}"#), row(r#"{"b": 2, "a": 0.5, "c": 3}"#)];
        let mut set = DataSet { rows, ..DataSet::default() };
        set.align();
        let lines: Vec<String> = set.rows.iter().map(|row| json!(row).to_string()).collect();
        assert_eq!(lines, [r#"{"a":1.0,"b":"x","c":null}"#, r#"{"a":0.5,"b":"2","c":3}"#]);
    }

    #[test]
    fn only_own_pictures_of_an_older_list_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(METADATA_FILE);
        let names = ["images/007-x0.png", "images/../../thesis.png", "/etc/passwd", "images/a/b.png", "other/1.png"];
        let lines: String = names.iter().map(|name| format!("{}\n", json!({ "file_name": name }))).collect();
        std::fs::write(&path, lines + "half a li").unwrap();
        assert_eq!(listed(&path), ["images/007-x0.png"]);
    }
}
