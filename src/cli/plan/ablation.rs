//! An ablation as it was typed, made into the values of one axis of a sweep: sites, or heads, times windows of steps.
//!
//! Enters: the flags and the sites of a model. Leaves: the edits, each with its place in the table.

use crate::edit::Edit;
use crate::edit::selector::Steps;
use crate::edit::site::{self, KnownSite, Role};
use crate::error::{Error, Result};

/// More rows than these are taken for a slip of the finger.
const MOST_ROWS: usize = 2_000;

/// What is changed and when: each row of the table times each column.
#[derive(Debug, Clone, PartialEq)]
pub struct Ablation {
    /// The rows' titles, and the edit of each without its steps.
    pub rows: Vec<(String, String)>,
    /// The windows of steps as an edit names them, `1-5` or `0-20%`; `all` for all.
    pub windows: Vec<String>,
}

impl Ablation {
    /// Of what was typed, with a model's sites.
    ///
    /// # Errors
    /// When operation or windows cannot be read, or no site fits.
    pub fn new(pattern: &str, op: &str, windows: &str, heads: bool, sites: &[KnownSite]) -> Result<Ablation> {
        let (name, keys) = op.trim().split_once(' ').unwrap_or((op.trim(), ""));
        let written = |site: &str, more: &str| {
            let parts = [name, site, keys.trim(), more];
            parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
        };
        let edit: Edit = written(pattern, if heads { "heads=0" } else { "" }).parse()?;
        if edit.at.steps != Steps::All {
            return Err(Error::invalid("the operation names steps", "the windows do: `--windows 1-5,6-15,16-25`"));
        }
        let found = site::targets(&edit, sites)?;
        let changed = found.iter().filter(|(_, role)| *role != Role::Keep).map(|(name, _)| name.as_str());
        let mut rows = vec![];
        for site in changed {
            let Some(known) = sites.iter().find(|known| known.name == site).filter(|_| heads) else {
                rows.push((short(site), written(site, "")));
                continue;
            };
            let count = known.layout().heads.map_or(0, |dim| known.shape[dim]);
            rows.extend(
                (0..count)
                    .map(|head| (format!("{} head {head}", short(site)), written(site, &format!("heads={head}")))),
            );
        }
        if rows.len() > MOST_ROWS {
            let message = format!("`{pattern}` names {} sites, and each is a run for every window", rows.len());
            return Err(Error::invalid(message, "name fewer: `--sites '**.attn2'`"));
        }
        Ok(Ablation { rows, windows: parts(windows)? })
    }

    /// The edit of a place in the table.
    pub fn edit(&self, row: usize, window: usize) -> String {
        match self.windows[window].as_str() {
            "all" => self.rows[row].1.clone(),
            steps => format!("{} steps={steps}", self.rows[row].1),
        }
    }

    /// All of them, row by row.
    pub fn edits(&self) -> impl Iterator<Item = String> {
        (0..self.rows.len()).flat_map(move |row| (0..self.windows.len()).map(move |window| self.edit(row, window)))
    }
}

/// The windows: so many equal shares, or ranges.
fn parts(text: &str) -> Result<Vec<String>> {
    if let Ok(count) = text.trim().parse::<usize>() {
        if !(1..=100).contains(&count) {
            return Err(Error::invalid(format!("{count} windows"), "ask for 1 to 100"));
        }
        // In hundredths of a percent, so that neighbours meet in the very same number.
        let edge = |k: usize| ((k as f64 / count as f64 * 1e4).round() / 1e2).to_string();
        return Ok((0..count).map(|k| format!("{}-{}%", edge(k), edge(k + 1))).collect());
    }
    let windows: Vec<String> = text.split(',').map(|part| part.trim().to_string()).collect();
    windows.iter().try_for_each(|window| window.parse::<Steps>().map(drop))?;
    Ok(windows)
}

/// A site's name as a title: without what all have.
fn short(site: &str) -> String {
    let name = site.trim_start_matches("unet.").trim_end_matches(".heads");
    let shorter = [
        (".transformer_blocks.0.attn", " attn"),
        ("transformer_blocks.", ""),
        ("attentions.", ""),
        ("_blocks.", " "),
        ("_block.", " "),
    ];
    shorter.iter().fold(name.to_string(), |name, (long, short)| name.replace(long, short))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::watch::site::Axes;

    #[test]
    fn sites_and_heads_times_windows() {
        let known = |name: &str, axes, shape: &[i64]| KnownSite {
            name: name.into(),
            axes,
            shape: shape.to_vec(),
            factor: Some(1),
            of_predictions: true,
        };
        let sites = [
            known("unet.mid_block.attentions.0.transformer_blocks.0.attn2.heads", Axes::Heads((2, 2)), &[2, 3, 4, 8]),
            known("unet.mid_block.attentions.0.transformer_blocks.0.attn2", Axes::Places((2, 2)), &[2, 4, 24]),
        ];
        let all = Ablation::new("**.attn2", "zero", "1-5,6-25", false, &sites).unwrap();
        let edits: Vec<String> = all.edits().collect();
        let site = "unet.mid_block.attentions.0.transformer_blocks.0.attn2";
        assert_eq!(edits, [format!("zero {site} steps=1-5"), format!("zero {site} steps=6-25")]);
        let heads = Ablation::new("**.attn2", "scale by=0.5", "3", true, &sites).unwrap();
        assert_eq!((heads.rows.len(), heads.edits().count()), (3, 9));
        assert_eq!(heads.edit(2, 0), format!("scale {site}.heads by=0.5 heads=2 steps=0-33.33%"));
        assert_eq!(heads.rows[2].0, "mid 0 attn2 head 2");
        assert!(Ablation::new("**.attn2", "zero steps=1", "all", false, &sites).is_err());
        assert!(Ablation::new("**.attn2", "zero", "0", false, &sites).is_err());
    }
}
