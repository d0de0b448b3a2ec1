//! How a component's weights lie in a folder: in one file or in pieces, plain or as a variant.
//!
//! Enters: the names of the files in a component's folder. Leaves: what weights there are. The names are those that
//! diffusers and transformers write, the older ones too: `model.safetensors`, `model.fp16.safetensors`,
//! `model-00001-of-00002.safetensors` beside `model.safetensors.index.json`, `model.fp16-00001-of-00002.safetensors`
//! beside `model.safetensors.index.fp16.json`.

use std::collections::BTreeSet;

/// More pieces than this are no model's.
const MOST_PIECES: usize = 10_000;

/// Weights of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// `fp16`; nothing for the plain ones.
    pub variant: Option<String>,
    /// Where they are.
    pub form: Form,
}

/// Where weights are, by the names of files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// In one file.
    Whole(String),
    /// In the pieces that a file lists.
    Index(String),
    /// In numbered pieces that no file lists.
    Numbered(Vec<String>),
}

impl Form {
    /// The file that stands for the whole: the one there is, the list of pieces, or the first piece.
    pub fn name(&self) -> &str {
        match self {
            Form::Whole(name) | Form::Index(name) => name,
            Form::Numbered(names) => names.first().map_or("", String::as_str),
        }
    }
}

/// The weights among the files `names` that are called after `stem`.
pub fn stored(names: &[String], stem: &str) -> Vec<Stored> {
    let mut all: Vec<Stored> = names.iter().filter_map(|name| read(name, stem)).collect();
    // One file goes before pieces; each piece tells of all of them.
    all.sort_by(|a, b| (&a.variant, &a.form).cmp(&(&b.variant, &b.form)));
    all.dedup_by(|later, first| later.variant == first.variant);
    all
}

/// What weights the file `name` tells of.
fn read(name: &str, stem: &str) -> Option<Stored> {
    let rest = name.strip_prefix(stem)?;
    if let Some(words) = rest.strip_suffix(".json") {
        let mut words: Vec<&str> = words.strip_prefix('.')?.split('.').collect();
        for word in ["safetensors", "index"] {
            words.remove(words.iter().position(|w| *w == word)?);
        }
        return Some(Stored { variant: variant(&words.join(".")), form: Form::Index(name.into()) });
    }
    let middle = rest.strip_suffix(".safetensors")?;
    if let Some((variant, form)) = numbered(stem, middle) {
        return Some(Stored { variant, form });
    }
    let plain = middle.is_empty();
    (plain || middle.starts_with('.')).then(|| Stored { variant: variant(middle), form: Form::Whole(name.into()) })
}

/// `-00001-of-00002` with a variant before or behind it.
fn numbered(stem: &str, middle: &str) -> Option<(Option<String>, Form)> {
    let (front, back) = middle.split_once("-of-")?;
    let (front, number) = front.rsplit_once('-')?;
    let digits = back.find(|c: char| !c.is_ascii_digit()).unwrap_or(back.len());
    let (count, back) = back.split_at(digits);
    let all: usize = count.parse().ok().filter(|all| (1..=MOST_PIECES).contains(all))?;
    let words = [front, back].iter().all(|word| word.is_empty() || word.starts_with('.'));
    if !words || number.is_empty() || number.bytes().any(|b| !b.is_ascii_digit()) {
        return None;
    }
    let width = number.len();
    let piece = |i: usize| format!("{stem}{front}-{i:0width$}-of-{count}{back}.safetensors");
    let named = if front.is_empty() { back } else { front };
    Some((variant(named), Form::Numbered((1..=all).map(piece).collect())))
}

fn variant(text: &str) -> Option<String> {
    let text = text.trim_start_matches('.');
    (!text.is_empty()).then(|| text.to_string())
}

/// The pieces that a file `….safetensors.index.json` lists, each once, by name. `None` if it is no such list, or names a
/// file that lies elsewhere.
pub fn listed(text: &str) -> Option<BTreeSet<String>> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let map = json["weight_map"].as_object().filter(|map| !map.is_empty())?;
    let beside = |name: &&str| !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.');
    map.values().map(|name| name.as_str().filter(beside).map(String::from)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn found(names: &[&str], stem: &str) -> Vec<(Option<String>, String)> {
        let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
        stored(&names, stem).into_iter().map(|s| (s.variant, s.form.name().to_string())).collect()
    }

    fn one(variant: Option<&str>, name: &str) -> Vec<(Option<String>, String)> {
        vec![(variant.map(String::from), name.into())]
    }

    #[test]
    fn all_spellings_of_weights_are_told_apart() {
        let stem = "diffusion_pytorch_model";
        for (name, variant) in [
            ("diffusion_pytorch_model.safetensors", None),
            ("diffusion_pytorch_model.fp16.safetensors", Some("fp16")),
            ("diffusion_pytorch_model.non_ema.safetensors", Some("non_ema")),
            ("diffusion_pytorch_model.safetensors.index.json", None),
            ("diffusion_pytorch_model.safetensors.index.fp16.json", Some("fp16")),
            ("diffusion_pytorch_model.fp16.safetensors.index.json", Some("fp16")),
            ("diffusion_pytorch_model.safetensors.fp16.index.json", Some("fp16")),
            ("diffusion_pytorch_model-00001-of-00002.safetensors", None),
            ("diffusion_pytorch_model.fp16-00001-of-00002.safetensors", Some("fp16")),
            ("diffusion_pytorch_model-00001-of-00002.fp16.safetensors", Some("fp16")),
        ] {
            assert_eq!(found(&[name], stem), one(variant, name));
        }
        for other in ["model.safetensors", "diffusion_pytorch_model.bin", "diffusion_pytorch_model_old.safetensors"] {
            assert_eq!(found(&[other], stem), [], "{other}");
        }
        let absurd = "diffusion_pytorch_model-00001-of-99999999999.safetensors";
        assert_eq!(found(&[absurd], stem), []);
    }

    #[test]
    fn one_file_goes_before_pieces_and_their_list_before_their_numbers() {
        let pieces = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        assert_eq!(found(&pieces, "model"), one(None, pieces[0]));
        let list = "model.safetensors.index.json";
        assert_eq!(found(&[pieces[0], list], "model"), one(None, list));
        assert_eq!(found(&[pieces[0], list, "model.safetensors"], "model"), one(None, "model.safetensors"));
        let Form::Numbered(all) = &stored(&[pieces[1].to_string()], "model")[0].form else { unreachable!() };
        assert_eq!(all, &pieces);
    }

    #[test]
    fn a_list_of_pieces_names_files_beside_it() {
        let listed = |names: [&str; 2]| {
            listed(&serde_json::json!({ "weight_map": { "a": names[0], "b": names[1], "c": names[0] } }).to_string())
        };
        assert_eq!(listed(["y", "x"]).unwrap().into_iter().collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(listed(["../x", "y"]), None);
        assert_eq!(super::listed("{}"), None);
        assert_eq!(super::listed("{"), None);
    }
}
