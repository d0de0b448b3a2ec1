//! Which sites an edit means: patterns against the sites of a model.
//!
//! Enters: a pattern as it was typed, the operation and its selectors. Leaves: the sites, each with what is done there. A
//! pattern that names an attention stands for what lies inside of it where the operation or a selector needs that.

use crate::edit::Edit;
use crate::edit::layout::{Layout, looks_at_text};
use crate::edit::op::Op;
use crate::error::{Error, Result};
use crate::watch::site::{Axes, GUIDANCE_SCALE, Pattern, is_inner};

/// A site of a model, as one step at a small size shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownSite {
    /// Its name.
    pub name: String,
    /// What its dimensions mean.
    pub axes: Axes,
    /// Its shape there: channels, heads and tokens are the same at every size.
    pub shape: Vec<i64>,
    /// How many times smaller it is than the latents, if it lies on an image or belongs to what does.
    pub factor: Option<i64>,
    /// Whether its rows belong to predictions with and without the prompt.
    pub of_predictions: bool,
}

impl KnownSite {
    /// What its dimensions are.
    pub fn layout(&self) -> Layout {
        Layout::of(&self.name, self.axes, self.shape.len())
    }
}

/// What is done at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// The operation.
    Change,
    /// What comes here is kept, for the module that it goes into.
    Keep,
    /// What comes here is looked at.
    Watch,
    /// FreeU's part: the backbone at this stage.
    Backbone(usize),
    /// FreeU's part: the skip at this stage.
    Skip(usize),
}

/// A site, and what an edit does there.
pub type Target = (String, Role);

/// The endings of what lies inside an attention.
const INSIDE: [&str; 7] = [".context", ".to_q", ".to_k", ".to_v", ".scores", ".probs", ".heads"];

/// The sites that an edit changes, in the order of computation, of those that there are in its run.
///
/// # Errors
/// When the pattern fits none, or none of those that it fits can be changed so.
pub fn targets(edit: &Edit, sites: &[KnownSite]) -> Result<Vec<Target>> {
    if let Op::Freeu { .. } = edit.op {
        return Ok(freeu(sites));
    }
    let typed = &edit.at.sites;
    let fitting = [typed.clone(), format!("unet.{typed}")].into_iter().find_map(|text| {
        let pattern = Pattern::new(&spelt_out(&text));
        let found: Vec<&KnownSite> = sites.iter().filter(|site| fits(edit, &pattern, &text, site)).collect();
        (!found.is_empty()).then_some(found)
    });
    let Some(found) = fitting else { return Err(no_site(edit, sites)) };
    let sized = |site: &&&KnownSite| {
        edit.at.sizes.as_ref().is_none_or(|sizes| site.factor.is_some_and(|factor| sizes.contains(&factor)))
    };
    let mut all = vec![];
    for site in found.iter().filter(sized) {
        match edit.op {
            Op::Skip if !beside_a_residual(&site.name) => {
                let given = format!("{}.in", site.name);
                if !sites.iter().any(|other| other.name == given && other.shape == site.shape) {
                    return Err(Error::invalid(
                        format!("`{}` cannot be skipped: it gives another shape than it is given", site.name),
                        "skip a module that keeps the shape: `unet.mid_block`, a transformer block, an `attn1`",
                    ));
                }
                all.push((format!("{}.in", site.name), Role::Keep));
                all.push((site.name.clone(), Role::Change));
            }
            _ => all.push((site.name.clone(), Role::Change)),
        }
    }
    if let Op::Copy { outside: Some(_), .. } = edit.op {
        all.extend(looked_at(sites));
    }
    if all.is_empty() {
        let mut factors: Vec<i64> = found.iter().filter_map(|site| site.factor).collect();
        factors.sort_unstable();
        factors.dedup();
        let known = factors.iter().map(|factor| format!("f{factor}")).collect::<Vec<_>>().join(", ");
        return Err(Error::invalid(
            format!("no site of `{typed}` has that size"),
            if known.is_empty() { "leave `sizes` away".into() } else { format!("there are {known}") },
        ));
    }
    Ok(all)
}

/// A pattern with the field's short names written out: `mid`, `down.0`, `up.2`, `self` and `cross`.
fn spelt_out(pattern: &str) -> String {
    let parts: Vec<&str> = pattern.split('.').collect();
    let first = if parts[0] == "unet" { 1 } else { 0 };
    let one = |(place, part): (usize, &&str)| match *part {
        "mid" if place == first => if first == 0 { "unet.mid_block" } else { "mid_block" }.to_string(),
        "down" | "up" if place == first => {
            format!("{}{part}_blocks", if first == 0 { "unet." } else { "" })
        }
        "self" => "attn1".into(),
        "cross" => "attn2".into(),
        part => part.into(),
    };
    parts.iter().enumerate().map(one).collect::<Vec<_>>().join(".")
}

/// Whether a site is one that the edit changes, if the pattern is this one.
fn fits(edit: &Edit, pattern: &Pattern, text: &str, site: &KnownSite) -> bool {
    let name = site.name.as_str();
    let inside = INSIDE.iter().find_map(|end| name.strip_suffix(end).map(|module| (module, *end)));
    let last = text.rsplit('.').next().unwrap_or_default();
    let open = last == "*" || last == "**";
    let enclosed = |module: &str| {
        let ends = module.match_indices('.').map(|(at, _)| at).chain([module.len()]);
        ends.map(|end| &module[..end]).any(|outer| pattern.matches(outer))
    };
    let wanted = match &edit.op {
        Op::Set(_) => return name == GUIDANCE_SCALE && pattern.matches(name),
        Op::Skip => {
            return pattern.matches(name) && (beside_a_residual(name) || !is_inner(name));
        }
        Op::Prompt(_) => Some(".context"),
        Op::Mask => Some(".scores"),
        Op::Weigh(_) | Op::Uniform | Op::Identity => Some(".probs"),
        op if op.is_mapped() => Some(".probs"),
        _ if pattern.matches(name) && is_inner(name) && !open => return true,
        _ if edit.at.words.is_some() && site.axes != Axes::Prompts => Some(".probs"),
        _ if edit.at.heads.is_some() => Some(".heads"),
        _ => None,
    };
    match (wanted, inside) {
        // What changes an attention is meant for all that a module encloses; a number is changed where it is named.
        (Some(end), Some((module, own))) if end == own && edit.op.is_of_attention() => {
            (enclosed(module) || pattern.matches(name)) && suits(edit, module)
        }
        (Some(end), Some((module, own))) if end == own => pattern.matches(module) && suits(edit, module),
        (Some(_), _) => false,
        (None, _) => pattern.matches(name) && (!is_inner(name) || !open),
    }
}

/// Whether an attention is one that the operation is for.
fn suits(edit: &Edit, module: &str) -> bool {
    match edit.op {
        Op::Identity => !looks_at_text(module) && module.starts_with("unet."),
        Op::Mask | Op::Weigh(_) | Op::Prompt(_) => looks_at_text(module),
        _ if edit.op.is_mapped() => looks_at_text(module),
        Op::Uniform => module.starts_with("unet."),
        _ => edit.at.words.is_none() || looks_at_text(module),
    }
}

/// Whether a module's result is added to what it was given: without it nothing is added.
pub fn beside_a_residual(name: &str) -> bool {
    [".attn1", ".attn2", ".ff", ".conv2", ".self_attn", ".mlp"].iter().any(|end| name.ends_with(end))
}

/// Where a run looks at words, at a quarter of its latents' sides: prompt-to-prompt's local blend goes by these, without the
/// middle of the network.
fn looked_at(sites: &[KnownSite]) -> impl Iterator<Item = Target> {
    let quarter = sites.iter().filter(|site| site.factor == Some(4) && site.name.ends_with(".attn2.probs"));
    quarter.filter(|site| !site.name.starts_with("unet.mid_block")).map(|site| (site.name.clone(), Role::Watch))
}

/// FreeU's sites: where backbone and skip come together in the first two blocks on the way up.
fn freeu(sites: &[KnownSite]) -> Vec<Target> {
    let role = |name: &str| {
        let stage = (0..2).find(|stage| name.starts_with(&format!("unet.up_blocks.{stage}.")))?;
        let backbone = name.ends_with(".backbone").then_some(Role::Backbone(stage));
        backbone.or(name.ends_with(".skip").then_some(Role::Skip(stage)))
    };
    sites.iter().filter_map(|site| Some((site.name.clone(), role(&site.name)?))).collect()
}

/// What is said of a pattern that fits nothing which can be changed so.
fn no_site(edit: &Edit, sites: &[KnownSite]) -> Error {
    let typed = &edit.at.sites;
    let list = "`sdviz inspect --sites '**'` lists them; `*` is one part of a name, `**` any number";
    let matches = |text: &str| {
        let pattern = Pattern::new(&spelt_out(text));
        sites.iter().find(|site| pattern.matches(&site.name))
    };
    if let Some(site) = matches(typed).or_else(|| matches(&format!("unet.{typed}"))) {
        let (what, way) = match &edit.op {
            Op::Set(_) => ("`set` is for the guidance scale", "write `set guidance_scale by=1`"),
            Op::Skip => ("`skip` is for modules", "name a block, a resnet, an attention: `unet.mid_block`"),
            Op::Identity => ("`identity` is for self-attention", "name an `attn1`: `**.attn1`"),
            Op::Uniform => ("`uniform` is for attention", "name an `attn1` or `attn2`: `**.attn1`"),
            Op::Mask | Op::Weigh(_) | Op::Copy { .. } => {
                ("words are looked at in cross-attention", "name an `attn2`: `**.attn2`")
            }
            Op::Prompt(_) => {
                ("a prompt is looked at in cross-attention", "name an `attn2`, or what has some: `unet.**`")
            }
            _ if edit.at.words.is_some() => ("words are looked at in cross-attention", "name an `attn2`: `**.attn2`"),
            _ => ("heads are those of an attention", "name an `attn1` or `attn2`: `**.attn2`"),
        };
        return Error::invalid(format!("{what}, and `{}` has none", site.name), way);
    }
    let nearest = nearest(&spelt_out(typed), sites).map(|name| format!("; the nearest is `{name}`"));
    Error::invalid(format!("no site of this run fits `{typed}`{}", nearest.unwrap_or_default()), list)
}

/// The site whose name has parts in a row that are most like those of a pattern, wildcards apart.
fn nearest<'a>(pattern: &str, sites: &'a [KnownSite]) -> Option<&'a str> {
    let wanted: Vec<&str> = pattern.split('.').filter(|part| !["*", "**"].contains(part)).collect();
    let distance = |site: &&KnownSite| {
        let parts: Vec<&str> = site.name.split('.').collect();
        let some = parts.windows(wanted.len().clamp(1, parts.len()));
        let apart = some.map(|some| strsim::damerau_levenshtein(&some.join("."), &wanted.join("."))).min();
        (apart, parts.len())
    };
    sites.iter().min_by_key(distance).map(|site| site.name.as_str())
}
