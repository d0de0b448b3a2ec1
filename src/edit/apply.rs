//! Carries one edit out on one tensor: what it makes of the whole, and which part of that takes the place of the old.
//!
//! Enters: a resolved edit, a site, a tensor. Leaves: the new tensor, or none where nothing of this tensor is meant.

use super::armed::Armed;
use super::copy;
use super::freeu;
use super::grain::Grain;
use super::layout::{Layout, Places};
use super::op::{Op, Over};
use super::site::{Role, beside_a_residual};
use crate::error::{Error, Result};
use crate::watch::site::{Branch, Site};
use tch::{Kind, Tensor};

/// An edit and the tensor that it meets.
pub struct Act<'a> {
    /// The edit.
    pub armed: &'a Armed,
    /// What it does here.
    pub role: Role,
    /// Where.
    pub site: &'a Site<'a>,
    /// What goes by there.
    pub tensor: &'a Tensor,
    /// For a module that is skipped: what it was given.
    pub given: Option<Tensor>,
    /// The seeds of the batch's pictures.
    pub seeds: &'a [u64],
}

/// Which part of a tensor an edit means.
enum Part {
    All,
    None,
    /// Where this is true; it is as large as the tensor, or has dimensions of one.
    Where(Tensor),
}

impl Act<'_> {
    /// The tensor in this one's place; none where the edit means nothing of it.
    ///
    /// # Errors
    /// When a tensor of a file does not fit.
    pub fn carry_out(&self) -> Result<Option<Tensor>> {
        let part = self.part()?;
        if matches!(part, Part::None) {
            return Ok(None);
        }
        let changed = self.changed()?.to_kind(self.tensor.kind());
        Ok(Some(match part {
            Part::Where(mask) => changed.where_self(&mask, self.tensor),
            _ => changed.expand_as(self.tensor).contiguous(),
        }))
    }

    fn layout(&self) -> Layout {
        Layout::of(self.site.name, self.site.axes, self.tensor.dim())
    }

    /// What the operation makes of the whole tensor.
    fn changed(&self) -> Result<Tensor> {
        let (tensor, site) = (self.tensor, self.site);
        let keys = || tensor.size().last().copied().unwrap_or(1);
        Ok(match (&self.armed.edit.op, self.role) {
            (Op::Freeu { b, .. }, Role::Backbone(stage)) => freeu::backbone(tensor, b[stage]),
            (Op::Freeu { s, .. }, Role::Skip(stage)) => freeu::skip(tensor, s[stage]),
            (Op::Freeu { .. }, _) => tensor.shallow_clone(),
            (Op::Zero, _) => tensor.zeros_like(),
            (Op::Scale(by) | Op::Weigh(by), _) => tensor * *by,
            (Op::Clamp(min, max), _) => tensor.clamp(*min, *max),
            (Op::Mean(over), _) => self.mean(*over),
            (Op::Resample(seed), _) => self.elsewhere(&mut Grain::at(site.name, &[*seed, site.step as u64]), false),
            (Op::Permute(seed), _) => self.elsewhere(&mut Grain::new(&[*seed]), true),
            (Op::Noise { std, seed }, _) => self.noise(*std, *seed)?,
            (Op::Add { by, .. }, _) => tensor + self.of_file()? * *by,
            (Op::Project { keep, .. }, _) => self.projected(*keep)?,
            (Op::Skip, _) if beside_a_residual(site.name) => tensor.zeros_like(),
            (Op::Skip, _) => match &self.given {
                Some(given) => given.shallow_clone(),
                None => return Err(Error::Broken(format!("nothing came into `{}`", site.name))),
            },
            (Op::Identity, _) => {
                let all = Tensor::eye(keys(), (tensor.kind(), tensor.device()));
                all.narrow(0, site.first_query, tensor.size()[2])
            }
            (Op::Uniform, _) => tensor.full_like(1.0 / keys() as f64),
            (Op::Mask, _) => tensor.full_like(f64::NEG_INFINITY),
            (Op::Prompt(_), _) => match &self.armed.context {
                Some(context) => context.expand_as(tensor),
                None => return Err(Error::Broken("an edit's prompt was not encoded".into())),
            },
            (Op::Replace(_), _) => self.of_file()?,
            (Op::Copy { from, blend, .. }, _) => self.copied(*from, *blend)?,
            (Op::Set(number), _) => tensor.full_like(*number),
        })
    }

    /// What the donor has here.
    fn copied(&self, from: usize, blend: f64) -> Result<Tensor> {
        let copying = self.armed.copying.as_ref();
        let (lender, mapped) = (copying.and_then(|c| c.lender.as_ref()), copying.and_then(|c| c.mapped.as_ref()));
        let theirs = copy::copied(self.site, self.tensor, (from, lender), mapped, blend)?;
        let outside = copying.and_then(|c| c.outside.as_ref());
        Ok(outside.map_or_else(|| theirs.shallow_clone(), |outside| outside.blended(self.tensor, &theirs)))
    }

    fn mean(&self, over: Over) -> Tensor {
        let (tensor, layout) = (self.tensor, self.layout());
        let along = |dims: &[i64]| tensor.mean_dim(dims, true, tensor.kind());
        match (over, layout.places) {
            (Over::Channels, _) => along(&[layout.channels.unwrap_or(1) as i64]),
            (Over::Batch, _) => {
                let (size, batch) = (tensor.size(), self.site.rows.batch.max(1));
                let split = tensor.view([&[-1, batch], &size[1..]].concat().as_slice());
                split.mean_dim([1i64].as_slice(), true, tensor.kind()).expand_as(&split).reshape(&size)
            }
            (Over::Places, _) if layout.keys.is_some() => along(&[-1]),
            (Over::Places, Some(Places::Image(dim))) => along(&[dim as i64, dim as i64 + 1]),
            (Over::Places, Some(Places::Row(dim))) => along(&[dim as i64]),
            (Over::Places, None) => along(&[layout.tokens.unwrap_or(1) as i64]),
        }
    }

    /// Each place with what another has: in another order, or drawn.
    fn elsewhere(&self, grain: &mut Grain, order: bool) -> Tensor {
        let (tensor, layout) = (self.tensor, self.layout());
        let (flat, dim) = match layout.places {
            Some(Places::Image(dim)) => (tensor.flatten(dim as i64, dim as i64 + 1), dim),
            Some(Places::Row(dim)) => (tensor.shallow_clone(), dim),
            None => (tensor.shallow_clone(), layout.tokens.unwrap_or(1)),
        };
        let count = flat.size()[dim] as usize;
        let from = if order { grain.order(count) } else { (0..count).map(|_| grain.below(count) as i64).collect() };
        let from = Tensor::from_slice(&from).to_device(tensor.device());
        flat.index_select(dim as i64, &from).view(tensor.size().as_slice())
    }

    /// The tensor with noise of so many of its standard deviations. Each picture's is its own, whatever is beside it.
    fn noise(&self, std: f64, seed: u64) -> Result<Tensor> {
        let (tensor, site) = (self.tensor, self.site);
        let size = tensor.size();
        let (rows, each) = (size[0], size[1..].iter().product::<i64>());
        let batch = site.rows.batch.max(1);
        let mut numbers = Vec::with_capacity((rows * each) as usize);
        for row in 0..rows {
            let (branch, picture) = (row / batch, site.rows.first + row % batch);
            let of_picture = self.seeds.get(picture as usize).copied().unwrap_or(picture as u64);
            let parts = [seed, site.step as u64, site.first_query as u64, branch as u64, of_picture];
            numbers.extend(Grain::at(site.name, &parts).normal(each as usize));
        }
        let grain = Tensor::from_slice(&numbers).view(size.as_slice()).to_device(tensor.device());
        let own = tensor.to_kind(Kind::Float);
        let inner: Vec<i64> = (1..size.len() as i64).collect();
        let spread = own.std_dim(inner.as_slice(), false, true);
        Ok(own + grain * spread * std)
    }

    /// What lies along the direction, or all but that.
    fn projected(&self, keep: bool) -> Result<Tensor> {
        let dim = self.layout().channels.unwrap_or(1) as i64;
        let direction = self.of_file()?;
        let direction = &direction / direction.square().sum(direction.kind()).sqrt();
        let own = self.tensor.to_kind(Kind::Float);
        let along = (&own * &direction).sum_dim_intlist([dim].as_slice(), true, Kind::Float) * direction;
        Ok(if keep { along } else { own - along })
    }

    /// The tensor that the edit's file has for this site, along the channels if it has one dimension.
    fn of_file(&self) -> Result<Tensor> {
        let (tensor, name) = (self.tensor, self.site.name);
        let Some(read) = self.armed.files.get(name) else {
            return Err(Error::Broken(format!("an edit's file was not read for `{name}`")));
        };
        let read = read.to_device(tensor.device()).to_kind(Kind::Float);
        let fitting = match (read.dim(), self.layout().channels) {
            (1, Some(channels)) => {
                let mut shape = vec![1; tensor.dim()];
                shape[channels] = -1;
                read.view(shape.as_slice())
            }
            _ => read,
        };
        let (own, theirs) = (tensor.size(), fitting.size());
        let broadcasts = theirs.len() <= own.len()
            && theirs.iter().rev().zip(own.iter().rev()).all(|(theirs, own)| theirs == own || *theirs == 1);
        if broadcasts {
            return Ok(fitting);
        }
        Err(Error::invalid(
            format!("the edit's file has {theirs:?} for `{name}`, which is {own:?} in this run"),
            "record it at this size, or give one number for each channel",
        ))
    }

    /// Which part of the tensor is meant.
    fn part(&self) -> Result<Part> {
        let (tensor, layout, at) = (self.tensor, self.layout(), &self.armed.edit.at);
        let size = tensor.size();
        let mut masks: Vec<Tensor> = vec![];
        let mut add = |values: Vec<bool>, dims: &[usize]| {
            if values.iter().all(|chosen| *chosen) {
                return true;
            }
            let mut shape = vec![1; size.len()];
            dims.iter().for_each(|dim| shape[*dim] = size[*dim]);
            let any = values.contains(&true);
            masks.push(Tensor::from_slice(&values).view(shape.as_slice()).to_device(tensor.device()));
            any
        };
        let chosen = |ranges: &super::selector::Ranges, dim: usize| {
            (0..size[dim] as usize).map(|number| ranges.contains(number)).collect::<Vec<_>>()
        };
        let mut any = size.is_empty() || add(self.rows(size[0]), &[0]);
        if let (Some(heads), Some(dim)) = (&at.heads, layout.heads) {
            any &= add(chosen(heads, dim), &[dim]);
        }
        if let (Some(channels), Some(dim)) = (&at.channels, layout.channels) {
            any &= add(chosen(channels, dim), &[dim]);
        }
        if let (Some(words), Some(dim)) = (&self.armed.words, layout.tokens) {
            let tokens = size[dim];
            let row = |row: i64| {
                let places = self.branch(row).map_or(&[][..], |branch| words.at(branch, self.site.step.max(1)));
                (0..tokens).map(|token| places.contains(&token)).collect::<Vec<_>>()
            };
            any &= add((0..size[0]).flat_map(row).collect(), &[0, dim]);
        }
        if let (Some(area), Some(places), Some(grid)) = (&self.armed.area, layout.places, self.site.grid) {
            let cells = area.cells(grid);
            any &= match places {
                Places::Image(dim) => add(cells, &[dim, dim + 1]),
                // Of attention a piece of the queries may be here.
                Places::Row(dim) => {
                    let first = self.site.first_query as usize;
                    let here = cells.into_iter().skip(first).take(size[dim] as usize).collect();
                    add(here, &[dim])
                }
            };
        }
        Ok(match masks.into_iter().reduce(|all, mask| all.logical_and(&mask)) {
            _ if !any => Part::None,
            None => Part::All,
            Some(mask) => Part::Where(mask),
        })
    }

    /// The branch that a row belongs to, where rows have one.
    fn branch(&self, row: i64) -> Option<Branch> {
        self.site.rows.branches.get((row / self.site.rows.batch.max(1)) as usize).copied()
    }

    /// Which rows are meant.
    fn rows(&self, count: i64) -> Vec<bool> {
        let (rows, at) = (self.site.rows, &self.armed.edit.at);
        let one = |row: i64| {
            let picture = (rows.first + row % rows.batch.max(1)) as usize;
            let branch = self.branch(row).is_none_or(|branch| self.armed.branch.include(branch));
            branch && at.batch.as_ref().is_none_or(|batch| batch.contains(picture))
        };
        (0..count).map(one).collect()
    }
}
