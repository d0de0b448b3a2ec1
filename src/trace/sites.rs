//! The sites' recorder: an observer that keeps the tensors at some of the UNet's sites.
//!
//! Enters: tensors at sites. Leaves: `sites/NNN.safetensors`, one file a step, whole or not there, written after the step's
//! own file. Tensors stay on their device until the step is done: nothing waits in between.

use crate::edit::site::KnownSite;
use crate::error::{Error, Result};
use crate::files::atomic::write_atomically;
use crate::numbers;
use crate::record::layers::{SiteRows, SitesMetadata, SitesRecord, site_file, site_key};
use crate::record::schema::{RunRecord, SCHEMA_VERSION};
use crate::watch::observer::{Ask, Event, Flow, Observer};
use crate::watch::site::{Axes, Branch, Pattern, Site, is_inner};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use tch::{Kind, Tensor};

/// What is to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Patterns over site names.
    pub patterns: Vec<String>,
    /// Half precision, which takes half the space.
    pub half: bool,
    /// Which rows.
    pub rows: SiteRows,
}

/// The patterns that were asked for, read.
#[derive(Debug)]
struct Asked(Vec<(Pattern, String)>);

impl Asked {
    /// # Errors
    /// When a pattern speaks of another part of the model than the UNet.
    fn new(patterns: &[String]) -> Result<Asked> {
        for pattern in patterns {
            let first = pattern.split('.').next().unwrap_or_default();
            if !["unet", "*", "**"].contains(&first) {
                return Err(no_site(pattern));
            }
        }
        Ok(Asked(patterns.iter().map(|text| (Pattern::new(text), text.clone())).collect()))
    }

    fn fits(&self, name: &str) -> bool {
        let asked = |(pattern, text): &(Pattern, String)| {
            // What lies inside a module is for who names it.
            pattern.matches(name) && (!is_inner(name) || !text.ends_with('*'))
        };
        name.starts_with("unet.") && self.0.iter().any(asked)
    }
}

/// What a run with this record will keep of a model that has these sites, and what that takes on disk.
///
/// # Errors
/// When a pattern fits no site of the UNet, or one that is neither an image nor a row; when whose rows were asked for has none.
pub fn planned(options: &Options, record: &RunRecord, sites: &[KnownSite]) -> Result<SitesRecord> {
    let found = |patterns: &[String]| -> Result<Vec<&KnownSite>> {
        let asked = Asked::new(patterns)?;
        Ok(sites.iter().filter(|site| asked.fits(&site.name)).collect())
    };
    for pattern in &options.patterns {
        if found(std::slice::from_ref(pattern))?.is_empty() {
            return Err(no_site(pattern));
        }
    }
    let kept = found(&options.patterns)?;
    kept.iter().try_for_each(|site| check_axes(&site.name, site.axes))?;
    let (parts, guided) = record.predictions();
    let rows = match options.rows {
        SiteRows::Text => parts,
        SiteRows::Uncond => usize::from(guided),
        SiteRows::Both => parts + usize::from(guided),
    };
    if rows == 0 {
        return Err(Error::invalid(
            "without guidance there is no prediction with the negative prompt to keep sites of",
            "ask for a `--guidance-scale` above 1, or for `--sites-branches text`",
        ));
    }
    let numbers = |pass: usize| kept.iter().map(|site| numbers(site, record, pass)).sum::<u64>();
    let each_step: u64 = record.steps_made().map(|step| numbers(record.pass(step))).sum();
    let (dtype, width) = if options.half { ("f16", 2) } else { ("f32", 4) };
    Ok(SitesRecord {
        patterns: options.patterns.clone(),
        sites: kept.iter().map(|site| site.name.clone()).collect(),
        dtype: dtype.into(),
        branches: options.rows,
        bytes: each_step * (rows * record.plan.batch_size * width) as u64,
    })
}

/// Numbers of one row at a site in a step of this pass.
fn numbers(site: &KnownSite, record: &RunRecord, pass: usize) -> u64 {
    let [height, width] = record.latents(pass);
    let place = |latents: usize| site.factor.map_or(1, |factor| latents.div_ceil(factor.max(1) as usize)) as u64;
    let area = place(height) * place(width);
    let chunks = record.conditions.as_ref().map_or(1, |conditions| conditions.chunks()) as u64;
    let sizes: Vec<u64> = site.shape.iter().map(|n| *n as u64).collect();
    match (site.axes, &sizes[..]) {
        (Axes::Image, [_, channels, _, _]) if site.factor.is_some() => channels * area,
        (Axes::Places(_), [_, _, channels]) if site.factor.is_some() => channels * area,
        (Axes::Text, [_, tokens, width]) => tokens * chunks * width,
        (_, sizes) => sizes.iter().skip(1).product(),
    }
}

/// Refuses what cannot be kept.
fn check_axes(name: &str, axes: Axes) -> Result<()> {
    match axes {
        Axes::Image | Axes::Text | Axes::Places(_) => Ok(()),
        _ => Err(Error::invalid(
            format!("`{name}` is no image and no row of places: it cannot be kept as a site"),
            "name outputs of layers, as `unet.**.attn2`; `sdviz inspect --sites` lists them",
        )),
    }
}

/// Writes the tensors of the sites that fit.
#[derive(Debug)]
pub struct SiteRecorder {
    dir: PathBuf,
    options: Options,
    asked: Asked,
    /// Of the step that goes on: by key, the tensor and the grid of its places.
    kept: BTreeMap<String, (Tensor, Option<(usize, usize)>)>,
    found: bool,
}

impl SiteRecorder {
    /// For the run that is recorded in `dir`.
    ///
    /// # Errors
    /// When a pattern speaks of another part of the model than the UNet.
    pub fn new(dir: &Path, options: Options) -> Result<SiteRecorder> {
        let asked = Asked::new(&options.patterns)?;
        Ok(SiteRecorder { dir: dir.to_path_buf(), options, asked, kept: BTreeMap::new(), found: false })
    }

    fn keep(&mut self, site: &Site, tensor: &Tensor) -> Result<()> {
        check_axes(site.name, site.axes)?;
        let grid = match site.axes {
            Axes::Places((height, width)) => Some((height as usize, width as usize)),
            _ => None,
        };
        self.found = true;
        let kind = if self.options.half { Kind::Half } else { Kind::Float };
        for (rows, part) in chosen(site, self.options.rows) {
            let part = match part {
                Some(range) => tensor.narrow(0, range.start, range.end - range.start),
                None => tensor.shallow_clone(),
            };
            // A copy, whatever the kind: the tensor may be changed after this.
            self.kept.insert(site_key(site.name, &rows), (part.to_kind(kind).copy(), grid));
        }
        Ok(())
    }

    fn write(&mut self, step: usize) -> Result<()> {
        let kept = std::mem::take(&mut self.kept);
        let path = self.dir.join(site_file(step));
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| Error::Io {
                action: "create",
                path: folder.into(),
                source,
            })?;
        }
        let mut metadata = SitesMetadata { schema_version: SCHEMA_VERSION, step, ..SitesMetadata::default() };
        let (dtype, kind) = if self.options.half { (Dtype::F16, Kind::Half) } else { (Dtype::F32, Kind::Float) };
        let mut tensors = vec![];
        for (key, (tensor, grid)) in kept {
            let bytes = numbers::of_tensor(&tensor, kind)?;
            if self.options.half && bytes.chunks_exact(2).any(|b| u16::from_le_bytes([b[0], b[1]]) & 0x7c00 == 0x7c00) {
                let message = format!("`{key}` of step {step} has numbers that half precision cannot hold");
                return Err(Error::invalid(message, "keep it with `--sites-dtype f32`"));
            }
            metadata.grids.extend(grid.map(|grid| (key.clone(), grid)));
            tensors.push((key, bytes, tensor.size()));
        }
        let bad = |e: safetensors::SafeTensorError| Error::bad_file(&path, "safetensors file", e);
        let mut views = vec![];
        for (key, bytes, size) in &tensors {
            let shape = size.iter().map(|d| *d as usize).collect();
            views.push((key.as_str(), TensorView::new(dtype, shape, bytes).map_err(bad)?));
        }
        let about = serde_json::to_string(&metadata).map_err(|e| Error::bad_file(&path, "safetensors file", e))?;
        let about = HashMap::from([("sdviz".to_string(), about)]);
        write_atomically(&path, &safetensors::serialize(views, Some(about)).map_err(bad)?)
    }
}

impl Observer for SiteRecorder {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(name, _) if self.asked.fits(name))
    }

    fn on_event(&mut self, event: &Event) -> Result<Flow> {
        match event {
            Event::Tensor(site, tensor) if self.asked.fits(site.name) => self.keep(site, tensor)?,
            Event::Step(step) if step.timestep.is_some() => {
                if !self.found {
                    return Err(no_site(&self.options.patterns.join("`, `")));
                }
                self.write(step.index)?;
            }
            _ => {}
        }
        Ok(Flow::Continue)
    }
}

fn no_site(pattern: &str) -> Error {
    let hint = "`sdviz inspect --sites` lists them; those of the UNet are kept, and `*` is one part of a name, `**` any number";
    Error::invalid(format!("no site of the UNet fits `{pattern}`"), hint)
}

/// The rows that are kept, with the ending of their key; all where a row belongs to no branch.
fn chosen(site: &Site, rows: SiteRows) -> Vec<(String, Option<std::ops::Range<i64>>)> {
    if site.rows.branches.is_empty() {
        return vec![(String::new(), None)];
    }
    let wanted = |branch: &&Branch| match branch {
        Branch::Uncond => rows != SiteRows::Text,
        Branch::Text(_) => rows != SiteRows::Uncond,
        Branch::Donor(_) => false,
    };
    let key = |branch: &Branch| match branch {
        Branch::Uncond => "uncond".to_string(),
        Branch::Text(part) if *part > 0 => format!("text{part}"),
        _ => String::new(),
    };
    let kept = site.rows.branches.iter().filter(wanted);
    kept.map(|branch| (key(branch), site.rows.of(*branch))).collect()
}
