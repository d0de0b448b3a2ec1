//! The tokenizers that models come with: padding, special tokens, words that were learned, and files that are damaged.
//! The ids are those of transformers' `CLIPTokenizer`, 5.23.0.

use crate::common::{chosen, copy, golden_file, sdviz, stderr};
use sdviz::model::files::ModelFiles;
use sdviz::model::tokenizer::Tokenizer;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::Plan;
use sdviz::watch::probe::Probe;
use serde_json::{Value, json};
use std::path::Path;
use tch::{Kind, Tensor};

/// A folder with CLIP's tokenizer, and with these files in place of its own.
fn clip(files: &[(&str, Value)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("tokenizer");
    std::fs::create_dir(&to).unwrap();
    for name in ["vocab.json", "merges.txt", "tokenizer_config.json"] {
        std::fs::copy(golden_file("tiny-sd/tokenizer").join(name), to.join(name)).unwrap();
    }
    for (name, value) in files {
        std::fs::write(to.join(name), value.to_string()).unwrap();
    }
    folder
}

fn load(folder: &Path) -> sdviz::error::Result<Tokenizer> {
    Tokenizer::load(&ModelFiles::Folder(folder.to_path_buf()), 77)
}

/// The ids of a prompt up to the first padding, and the padding.
fn ids(tokenizer: &Tokenizer, prompt: &str) -> (Vec<i64>, i64) {
    let mut ids = tokenizer.encode(prompt).unwrap().ids;
    let pad = *ids.last().unwrap();
    while ids.len() > 1 && ids[ids.len() - 1] == pad && ids[ids.len() - 2] != 49407 {
        ids.pop();
    }
    ids.pop();
    (ids, pad)
}

/// `tokenizer_config.json` of the tiny model with other fields.
fn config(fields: Value) -> Value {
    let text = std::fs::read_to_string(golden_file("tiny-sd/tokenizer/tokenizer_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    config
}

fn token(content: &str, normalized: bool) -> Value {
    json!({ "content": content, "lstrip": false, "normalized": normalized, "rstrip": false, "single_word": false })
}

#[test]
fn what_pads_is_a_special_token_wherever_it_is_named() {
    let exclamation = token("!", false);
    let mut special = exclamation.clone();
    special["special"] = json!(true);
    for (name, files) in [
        ("a text in the map", vec![("special_tokens_map.json", json!({ "pad_token": "!" }))]),
        ("an object in the map", vec![("special_tokens_map.json", json!({ "pad_token": exclamation }))]),
        ("the configuration", vec![("tokenizer_config.json", config(json!({ "pad_token": exclamation })))]),
        (
            "the list of all",
            vec![(
                "tokenizer_config.json",
                config(json!({ "pad_token": "!", "added_tokens_decoder": { "0": special } })),
            )],
        ),
    ] {
        let tokenizer = load(clip(&files).path()).unwrap();
        for (prompt, expected) in [
            ("a cat!", vec![49406, 320, 2368, 0, 49407]),
            ("a cat! a dog!!", vec![49406, 320, 2368, 0, 320, 1929, 0, 0, 49407]),
            ("wow!", vec![49406, 2781, 0, 49407]),
        ] {
            assert_eq!(ids(&tokenizer, prompt), (expected, 0), "{name}: {prompt}");
        }
    }
    let plain = load(clip(&[]).path()).unwrap();
    assert_eq!(plain.encode("a cat!").unwrap().ids[..6], [49406, 320, 2368, 256, 49407, 49407]);
}

/// A special token that is named nowhere else is one, too.
#[test]
fn further_special_tokens_are_looked_for() {
    for files in [
        vec![("special_tokens_map.json", json!({ "additional_special_tokens": ["!"] }))],
        vec![("tokenizer_config.json", config(json!({ "additional_special_tokens": [token("!", false)] })))],
        vec![("tokenizer_config.json", config(json!({ "extra_special_tokens": ["!"] })))],
    ] {
        let tokenizer = load(clip(&files).path()).unwrap();
        assert_eq!(tokenizer.encode("a cat!").unwrap().ids[..6], [49406, 320, 2368, 0, 49407, 49407], "{files:?}");
    }
}

/// Stable Diffusion 2.x as it was published: its special tokens are looked for in the text after it was made lower case.
#[test]
fn a_special_token_says_how_it_is_looked_for() {
    let map = json!({
        "bos_token": token("<|startoftext|>", true), "eos_token": token("<|endoftext|>", true), "pad_token": "!"
    });
    let published = load(clip(&[("special_tokens_map.json", map)]).path()).unwrap();
    let text = "A <|ENDOFTEXT|> b <|endoftext|>";
    assert_eq!(published.encode(text).unwrap().ids[..7], [49406, 320, 49407, 321, 49407, 49407, 0]);
    let plain = load(clip(&[]).path()).unwrap();
    let expected = [49406, 320, 27, 347, 40786, 4160, 91, 285, 321, 49407, 49407];
    assert_eq!(plain.encode(text).unwrap().ids[..11], expected);
    // In CLIP's split it is a word of its own, also in capitals and before a full stop.
    let expected = [49406, 27, 347, 993, 6659, 4160, 91, 285, 269, 49407];
    assert_eq!(plain.encode("<|STARTOFTEXT|>.").unwrap().ids[..10], expected);
}

#[test]
fn words_saved_into_the_tokenizer_count() {
    let mut learned = token("<house>", true);
    learned["special"] = json!(false);
    for files in [
        vec![("added_tokens.json", json!({ "<house>": 49408 }))],
        // A list of all tokens goes before the other files: here `!` pads no more.
        vec![
            ("tokenizer_config.json", config(json!({ "added_tokens_decoder": { "49408": learned } }))),
            ("special_tokens_map.json", json!({ "pad_token": "!" })),
        ],
    ] {
        let tokenizer = load(clip(&files).path()).unwrap();
        assert_eq!(tokenizer.vocabulary_size(), 49409);
        for (prompt, expected) in [
            ("a <house>", vec![49406, 320, 49408, 49407]),
            ("a <House>!", vec![49406, 320, 49408, 256, 49407]),
            ("<house>s and <house> <house>", vec![49406, 49408, 338, 537, 49408, 49408, 49407]),
            ("a<house>b", vec![49406, 320, 49408, 321, 49407]),
        ] {
            let found = tokenizer.encode(prompt).unwrap().ids;
            assert_eq!(found[..expected.len()], expected, "{prompt}");
            assert_eq!(found[expected.len()], 49407, "{prompt}");
        }
    }
}

/// diffusers draws a word that was learned as several with all of them.
#[test]
fn a_word_learned_as_several_is_all_of_them() {
    let words = json!({ "<house>_1": 49409, "<house>": 49408, "<house>_2": 49410 });
    let mut tokenizer = load(clip(&[("added_tokens.json", words)]).path()).unwrap();
    let found = tokenizer.encode("a <house>").unwrap().ids;
    assert_eq!(found[..6], [49406, 320, 49408, 49409, 49410, 49407]);
    // What `--embedding` adds comes behind.
    assert_eq!(tokenizer.add_embedding("<shed>", 2).unwrap(), 49411);
    assert_eq!(tokenizer.encode("<shed>").unwrap().ids[..4], [49406, 49411, 49412, 49407]);
}

#[test]
fn a_ready_made_tokenizer_takes_the_same_words_and_padding() {
    let sd2 = golden_file("tiny-sd2/tokenizer");
    let entries: Value = serde_json::from_slice(&std::fs::read(sd2.join("vocab.json")).unwrap()).unwrap();
    let next = entries.as_object().unwrap().len();
    let folder = |ready: bool, next: usize| {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("tokenizer");
        std::fs::create_dir(&to).unwrap();
        let names =
            if ready { &["tokenizer_config.json"][..] } else { &["tokenizer_config.json", "vocab.json", "merges.txt"] };
        for name in names {
            std::fs::copy(sd2.join(name), to.join(name)).unwrap();
        }
        if ready {
            std::fs::copy(golden_file("tokenizer.json"), to.join("tokenizer.json")).unwrap();
        }
        std::fs::write(to.join("special_tokens_map.json"), json!({ "pad_token": "!" }).to_string()).unwrap();
        std::fs::write(to.join("added_tokens.json"), json!({ "<house>": next }).to_string()).unwrap();
        folder
    };
    let (ready, apart) = (load(folder(true, next).path()).unwrap(), load(folder(false, next).path()).unwrap());
    for prompt in ["a red apple!", "a <house>, two <House>s!!", ""] {
        assert_eq!(ready.encode(prompt).unwrap(), apart.encode(prompt).unwrap(), "{prompt}");
    }
    let said = load(folder(true, next + 7).path()).unwrap_err().to_string();
    assert!(said.contains("added_tokens.json") && said.contains(&format!("`<house>` the id {}", next + 7)), "{said}");
}

#[test]
fn damaged_files_are_named() {
    let vocab = json!({ "a": 0, "b": 1, "ab": 2, "<|startoftext|>": 3, "<|endoftext|>": 4 });
    let good = [("vocab.json", vocab.to_string()), ("merges.txt", "#version: 0.2\na b\n".to_string())];
    let said = |harm: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("tokenizer");
        std::fs::create_dir(&to).unwrap();
        good.iter().for_each(|(name, text)| std::fs::write(to.join(name), text).unwrap());
        harm.iter().for_each(|(name, text)| std::fs::write(to.join(name), text).unwrap());
        load(folder.path()).map_err(|e| e.to_string().replace(to.to_str().unwrap(), "T"))
    };
    assert!(said(&[]).is_ok());
    for (name, text, expected) in [
        ("merges.txt", "a b\nab", "line 2, `ab`, is not a pair of pieces"),
        ("merges.txt", "a x", "line 1, `a x`, has to do with `x`, which the vocabulary lacks"),
        ("vocab.json", r#"{"a": 0, "b": 0, "ab": 2}"#, "`a` and `b` both have the id 0"),
        ("vocab.json", r#"{"a": 99999999999}"#, "piece `a` has the id 99999999999"),
        ("added_tokens.json", r#"{"<x>": 4}"#, "`<x>` and `<|endoftext|>` both have the id 4"),
        ("added_tokens.json", r#"{"ab": 9}"#, "it gives `ab` the id 9, `T/vocab.json` gives it 2"),
        ("added_tokens.json", r#"{"<x>": "5"}"#, "`<x>` has the id \"5\""),
        ("added_tokens.json", "[1]", "it is no JSON object"),
        (
            "special_tokens_map.json",
            r#"{"pad_token": 5}"#,
            "`T/special_tokens_map.json` is not a valid tokenizer configuration: `pad_token` is 5, which is no token",
        ),
        (
            "tokenizer_config.json",
            r#"{"added_tokens_decoder": {"x": {}}}"#,
            "`added_tokens_decoder.x` is {}, which is no",
        ),
        ("tokenizer_config.json", r#"{"model_max_length": 2}"#, "`model_max_length` is 2 in `T/tokenizer_config.json`"),
        ("tokenizer_config.json", r#"{"model_max_length": -1}"#, "`model_max_length` is -1"),
        ("tokenizer_config.json", r#"{"model_max_length": "77"}"#, "`model_max_length` is \"77\""),
        ("tokenizer_config.json", r#"{"pad_token": "[PAD]"}"#, "the vocabulary lacks `[PAD]`"),
    ] {
        let said = said(&[(name, text)]).unwrap_err();
        assert!(said.contains(expected) && said.contains("`T"), "{name} {text}: {said}");
    }
    // A tokenizer without a limit is saved with a number of thirty digits.
    let unlimited = said(&[("tokenizer_config.json", r#"{"model_max_length": 1000000000000000019884624838656}"#)]);
    assert_eq!(unlimited.unwrap().window(), 77);
}

/// A copy of the tiny model with one more file in its tokenizer.
fn tiny(to: &Path, name: &str, value: Value) -> String {
    let model = to.join("model");
    copy(&golden_file("tiny-sd"), &model);
    std::fs::write(model.join("tokenizer").join(name), value.to_string()).unwrap();
    model.display().to_string()
}

#[test]
fn tokens_shows_them_and_refuses_ids_beyond_the_embeddings() {
    let folder = tempfile::tempdir().unwrap();
    let model = tiny(folder.path(), "special_tokens_map.json", json!({ "pad_token": "!" }));
    let output = sdviz(&["tokens", "a cat!", "--json", "--model", &model]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids: Vec<i64> = serde_json::from_value(json["prompt"]["ids"].clone()).unwrap();
    assert_eq!((&ids[..7], ids.len()), (&[49406, 320, 2368, 0, 49407, 0, 0][..], 77));
    // The text encoder has no embedding for a word that was learned.
    let model = tiny(folder.path(), "added_tokens.json", json!({ "<house>": 49408 }));
    let out = folder.path().join("run").display().to_string();
    for arguments in
        [&["tokens", "a cat", "--model", &model][..], &["trace", "--prompt", "a", "--model", &model, "--out", &out]]
    {
        let output = sdviz(arguments);
        let said = stderr(&output);
        let expected = format!(
            "error: the tokenizer in `{model}/tokenizer` gives `<house>` the id 49408, and the text encoder has \
             embeddings for 0 to 49407\nhint: take tokenizer and text_encoder from one model\n"
        );
        assert_eq!((output.status.code(), said.ends_with(&expected)), (Some(2), true), "{said}");
    }
}

/// The tiny model with a learned word, whose embedding is that of the first piece.
fn learned(to: &Path) -> String {
    let model = tiny(to, "added_tokens.json", json!({ "<house>": 49408 }));
    let weights = Path::new(&model).join("text_encoder/model.safetensors");
    let longer = |(name, tensor): (String, Tensor)| match name.contains("token_embedding") {
        true => (name, Tensor::cat(&[&tensor, &tensor.narrow(0, 0, 1)], 0)),
        false => (name, tensor),
    };
    let tensors: Vec<_> = Tensor::read_safetensors(&weights).unwrap().into_iter().map(longer).collect();
    Tensor::write_safetensors(&tensors, &weights).unwrap();
    let config = Path::new(&model).join("text_encoder/config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"vocab_size\": 49408", "\"vocab_size\": 49409")).unwrap();
    model
}

/// A learned word goes with the model into other forms.
#[test]
fn convert_keeps_learned_words() {
    let folder = tempfile::tempdir().unwrap();
    let model = learned(folder.path());
    let (single, back) = (folder.path().join("one.safetensors"), folder.path().join("back"));
    let single = single.display().to_string();
    for (from, to) in [(&model, &single), (&single, &back.display().to_string())] {
        let output = sdviz(&["convert", from, to]);
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert_eq!(load(&back).unwrap().encode("a <house>").unwrap().ids[..3], [49406, 320, 49408]);
}

/// The first latents that diffusers 0.42.1 draws with these models in 5 steps with seed 3.
#[test]
fn pictures_are_drawn_with_them_as_diffusers_draws_them() {
    let folder = tempfile::tempdir().unwrap();
    let pads = tiny(&folder.path().join("pads"), "special_tokens_map.json", json!({ "pad_token": "!" }));
    for (model, prompt, expected) in [
        (learned(folder.path()), "a <house>", [0.04861, 0.86567, -5.11573, 0.03476]),
        (pads, "a cat!", [-0.12049, 0.71564, -5.46527, -0.20429]),
    ] {
        let choice = chosen(model);
        let pipeline = Pipeline::load(&choice, LoadOptions::default()).unwrap();
        let mut plan = Plan { prompt: prompt.into(), steps: 5, width: 64, height: 64, seed: 3, ..Plan::default() };
        pipeline.complete(&mut plan).unwrap();
        let latents = pipeline.generate(&plan, &Probe::silent()).unwrap().latents;
        let found = Vec::<f64>::try_from(latents.flatten(0, -1).narrow(0, 0, 4).to_kind(Kind::Double)).unwrap();
        let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4);
        assert!(close, "{prompt}: {found:?}, diffusers draws {expected:?}");
    }
}
