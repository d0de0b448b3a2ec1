//! The names that ComfyUI and peft give, and whose they are that nobody here knows.

use super::kinds::merged;
use super::{lora, rewritten, said};
use crate::common::golden_file;
use std::path::Path;
use tch::{Device, Kind, Tensor};

/// Whether two files change a model in the same way, and do.
fn same(one: &Path, other: &Path) {
    let [one, other, plain] = [&[lora(one, 0.7)][..], &[lora(other, 0.7)], &[]].map(|all| merged(all).unwrap());
    assert_eq!(one, other);
    assert_ne!(one, plain);
}

/// As ComfyUI's `LoraSave` writes them: CompVis' names with their dots, and the text encoder's projection, which plays no part.
#[test]
fn names_of_comfyui_mean_the_same_layers() {
    let folder = tempfile::tempdir().unwrap();
    let kohya = golden_file("lora/kohya.safetensors");
    let comfy = [
        ("lora_te_text_model_encoder_layers_", "text_encoders.clip_l.transformer.text_model.encoder.layers."),
        ("_self_attn_", ".self_attn."),
        ("_mlp_", ".mlp."),
        ("lora_unet_down_blocks_1_resnets_0_conv1", "diffusion_model.input_blocks.4.0.in_layers.2"),
        ("lora_unet_down_blocks_1_resnets_0_conv_shortcut", "diffusion_model.input_blocks.4.0.skip_connection"),
        ("lora_unet_down_blocks_1_resnets_0_time_emb_proj", "diffusion_model.input_blocks.4.0.emb_layers.1"),
        ("lora_unet_down_blocks_1_downsamplers_0_conv", "diffusion_model.input_blocks.6.0.op"),
        ("lora_unet_down_blocks_1_attentions_0_", "diffusion_model.input_blocks.4.1."),
        ("lora_unet_mid_block_resnets_0_conv1", "diffusion_model.middle_block.0.in_layers.2"),
        ("lora_unet_mid_block_resnets_0_time_emb_proj", "diffusion_model.middle_block.0.emb_layers.1"),
        ("lora_unet_mid_block_attentions_0_", "diffusion_model.middle_block.1."),
        ("transformer_blocks_0_attn1_to_out_0", "transformer_blocks.0.attn1.to_out.0"),
        ("transformer_blocks_0_ff_net_0_proj", "transformer_blocks.0.ff.net.0.proj"),
        ("transformer_blocks_0_ff_net_2", "transformer_blocks.0.ff.net.2"),
    ];
    let path = rewritten(&kohya, &folder.path().join("comfy.safetensors"), |key, tensor| {
        let renamed = comfy.iter().fold(key, |key, (ours, theirs)| key.replace(ours, theirs));
        assert!(["diffusion_model.", "text_encoders."].iter().any(|root| renamed.starts_with(root)), "{renamed}");
        Some((renamed, tensor))
    });
    same(&path, &kohya);
    // Saved with a model of 2.x, and with the projection that ComfyUI's text encoders have.
    let more = folder.path().join("more.safetensors");
    let mut all = Tensor::read_safetensors(&path).unwrap();
    for (key, _) in &mut all {
        *key = key.replace("clip_l", "clip_h");
    }
    let ones = Tensor::ones([24, 24], (Kind::Float, Device::Cpu));
    for part in ["lora_down", "lora_up"] {
        all.push((format!("text_encoders.clip_h.transformer.text_projection.{part}.weight"), ones.copy()));
    }
    Tensor::write_safetensors(&all, &more).unwrap();
    same(&more, &kohya);
    // It also has the embeddings, which no training of LoRAs changes.
    let position = folder.path().join("position.safetensors");
    let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
    let layer = "text_encoders.clip_l.transformer.text_model.embeddings.position_embedding";
    let parts =
        [(format!("{layer}.lora_down.weight"), ones(&[1, 24])), (format!("{layer}.lora_up.weight"), ones(&[77, 1]))];
    Tensor::write_safetensors(&parts, &position).unwrap();
    let [ours, plain] = [&[lora(&position, 0.5)][..], &[]].map(|all| merged(all).unwrap());
    let key = "text_encoder.text_model.embeddings.position_embedding.weight";
    assert_eq!(ours[key], &plain[key] + 0.5);
    // Norms and biases, as `bias_diff` saves them.
    let whole = golden_file("lora/whole.safetensors");
    let path = rewritten(&whole, &folder.path().join("whole.safetensors"), |key, tensor| {
        let names = [
            ("lora_unet_down_blocks_0_resnets_0_norm1.w_norm", "diffusion_model.input_blocks.1.0.in_layers.0.diff"),
            ("lora_unet_down_blocks_0_resnets_0_norm1.b_norm", "diffusion_model.input_blocks.1.0.in_layers.0.diff_b"),
            ("lora_unet_conv_in.", "diffusion_model.input_blocks.0.0."),
            (
                "lora_te_text_model_final_layer_norm.w_norm",
                "text_encoders.clip_l.transformer.text_model.final_layer_norm.diff",
            ),
        ];
        Some((names.iter().fold(key, |key, (ours, theirs)| key.replace(ours, theirs)), tensor))
    });
    same(&path, &whole);
}

#[test]
fn the_name_of_one_adapter_is_left_out_and_two_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let to = |name: &str| folder.path().join(format!("{name}.safetensors"));
    let peft = golden_file("lora/peft.safetensors");
    let plain = rewritten(&peft, &to("plain"), |key, tensor| Some((key, tensor)));
    let named = |name: &str, adapter: fn(&str) -> &str| {
        rewritten(&peft, &to(name), |key, tensor| {
            let adapter = adapter(&key);
            Some((key.replace(".weight", &format!(".{adapter}.weight")), tensor))
        })
    };
    same(&named("one", |_| "default_0"), &plain);
    let two = named("two", |key| if key.starts_with("unet") { "cat" } else { "dog" });
    insta::assert_snapshot!("bad_two_adapters", said(&merged(&[lora(&two, 1.0)]).unwrap_err(), folder.path()));
}

/// What a file by peft's `save_pretrained` is scaled by stands beside it: of the UNet in the goldens, of a text encoder here.
#[test]
fn what_peft_saves_is_scaled_by_the_file_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let (path, config) = (folder.path().join("adapter_model.safetensors"), folder.path().join("adapter_config.json"));
    let peft = golden_file("lora/peft.safetensors");
    let text = |key: &str| key.starts_with("text_encoder.");
    rewritten(&peft, &path, |key, tensor| {
        text(&key).then(|| (key.replace("text_encoder.", "base_model.model."), tensor))
    });
    let missing = said(&merged(&[lora(&path, 1.0)]).unwrap_err(), folder.path());
    std::fs::write(&config, r#"{"peft_type": "LORA", "r": 3, "lora_alpha": 2}"#).unwrap();
    let (ours, theirs) = (merged(&[lora(&path, 0.7)]).unwrap(), merged(&[lora(&peft, 0.7)]).unwrap());
    let plain = merged(&[]).unwrap();
    assert!(ours.iter().all(|(key, weight)| *weight == if text(key) { &theirs } else { &plain }[key]));
    assert!(ours.iter().any(|(key, weight)| *weight != plain[key]));
    // The folder means the same.
    assert_eq!(merged(&[lora(folder.path(), 0.7)]).unwrap(), ours);
    let empty = tempfile::tempdir().unwrap();
    let empty = said(&merged(&[lora(empty.path(), 1.0)]).unwrap_err(), empty.path());

    let mut all = vec![missing, empty];
    for text in [
        r#"{"peft_type": "LOHA", "r": 3, "alpha": 2}"#,
        r#"{"peft_type": "LORA", "r": 3, "lora_alpha": "2"}"#,
        r#"{"peft_type": "LORA", "lora_alpha": 2, "alpha_pattern": {"(": 2}}"#,
        "[1] a note",
    ] {
        std::fs::write(&config, text).unwrap();
        all.push(said(&merged(&[lora(&path, 1.0)]).unwrap_err(), folder.path()));
    }
    insta::assert_snapshot!("bad_beside", all.join("\n\n"));
}

/// No word of another kind of model where no shape was compared.
#[test]
fn forms_that_are_not_read_are_refused_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let mut all = vec![];
    for keys in [
        &["unet.mid_block.x.to_q.lora_A.weight", "unet.mid_block.x.to_q.lora_B.weight"][..],
        &["unet.x.to_q.lora_A.weight", "unet.x.to_q.lora_B.weight", "unet.x.to_q.lora_B.bias"],
        &["unet:0:up", "unet:0:down"],
        &["lora_unet_conv_in.weight"],
        &["lora_unet_conv_in.weight", "lora_unet_conv_in.on_input"],
        &["lora_unet_conv_in.oft_diag"],
        &["base_model.model.conv_in.ia3_l"],
        &["unet.conv_in.base_layer.weight", "unet.conv_in.lora_A.default.weight"],
        &["lora_unet_conv_in.lora_up.weight", "lora_unet_conv_in.reshape_weight"],
    ] {
        let one = Tensor::ones([2, 2], (Kind::Float, Device::Cpu));
        Tensor::write_safetensors(&keys.iter().map(|key| (*key, &one)).collect::<Vec<_>>(), &path).unwrap();
        all.push(said(&merged(&[lora(&path, 1.0)]).unwrap_err(), folder.path()));
    }
    insta::assert_snapshot!("bad_forms", all.join("\n\n"));
}
