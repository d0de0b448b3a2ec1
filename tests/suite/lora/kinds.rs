//! LoHa, LoKr, DoRA, whole differences and peft's own files: agreement with LyCORIS and peft, and what is refused.
//!
//! `tests/goldens/make_lora_kinds_goldens.py` says how the files and the numbers were made.

use super::{files, lora, rewritten, said};
use crate::common::{golden_file, relative};
use sdviz::model::components::{Component, TEXT_ENCODER, UNET};
use sdviz::model::config::UNetConfig;
use sdviz::model::lora::{Adapters, LoraChoice};
use sdviz::model::weights::WeightFile;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tch::{Device, Kind, Tensor};

/// Largest difference over largest value, of a weight.
const WEIGHT: f64 = 1e-6;

fn open(component: &Component) -> sdviz::error::Result<Arc<WeightFile>> {
    Ok(files("tiny-sd").weights(component, None)?.1)
}

/// The weights of text encoder and UNet with LoRAs in them, by component and key.
pub(super) fn merged(choices: &[LoraChoice]) -> sdviz::error::Result<BTreeMap<String, Tensor>> {
    let config: UNetConfig = files("tiny-sd").config(&UNET)?;
    let adapters = Adapters::open(choices, &config, open)?;
    let mut all = BTreeMap::new();
    for component in [&TEXT_ENCODER, &UNET] {
        let file = open(component)?;
        let weights = adapters.weights(component.name, file.clone(), Device::Cpu, Kind::Float);
        for (key, entry) in file.entries().iter().filter(|(key, _)| !key.contains("token_embedding")) {
            // A copy, for the tensor may be a view of the file.
            all.insert(format!("{}.{key}", component.name), weights.tensor(key, &entry.shape)?.copy());
        }
    }
    Ok(all)
}

#[test]
fn every_kind_agrees_with_lycoris_and_peft_also_below_zero_and_together() {
    let path = golden_file("lora/merged.safetensors");
    let golden: HashMap<String, Tensor> = Tensor::read_safetensors(&path).unwrap().into_iter().collect();
    let (_, header) = safetensors::SafeTensors::read_metadata(&std::fs::read(&path).unwrap()).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&header.metadata().as_ref().unwrap()["cases"]).unwrap();
    let plain = merged(&[]).unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let path = |l: &Value| golden_file("lora").join(l[0].as_str().unwrap());
        let choices = case["loras"].as_array().unwrap().iter().map(|l| lora(&path(l), l[1].as_f64().unwrap()));
        let (name, ours) = (case["name"].as_str().unwrap(), merged(&choices.collect::<Vec<_>>()).unwrap());
        let (mut largest, mut changed) = (0f64, 0);
        for (key, ours) in &ours {
            match golden.get(&format!("{name}/{key}")) {
                Some(expected) => {
                    changed += 1;
                    largest = largest.max(relative(ours, expected));
                    assert!(relative(&plain[key], expected) > 0.1, "{name}: {key} is hardly changed");
                }
                // Of peft's many layers some are enough.
                None => assert!(name == "saved" || *ours == plain[key], "{name} changes {key}"),
            }
        }
        println!("{name:<18} {changed} tensors {largest:.2e}");
        assert_eq!(changed, golden.keys().filter(|key| key.starts_with(&format!("{name}/"))).count(), "{name}");
        assert!(largest < WEIGHT, "{name} differs by {largest:.2e}, allowed {WEIGHT:.0e}");
    }
}

/// A kind's golden, of which `part` of its keys' ends becomes another tensor, or nothing.
fn changed(folder: &Path, (kind, part): (&str, &str), to: Option<(&str, &[i64])>) -> PathBuf {
    let change = |key: String, tensor: Tensor| match (key.ends_with(part), to) {
        (false, _) => Some((key, tensor)),
        (true, None) => None,
        (true, Some((name, shape))) => Some((name.into(), Tensor::ones(shape, (Kind::Float, Device::Cpu)))),
    };
    rewritten(&golden_file(format!("lora/{kind}.safetensors")), &folder.join("x.safetensors"), change)
}

/// A name, what is changed in which golden, and what it becomes.
type Case<'a> = (&'a str, (&'a str, &'a str), Option<(String, &'a [i64])>);

#[test]
fn a_kind_that_does_not_fit_or_is_not_whole_is_refused_by_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let (conv_in, norm, to_k) = (
        "lora_unet_conv_in",
        "lora_unet_down_blocks_0_resnets_0_norm1",
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k",
    );
    let key = |layer: &str, part: &str| format!("{layer}.{part}");
    let core = "conv_in.hada_t1";
    let cases: [Case; 14] = [
        ("a LoHa without a factor", ("loha", "to_k.hada_w2_b"), None),
        ("of another rank", ("loha", "to_k.hada_w2_b"), Some((key(to_k, "hada_w2_b"), &[3, 24]))),
        ("of another width", ("loha", "to_k.hada_w2_b"), Some((key(to_k, "hada_w2_b"), &[2, 23]))),
        ("with another kernel", ("loha", core), Some((key(conv_in, "hada_t1"), &[3, 3, 1, 9]))),
        ("without a core", ("loha", core), None),
        ("a LoKr of one matrix", ("lokr", "conv_shortcut.lokr_w2"), None),
        (
            "of another size",
            ("lokr", "conv_shortcut.lokr_w2"),
            Some((key("lora_unet_down_blocks_1_resnets_0_conv_shortcut", "lokr_w2"), &[8, 9])),
        ),
        ("a matrix twice", ("lokr", "conv_in.alpha"), Some((key(conv_in, "lokr_w2"), &[4, 18]))),
        ("too many magnitudes", ("dora", "conv_in.dora_scale"), Some((key(conv_in, "dora_scale"), &[17, 1, 1, 1]))),
        ("magnitudes alone", ("whole", "conv_in.diff_b"), Some((key(conv_in, "dora_scale"), &[16, 1, 1, 1]))),
        ("a difference of another shape", ("whole", "to_k.diff"), Some((key(to_k, "diff"), &[24, 16]))),
        ("a bias where none is", ("whole", "to_k.diff"), Some((key(to_k, "diff_b"), &[16]))),
        ("factors of a norm", ("whole", "resnets_0_norm1.w_norm"), Some((key(norm, "hada_w1_a"), &[16, 1]))),
        (
            "two kinds in a layer",
            ("whole", "conv_out.alpha"),
            Some((key("lora_unet_conv_out", "diff"), &[4, 16, 3, 3])),
        ),
    ];
    let mut all = vec![];
    for (name, of, to) in cases {
        let path = changed(folder.path(), of, to.as_ref().map(|(key, shape)| (key.as_str(), *shape)));
        let error = merged(&[lora(&path, 1.0)]).expect_err(name);
        all.push(format!("{name}\n{}", said(&error, folder.path())));
    }
    insta::assert_snapshot!("bad_kinds", all.join("\n\n"));
}

#[test]
fn an_alpha_is_one_number_of_whatever_shape_and_type() {
    let folder = tempfile::tempdir().unwrap();
    let loha = golden_file("lora/loha.safetensors");
    let expected = merged(&[lora(&loha, 1.0)]).unwrap();
    for (shape, kind) in [(&[1, 1][..], Kind::Float), (&[1], Kind::Half), (&[], Kind::Int64)] {
        let path = rewritten(&loha, &folder.path().join("x.safetensors"), |key, tensor| {
            let tensor = if key.ends_with(".alpha") { tensor.reshape(shape).to_kind(kind) } else { tensor };
            Some((key, tensor))
        });
        assert_eq!(merged(&[lora(&path, 1.0)]).unwrap(), expected, "{shape:?}");
    }
}

/// A row that the model has as zeros, and to which a DoRA's factors add nothing, has no direction to be given a length.
#[test]
fn a_norm_takes_no_factors_and_a_dora_leaves_zeros_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let layer = "lora_unet_down_blocks_0_resnets_0_norm1";
    let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
    let parts =
        [(format!("{layer}.lora_down.weight"), ones(&[1, 16])), (format!("{layer}.lora_up.weight"), ones(&[16, 1]))];
    Tensor::write_safetensors(&parts, &path).unwrap();
    let error = merged(&[lora(&path, 1.0)]).unwrap_err().to_string();
    assert!(
        error.contains("`unet.down_blocks.0.resnets.0.norm1` with its weight of [16] takes a whole difference"),
        "{error}"
    );

    // conv_in taken away from itself leaves zeros, which the magnitudes of a second file divide by their norm.
    let all = merged(&[]).unwrap();
    let zero = folder.path().join("zero.safetensors");
    Tensor::write_safetensors(&[("lora_unet_conv_in.diff", -&all["unet.conv_in.weight"])], &zero).unwrap();
    let dora = rewritten(&golden_file("lora/dora.safetensors"), &path, |key, tensor| {
        let tensor = if key.contains("lora_up") { tensor.zeros_like() } else { tensor };
        key.contains("conv_in").then_some((key, tensor))
    });
    let merged = merged(&[lora(&zero, 1.0), lora(&dora, 1.0)]).unwrap();
    assert_eq!(merged["unet.conv_in.weight"].abs().max().double_value(&[]), 0.0);
}
