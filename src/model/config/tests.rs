//! What a configuration may be written like, and what is refused. That the networks compute with it is tested elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use serde_json::json;
use std::path::Path;

fn unet(value: Value) -> Result<UNetConfig> {
    UNetConfig::parse(&value.to_string(), Path::new("config.json"))
}

fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn null_is_the_default() {
    let nulls = json!({
        "upcast_attention": null, "layers_per_block": null, "norm_eps": null, "block_out_channels": null,
        "down_block_types": null, "sample_size": null, "cross_attention_dim": null, "attention_head_dim": null,
        "flip_sin_to_cos": null, "act_fn": null, "dropout": null
    });
    let (given, default) = (unet(nulls).unwrap(), UNetConfig::default());
    assert_eq!(format!("{given:?}"), format!("{default:?}"));
    let vae = VaeConfig::parse(r#"{"scaling_factor": null, "force_upcast": null}"#, Path::new("")).unwrap();
    assert_eq!((vae.scaling_factor, vae.force_upcast), (0.18215, true));
    let text = TextConfig::parse(r#"{"hidden_act": null, "vocab_size": null}"#, Path::new("")).unwrap();
    assert_eq!((text.hidden_act.as_str(), text.vocab_size), ("quick_gelu", 49408));
    // Without a middle block it is another network.
    assert!(refusal(unet(json!({ "mid_block_type": null }))).starts_with("`mid_block_type` is `null`"));
}

#[test]
fn a_list_of_equal_numbers_is_that_number() {
    let lists = json!({
        "sample_size": [96, 96], "layers_per_block": [1, 1, 1, 1], "cross_attention_dim": [768, 768, 768, 768],
        "only_cross_attention": [false, false, false, false], "attention_head_dim": [8, 8, 8, 8],
    });
    let read = unet(lists).unwrap();
    assert_eq!((read.sample_size, read.layers_per_block, read.cross_attention_dim), (96, 1, 768));
    assert!((0..4).all(|i| read.heads(i) == 8));
    for (field, value) in [
        ("sample_size", json!([64, 96])),
        ("layers_per_block", json!([1, 2, 2, 2])),
        ("layers_per_block", json!([2, 2])),
        ("cross_attention_dim", json!([768, 768, 768, 1024])),
        ("only_cross_attention", json!([true, true, true, false])),
        ("attention_head_dim", json!([8, 8])),
    ] {
        let said = refusal(unet(json!({ field: value, "block_out_channels": [320, 640, 1280, 1280] })));
        assert!(said.starts_with(&format!("`{field}` is ")) && said.contains("in `config.json`"), "{said}");
    }
}

#[test]
fn what_training_leaves_in_a_file_is_passed_over_and_told() {
    let fields = json!({
        "power": 0.75, "decay": 0.9999, "optimization_step": 50000, "inv_gamma": 1.0, "min_decay": 0.0,
        "update_after_step": 0, "use_ema_warmup": true, "dropout": 0.1, "_name_or_path": "here"
    });
    let read = unet(fields).unwrap();
    let expected = "`power`, `decay`, `optimization_step`, `inv_gamma`, `min_decay`, `update_after_step`, \
                    `use_ema_warmup` of training: passed over, no network reads them";
    assert_eq!(read.notes(), [expected]);
    assert!(unet(json!({})).unwrap().notes().is_empty());
    let said = refusal(unet(json!({ "class_embed_type": "timestep" })));
    assert_eq!(said, "`class_embed_type` is \"timestep\" in `config.json`: not supported (supported: null)");
}

/// diffusers' pipelines read a sample size below 64 as 64 where diffusers before 0.9 wrote it.
#[test]
fn an_old_sample_size_is_set_right() {
    let size = |size: i64, version: &str| {
        let read = unet(json!({ "sample_size": size, "_diffusers_version": version })).unwrap();
        assert_eq!(read.notes().is_empty(), read.sample_size == size);
        read.sample_size
    };
    assert_eq!((size(32, "0.6.0"), size(32, "0.8.0.dev0"), size(32, "0.2.2")), (64, 64, 64));
    assert_eq!((size(32, "0.9.0.dev0"), size(32, "0.42.1"), size(32, "1.0.0")), (32, 32, 32));
    assert_eq!(size(96, "0.6.0"), 96);
    assert_eq!(unet(json!({ "sample_size": 32 })).unwrap().sample_size, 32);
}

#[test]
fn absurd_numbers_are_refused_by_name() {
    for (field, value) in [
        ("layers_per_block", json!(0)),
        ("layers_per_block", json!(1_000_000_000)),
        ("transformer_layers_per_block", json!(1_i64 << 40)),
        ("block_out_channels", json!(vec![32; 70])),
        ("block_out_channels", json!([i64::MAX - 31])),
        ("cross_attention_dim", json!(i64::MAX)),
        ("sample_size", json!(1_i64 << 60)),
        ("sample_size", json!(-1)),
        ("in_channels", json!(0)),
        ("freq_shift", json!(160)),
        ("downsample_padding", json!(-3)),
        ("mid_block_scale_factor", json!(0)),
        ("norm_eps", json!(-1.0)),
        ("conv_in_kernel", json!(4)),
    ] {
        let mut fields = json!({ field: value });
        if field == "block_out_channels" {
            let blocks = fields[field].as_array().unwrap().len();
            fields["down_block_types"] = json!(vec!["DownBlock2D"; blocks]);
            fields["up_block_types"] = json!(vec!["UpBlock2D"; blocks]);
        }
        let said = refusal(unet(fields));
        assert!(said.starts_with(&format!("`{field}")) && said.contains("in `config.json`"), "{field}: {said}");
    }
    for (field, value) in [
        ("max_position_embeddings", json!(1_i64 << 40)),
        ("max_position_embeddings", json!(0)),
        ("vocab_size", json!(-5)),
        ("num_hidden_layers", json!(1_i64 << 40)),
        ("layer_norm_eps", json!(0.0)),
    ] {
        let said = refusal(TextConfig::parse(&json!({ field: value }).to_string(), Path::new("config.json")));
        assert!(said.starts_with(&format!("`{field}` is ")), "{field}: {said}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    let said = refusal(unet(json!({ "norm_num_groups": "many" })));
    let expected = "`config.json` is not a valid UNet configuration: `norm_num_groups` is \"many\": invalid type: ";
    assert!(said.starts_with(expected), "{said}");
    let said = refusal(UNetConfig::parse("[]", Path::new("config.json")));
    assert_eq!(said, "`config.json` is not a valid UNet configuration: it is no JSON object");
}

/// As diffusers reads them: an activation in any case, and a shift by nothing.
#[test]
fn other_spellings_of_the_same_are_read() {
    for name in ["SiLU", "Swish", "silu"] {
        unet(json!({ "act_fn": name })).unwrap();
    }
    let said = refusal(unet(json!({ "act_fn": "Mish" })));
    assert!(said.starts_with("`act_fn` is `Mish`") && said.ends_with("(supported: silu, swish)"), "{said}");
    let vae = |fields: Value| VaeConfig::parse(&fields.to_string(), Path::new("config.json"));
    vae(json!({ "act_fn": "SiLU", "shift_factor": 0.0 })).unwrap();
    vae(json!({ "shift_factor": 0 })).unwrap();
    let said = refusal(vae(json!({ "shift_factor": 0.1 })).map(drop));
    assert!(said.starts_with("`shift_factor` is 0.1"), "{said}");
}
