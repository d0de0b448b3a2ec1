//! Models as people carry them about: an autoencoder exchanged, a checkpoint in one file, merges.

use crate::common::{self, command, root, stdout, succeeded, tiny_sd};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn sdviz(arguments: &[&str]) -> Output {
    // MKL chooses its way by where a matrix begins in memory, and so rounds otherwise for the same weights in another file:
    // on some processors, in the last bit. Here it is what we read and write that counts.
    command().env("MKL_CBWR", "AUTO").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command that must succeed: its standard output.
fn done(arguments: &[&str]) -> String {
    stdout(&succeeded(sdviz(arguments), &arguments))
}

/// Runs a command that must fail: what it says, without this machine's folders.
fn complaint(arguments: &[&str], folder: &Path) -> String {
    let said = common::complaint(&sdviz(arguments), &arguments).replace(folder.to_str().unwrap(), "FOLDER");
    let said = said.replace(root("").to_str().unwrap(), "ROOT/");
    said.lines().filter(|l| !l.starts_with("model: ")).collect::<Vec<_>>().join("\n")
}

/// A short trace with more arguments: the run's folder.
fn trace(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let out = folder.join(name);
    let base = ["trace", "--prompt", "a lovely cat", "--steps", "2", "--decode", "final", "--quiet", "--out"];
    done(&[&base[..], &[out.to_str().unwrap()], more].concat());
    out
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn parameters(picture: &Path) -> String {
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(picture).unwrap()));
    let reader = decoder.read_info().unwrap();
    let chunks = &reader.info().uncompressed_latin1_text;
    chunks.iter().find(|c| c.keyword == "parameters").unwrap().text.clone()
}

/// Every step's tensors and the picture's pixels, byte by byte.
fn made(run: &Path) -> Vec<Vec<u8>> {
    let steps = (0..).map(|k| run.join(format!("steps/{k:03}.safetensors"))).take_while(|p| p.exists());
    let mut all: Vec<Vec<u8>> = steps.map(|p| std::fs::read(p).unwrap()).collect();
    assert!(all.len() > 2, "no steps in {}", run.display());
    all.push(image::open(run.join("final.png")).unwrap().to_rgb8().into_raw());
    all
}

mod vae {
    use super::*;

    #[test]
    fn another_autoencoder_changes_the_picture_but_not_the_latents_and_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let model = tiny_sd();
        let own = trace(folder, "own", &["--model", &model]);
        let swapped = trace(folder, "swapped", &["--model", &model, "--vae", "pocket"]);
        let (own_made, swapped_made) = (made(&own), made(&swapped));
        assert_eq!(own_made[..own_made.len() - 1], swapped_made[..swapped_made.len() - 1]);
        assert_ne!(own_made.last(), swapped_made.last());

        let vae = &json(&swapped.join("run.json"))["model"]["components"][2];
        let hash =
            json(&trace(folder, "pocket", &["--model", "pocket"]).join("run.json"))["model"]["components"][2]["sha256"]
                .clone();
        assert_eq!((&vae["name"], &vae["from"], &vae["sha256"]), (&"vae".into(), &"pocket".into(), &hash));
        assert_eq!(vae["file"], "vae/diffusion_pytorch_model.safetensors");
        assert_eq!(json(&swapped.join("run.json"))["model"]["scaling_factor"], 0.18215);
        let said = parameters(&swapped.join("final.png"));
        assert!(said.contains(&format!(", VAE hash: {}, VAE: pocket, ", &hash.as_str().unwrap()[..10])), "{said}");
        assert!(!parameters(&own.join("final.png")).contains("VAE"));
    }

    #[test]
    fn an_autoencoder_is_named_by_its_own_folder_or_by_its_model() {
        let folder = tempfile::tempdir().unwrap();
        let model = tiny_sd();
        let vae = format!("{model}/vae");
        let whole = trace(folder.path(), "whole", &["--vae", &model]);
        let alone = trace(folder.path(), "alone", &["--vae", &vae]);
        assert_eq!(made(&whole), made(&alone));
        let component = json(&alone.join("run.json"))["model"]["components"][2].clone();
        assert_eq!(component["from"], vae);
        assert_eq!(component["file"], "diffusion_pytorch_model.safetensors");
        assert!(parameters(&alone.join("final.png")).contains("VAE: vae"));
    }

    #[test]
    fn a_sweep_uses_it_for_all_cells_and_keeps_the_cells_apart() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("sweep");
        let base = ["sweep", "--prompt", "a cat", "--steps", "1,2", "--no-grid", "--quiet", "--out"];
        for more in [&[][..], &["--vae", "tests/goldens/tiny-sd"]] {
            done(&[&base[..], &[out.to_str().unwrap()], more].concat());
        }
        let cells: Vec<PathBuf> =
            std::fs::read_dir(out.join("cells")).unwrap().map(|e| e.unwrap().path().join("run.json")).collect();
        let from = cells.iter().filter(|c| json(c)["model"]["components"][2]["from"] == "tests/goldens/tiny-sd");
        assert_eq!((cells.len(), from.count()), (4, 2));
    }

    #[test]
    fn one_that_does_not_fit_is_refused_and_a_doubtful_one_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let out = folder.join("run").display().to_string();
        let refused = |name: &str, vae: &str| {
            let said = complaint(&["trace", "--prompt", "a cat", "--out", &out, "--vae", vae], folder);
            insta::assert_snapshot!(format!("vae_{name}"), said);
            assert!(!Path::new(&out).exists(), "{name} left a half-written run");
        };
        refused("factor", "tests/goldens/tiny-sd2");
        let wide = folder.join("wide");
        std::fs::create_dir(&wide).unwrap();
        let config = std::fs::read_to_string(root("tests/goldens/tiny-sd/vae/config.json")).unwrap();
        std::fs::write(wide.join("config.json"), config.replace("\"latent_channels\": 4", "\"latent_channels\": 16"))
            .unwrap();
        refused("channels", wide.to_str().unwrap());
        std::fs::write(wide.join("config.json"), config).unwrap();
        refused("no_weights", wide.to_str().unwrap());
        refused("no_config", folder.to_str().unwrap());
        refused("not_there", "no/such/folder");
        let narrow = folder.join("narrow");
        std::fs::create_dir(&narrow).unwrap();
        let own = root("tests/goldens/tiny-sd/vae");
        let config = std::fs::read_to_string(own.join("config.json")).unwrap().replace("0.18215", "0.4");
        std::fs::write(narrow.join("config.json"), config).unwrap();
        let weights = "diffusion_pytorch_model.safetensors";
        std::fs::copy(own.join(weights), narrow.join(weights)).unwrap();
        let narrow = narrow.display().to_string();
        let output = sdviz(&[
            "trace", "--prompt", "a cat", "--steps", "1", "--decode", "final", "--out", &out, "--vae", &narrow,
        ]);
        let said = text(&output.stderr);
        assert!(said.contains("scales its latents by 0.4, the model's own by 0.18215"), "{said}");
        assert_eq!(json(&folder.join("run/run.json"))["model"]["scaling_factor"], 0.4);
    }
}

mod single_file {
    use super::*;
    use crate::common::{Tensors, tensors, write_tensors};

    use safetensors::{Dtype, SafeTensors};
    use std::collections::{BTreeMap, HashMap};

    /// Writes a file without our header, which would tell the configuration.
    fn write(path: &Path, tensors: &Tensors) {
        write_tensors(path, tensors, None);
    }

    fn header(path: &Path) -> Option<HashMap<String, String>> {
        let bytes = std::fs::read(path).unwrap();
        SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone()
    }

    const WEIGHTS: [&str; 3] = [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ];

    /// Newest transformers leave `text_model.` away; the published checkpoints and our own folders have it.
    fn today(tensors: Tensors) -> Tensors {
        let named = |(name, tensor): (String, _)| match name.split('.').next() {
            Some("embeddings" | "final_layer_norm") => (format!("text_model.{name}"), tensor),
            _ if name.starts_with("encoder.layers.") => (format!("text_model.{name}"), tensor),
            _ => (name, tensor),
        };
        tensors.into_iter().map(named).collect()
    }

    #[test]
    fn a_folder_as_one_file_and_back_is_the_same_and_draws_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for model in ["tests/goldens/tiny-sd", "assets/pocket"] {
            let name = Path::new(model).file_name().unwrap().to_str().unwrap();
            let (single, back) = (folder.join(format!("{name}.safetensors")), folder.join(name));
            let (single, back) = (single.to_str().unwrap(), back.to_str().unwrap());
            done(&["convert", model, single]);
            done(&["convert", single, back]);
            for file in WEIGHTS {
                let (ours, theirs) = (tensors(&Path::new(back).join(file)), today(tensors(&root(model).join(file))));
                assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name} {file}");
                assert!(ours == theirs, "{name} {file}");
            }
            for entry in ["model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json"]
                .into_iter()
                .chain(["scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"])
            {
                let text = |folder: &Path| std::fs::read_to_string(folder.join(entry)).unwrap();
                assert_eq!(text(Path::new(back)), text(&root(model)), "{name} {entry}");
            }
            let run = |from: &str, model: &str| made(&trace(folder, &format!("{name}-{from}"), &["--model", model]));
            let original = run("original", model);
            assert!(run("single", single) == original, "{name}: a run from the single file");
            assert!(run("back", back) == original, "{name}: a run from the folder made of it");
        }
    }

    /// A model of Stable Diffusion 1.x' own kind, but small: what shapes do not show is as there.
    fn foreign(folder: &Path) -> PathBuf {
        let model = folder.join("like-v1");
        done(&["convert", "tests/goldens/tiny-sd", model.to_str().unwrap()]);
        // The sizes of the tiny model stand; heads and groups are those that a checkpoint does not tell.
        let edit = |file: &str, pairs: &[(&str, &str)]| {
            let path = model.join(file);
            let mut text = std::fs::read_to_string(&path).unwrap();
            for (from, to) in pairs {
                assert!(text.contains(from), "{file}: {from}");
                text = text.replace(from, to);
            }
            std::fs::write(path, text).unwrap();
        };
        edit("unet/config.json", &[("\"attention_head_dim\": 4", "\"attention_head_dim\": 8")]);
        edit("text_encoder/config.json", &[("\"num_attention_heads\": 4", "\"num_attention_heads\": 1")]);
        model
    }

    /// Without our header, and with what training leaves in checkpoints.
    #[test]
    fn a_checkpoint_of_others_is_understood_by_its_shapes() {
        use sdviz::model::components::COMPONENTS;
        use sdviz::model::single_file::{SingleFile, Wanted};
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let model = foreign(folder);
        let single = folder.join("own.safetensors");
        done(&["convert", model.to_str().unwrap(), single.to_str().unwrap()]);
        let mut all = tensors(&single);
        let twice = |key: &str| format!("model_ema.{}", key.trim_start_matches("model.").replace('.', ""));
        let shadow: Tensors = all
            .iter()
            .filter(|(key, _)| key.starts_with("model.diffusion_model."))
            .map(|(key, (dtype, shape, data))| (twice(key), (*dtype, shape.clone(), vec![0; data.len()])))
            .collect();
        assert!(shadow.contains_key("model_ema.diffusion_modelinput_blocks00weight"));
        all.extend(shadow);
        for key in ["alphas_cumprod", "betas", "model_ema.decay", "first_stage_model.loss.logvar"] {
            all.insert(key.into(), (Dtype::F32, vec![2], vec![0; 8]));
        }
        let ids = "cond_stage_model.transformer.text_model.embeddings.position_ids".to_string();
        all.insert(ids, (Dtype::I64, vec![1, 77], vec![0; 77 * 8]));
        let other = folder.join("other.safetensors");
        write(&other, &all);

        let file = SingleFile::open(&other, Wanted::Model).unwrap();
        let config = |name: &str| -> serde_json::Value { serde_json::from_str(file.text(name).unwrap()).unwrap() };
        for name in ["unet/config.json", "vae/config.json", "text_encoder/config.json"] {
            let theirs = json(&model.join(name));
            // What does not show in shapes.
            let unseen = ["norm_num_groups", "sample_size", "eos_token_id", "bos_token_id"];
            for (field, value) in config(name).as_object().unwrap() {
                if !unseen.contains(&field.as_str()) {
                    assert_eq!(value, &theirs[field], "{name} {field}");
                }
            }
        }
        assert_eq!(config("unet/config.json")["norm_num_groups"], 32);
        for component in COMPONENTS {
            let ours = file.weights(component).unwrap();
            let theirs = SingleFile::open(&single, Wanted::Model).unwrap().weights(component).unwrap();
            assert_eq!(ours.entries().keys().collect::<Vec<_>>(), theirs.entries().keys().collect::<Vec<_>>());
            for (name, entry) in ours.entries() {
                assert!(ours.data(entry) == theirs.data(&theirs.entries()[name]), "{} {name}", component.name);
            }
        }
    }

    #[test]
    fn an_autoencoder_in_one_file_goes_with_vae() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let single = folder.join("whole.safetensors");
        done(&["convert", &tiny_sd(), single.to_str().unwrap()]);
        let from_whole = trace(folder, "whole", &["--model", &tiny_sd(), "--vae", single.to_str().unwrap()]);
        assert!(made(&from_whole) == made(&trace(folder, "own", &["--model", &tiny_sd()])));
        assert!(parameters(&from_whole.join("final.png")).contains("VAE: whole.safetensors"));

        let alone: Tensors = tensors(&single)
            .into_iter()
            .filter_map(|(key, tensor)| Some((key.strip_prefix("first_stage_model.")?.to_string(), tensor)))
            .collect();
        let path = folder.join("alone.safetensors");
        write(&path, &alone);
        use sdviz::model::components::VAE;
        use sdviz::model::single_file::{SingleFile, Wanted};
        let (ours, theirs) = (
            SingleFile::open(&path, Wanted::Vae).unwrap().weights(&VAE).unwrap(),
            SingleFile::open(&single, Wanted::Vae).unwrap().weights(&VAE).unwrap(),
        );
        assert_eq!(ours.entries().keys().collect::<Vec<_>>(), theirs.entries().keys().collect::<Vec<_>>());
        let said = complaint(&["inspect", path.to_str().unwrap()], folder);
        insta::assert_snapshot!("single_vae_alone", said);
    }

    /// A text encoder in OpenCLIP's naming: query, key and value in one tensor, and a last layer that is not asked for.
    fn open_clip(text: Tensors) -> Tensors {
        let mut all = Tensors::new();
        let mut parts: BTreeMap<String, [Vec<u8>; 3]> = BTreeMap::new();
        let begin = "cond_stage_model.model.";
        for (name, (dtype, shape, data)) in text {
            let name = name.strip_prefix("text_model.").unwrap();
            let end = match name {
                "embeddings.token_embedding.weight" => "token_embedding.weight".into(),
                "embeddings.position_embedding.weight" => "positional_embedding".into(),
                name if name.starts_with("final_layer_norm.") => name.replace("final_layer_norm", "ln_final"),
                name => name
                    .replace("encoder.layers.", "transformer.resblocks.")
                    .replace("layer_norm1", "ln_1")
                    .replace("layer_norm2", "ln_2")
                    .replace("mlp.fc1", "mlp.c_fc")
                    .replace("mlp.fc2", "mlp.c_proj")
                    .replace("self_attn", "attn"),
            };
            let place = ["q_proj.", "k_proj.", "v_proj."].iter().position(|part| end.contains(part));
            match place {
                Some(place) => {
                    let end = end.replace(["q_proj.", "k_proj.", "v_proj."][place], "in_proj_");
                    parts.entry(format!("{begin}{end}")).or_default()[place] = data;
                    let shape = [&[3 * shape[0]], &shape[1..]].concat();
                    all.insert(format!("{begin}{end}"), (dtype, shape, vec![]));
                }
                None => drop(all.insert(format!("{begin}{end}"), (dtype, shape, data))),
            }
        }
        for (key, parts) in parts {
            all.get_mut(&key).unwrap().2 = parts.concat();
        }
        for key in ["text_projection", "logit_scale", "transformer.resblocks.23.ln_1.bias"] {
            all.insert(format!("{begin}{key}"), (Dtype::F32, vec![1], vec![0; 4]));
        }
        all
    }

    /// The numbers of the tiny model of that kind, whose folder is held against diffusers.
    #[test]
    fn a_checkpoint_of_2_x_draws_as_its_folder_does() {
        use sdviz::model::compvis_names::{Depth, unet_back, vae_back};
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let model = root("tests/goldens/tiny-sd2");
        let depth = Depth { unet_layers: 1, vae_levels: 3, up_attention: [1, 2, 3].into(), ..Depth::default() };
        let mut all = open_clip(today(tensors(&model.join(WEIGHTS[0]))));
        for (file, prefix, name) in [
            (WEIGHTS[1], "model.diffusion_model.", unet_back as fn(&str, &Depth) -> Option<String>),
            (WEIGHTS[2], "first_stage_model.", vae_back),
        ] {
            let tensors = tensors(&model.join(file)).into_iter();
            all.extend(tensors.map(|(key, tensor)| (format!("{prefix}{}", name(&key, &depth).unwrap()), tensor)));
        }
        let texts = [
            "model_index.json",
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "tokenizer/merges.txt",
            "tokenizer/tokenizer_config.json",
            "tokenizer/vocab.json",
            "unet/config.json",
            "vae/config.json",
        ];
        let text = |name: &str| (name.to_string(), std::fs::read_to_string(model.join(name)).unwrap().into());
        let texts: serde_json::Map<String, serde_json::Value> = texts.map(text).into_iter().collect();
        let header = HashMap::from([("sdviz".to_string(), serde_json::Value::Object(texts).to_string())]);
        let single = folder.join("model.safetensors");
        write_tensors(&single, &all, Some(header));
        let size = ["--width", "32", "--height", "32"];
        let run = |name: &str, model: &Path| {
            made(&trace(folder, name, &[&["--model", model.to_str().unwrap()][..], &size].concat()))
        };
        let expected = run("folder", &model);
        assert!(run("single", &single) == expected);
        let back = folder.join("back");
        done(&["convert", single.to_str().unwrap(), back.to_str().unwrap()]);
        assert!(run("from-back", &back) == expected);
    }

    /// What shapes do not show of 2.x is as there; whether it predicts v no file says.
    #[test]
    fn a_checkpoint_of_2_x_by_others_is_understood() {
        use sdviz::model::files::ModelFiles;
        use sdviz::model::index;
        use sdviz::model::single_file::{SingleFile, Wanted};
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let one = |key: &str, shape: &[usize]| -> (String, (Dtype, Vec<usize>, Vec<u8>)) {
            (key.into(), (Dtype::F16, shape.to_vec(), vec![0; 2 * shape.iter().product::<usize>()]))
        };
        let text = |key: &str, shape: &[usize]| one(&format!("cond_stage_model.model.{key}"), shape);
        let unet = |key: &str, shape: &[usize]| one(&format!("model.diffusion_model.{key}"), shape);
        let vae = |key: &str, shape: &[usize]| one(&format!("first_stage_model.{key}"), shape);
        let mut all: Tensors = [
            text("token_embedding.weight", &[10, 128]),
            text("positional_embedding", &[77, 128]),
            text("transformer.resblocks.0.mlp.c_fc.weight", &[512, 128]),
            text("transformer.resblocks.23.mlp.c_fc.weight", &[512, 128]),
            unet("input_blocks.0.0.weight", &[64, 4, 3, 3]),
            unet("input_blocks.1.0.out_layers.3.weight", &[64, 64, 3, 3]),
            unet("input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", &[64, 128]),
            unet("input_blocks.2.0.op.weight", &[64, 64, 3, 3]),
            unet("input_blocks.3.0.out_layers.3.weight", &[128, 64, 3, 3]),
            unet("middle_block.1.transformer_blocks.0.attn2.to_k.weight", &[128, 128]),
            unet("middle_block.1.proj_in.weight", &[128, 128]),
            unet("out.2.weight", &[4, 64, 3, 3]),
            vae("encoder.conv_in.weight", &[32, 3, 3, 3]),
            vae("encoder.down.0.block.0.conv1.weight", &[32, 32, 3, 3]),
            vae("decoder.conv_in.weight", &[32, 4, 3, 3]),
            vae("decoder.conv_out.weight", &[3, 32, 3, 3]),
        ]
        .into();
        all.extend((1..23).map(|layer| text(&format!("transformer.resblocks.{layer}.ln_1.bias"), &[128])));
        // Blocks come in even rows.
        all.extend([unet("input_blocks.3.1.proj_in.bias", &[128])]);
        let read = |name: &str, header: &[(&str, &str)]| {
            let path = folder.join(name);
            let header = header.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            write_tensors(&path, &all, Some(header));
            SingleFile::open(&path, Wanted::Model).unwrap()
        };
        let json = |file: &SingleFile, name: &str| -> serde_json::Value {
            serde_json::from_str(file.text(name).unwrap()).unwrap()
        };
        let file = read("v2-1_768-ema-pruned.safetensors", &[]);
        let (unet, text) = (json(&file, "unet/config.json"), json(&file, "text_encoder/config.json"));
        assert_eq!(unet["attention_head_dim"], serde_json::json!([1, 2]));
        assert_eq!((&unet["use_linear_projection"], &unet["upcast_attention"]), (&true.into(), &true.into()));
        assert_eq!((&text["hidden_act"], &text["num_hidden_layers"]), (&"gelu".into(), &23.into()));
        assert_eq!((&text["num_attention_heads"], &text["intermediate_size"]), (&2.into(), &512.into()));
        assert_eq!(json(&file, "tokenizer/tokenizer_config.json")["pad_token"], "!");
        let v = serde_json::Value::from("v_prediction");
        for (name, header, expected, size) in [
            ("v2-1_768-ema-pruned.safetensors", &[][..], v.clone(), 96),
            ("v2-1_512-ema-pruned.safetensors", &[], serde_json::Value::Null, 64),
            ("512-base-ema.safetensors", &[("modelspec.prediction_type", "v")], v, 96),
            ("mine.safetensors", &[("modelspec.prediction_type", "epsilon")], serde_json::Value::Null, 64),
        ] {
            let file = read(name, header);
            assert_eq!(json(&file, "scheduler/scheduler_config.json")["prediction_type"], expected, "{name}");
            assert_eq!(json(&file, "unet/config.json")["sample_size"], size, "{name}");
            // What was guessed is told.
            let notes = index::notes(&ModelFiles::Single(file.into())).unwrap().join("\n");
            assert_eq!(notes.contains("does not say what it predicts: taken for"), header.is_empty(), "{notes}");
        }
    }

    /// Our header without one of its texts, as files of others lack it.
    fn header_without(path: &Path, text: &str) -> Option<HashMap<String, String>> {
        let mut header = header(path).unwrap();
        let mut texts: serde_json::Value = serde_json::from_str(&header["sdviz"]).unwrap();
        texts.as_object_mut().unwrap().remove(text).unwrap();
        header.insert("sdviz".into(), texts.to_string());
        Some(header)
    }

    #[test]
    fn a_checkpoint_without_an_autoencoder_draws_with_one_from_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (whole, single) = (folder.join("whole.safetensors"), folder.join("model.safetensors"));
        done(&["convert", &tiny_sd(), whole.to_str().unwrap()]);
        let mut all = tensors(&whole);
        all.retain(|key, _| !key.starts_with("first_stage_model."));
        write_tensors(&single, &all, header_without(&whole, "vae/config.json"));
        let single = single.to_str().unwrap();
        let drawn = trace(folder, "with", &["--model", single, "--vae", &tiny_sd()]);
        assert!(made(&drawn) == made(&trace(folder, "own", &["--model", &tiny_sd()])));
        insta::assert_snapshot!("single_no_vae", complaint(&["trace", "--prompt", "a cat", "--model", single], folder));
        // It can be given one for good.
        let baked = folder.join("baked.safetensors");
        done(&["convert", single, baked.to_str().unwrap(), "--vae", &tiny_sd()]);
        assert!(made(&drawn) == made(&trace(folder, "baked", &["--model", baked.to_str().unwrap()])));
    }

    /// As CLIPTextModelWithProjection and whole CLIPs leave them.
    #[test]
    fn what_else_a_clip_has_is_passed_over_in_a_single_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (whole, single) = (folder.join("whole.safetensors"), folder.join("model.safetensors"));
        done(&["convert", &tiny_sd(), whole.to_str().unwrap()]);
        let mut all = tensors(&whole);
        for key in ["text_projection.weight", "text_model.text_projection.weight", "logit_scale"] {
            let key = format!("cond_stage_model.transformer.{key}");
            all.insert(key, (Dtype::F32, vec![2, 2], vec![0; 16]));
        }
        write_tensors(&single, &all, header(&whole));
        let drawn = trace(folder, "more", &["--model", single.to_str().unwrap()]);
        assert!(made(&drawn) == made(&trace(folder, "own", &["--model", &tiny_sd()])));
    }

    #[test]
    fn scaled_weights_of_eight_bits_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (whole, single) = (folder.join("whole.safetensors"), folder.join("model.safetensors"));
        done(&["convert", &tiny_sd(), whole.to_str().unwrap()]);
        let mut all = tensors(&whole);
        all.insert("model.diffusion_model.scaled_fp8".into(), (Dtype::F8_E4M3, vec![2], vec![0; 2]));
        write_tensors(&single, &all, header(&whole));
        let arguments = ["trace", "--prompt", "a cat", "--model", single.to_str().unwrap()];
        insta::assert_snapshot!("single_scaled", complaint(&arguments, folder));
    }

    /// The tiny model's autoencoder with 8 channels to a group does not tell itself by its shapes; the pocket model's as
    /// a stranger does, with the 32 groups that every checkpoint of Stable Diffusion has.
    #[test]
    fn autoencoders_in_one_file_are_read_in_all_their_forms() {
        use sdviz::model::components::VAE;
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let model = folder.join("model");
        done(&["convert", "pocket", model.to_str().unwrap()]);
        let config = model.join("vae/config.json");
        let text = std::fs::read_to_string(&config).unwrap();
        assert!(text.contains("\"norm_num_groups\": 8"));
        std::fs::write(&config, text.replace("\"norm_num_groups\": 8", "\"norm_num_groups\": 32")).unwrap();
        let single = folder.join("whole.safetensors");
        done(&["convert", model.to_str().unwrap(), single.to_str().unwrap()]);
        let prefix = VAE.single_file.prefix;
        let compvis: Tensors = tensors(&single)
            .into_iter()
            .filter_map(|(key, tensor)| Some((key.strip_prefix(prefix)?.to_string(), tensor)))
            .collect();
        let diffusers = tensors(&model.join(WEIGHTS[2]));
        let renamed = |all: &Tensors, name: &dyn Fn(&str) -> String| -> Tensors {
            all.iter().map(|(key, tensor)| (name(key), tensor.clone())).collect()
        };
        let half_converted = |key: &str| match key.split_once(".attn_1.") {
            Some((front, back)) => {
                let back = back.replace("q.", "to_q.").replace("k.", "to_k.").replace("v.", "to_v.");
                format!("{front}.attn_1.{}", back.replace("proj_out.", "to_out.0."))
            }
            None => key.into(),
        };
        let decoder = |all: &Tensors| -> Tensors {
            let mut all = all.clone();
            all.retain(|key, _| key.starts_with("decoder.") || key.starts_with("post_quant_conv."));
            all
        };
        let forms = [
            ("compvis", compvis.clone()),
            ("diffusers", diffusers.clone()),
            ("prefixed", renamed(&compvis, &|key| format!("vae.{key}"))),
            ("prefixed-diffusers", renamed(&diffusers, &|key| format!("vae.{key}"))),
            ("half-converted", renamed(&compvis, &half_converted)),
            ("decoder", decoder(&compvis)),
            ("decoder-diffusers", decoder(&diffusers)),
        ];
        let model = model.to_str().unwrap();
        let expected = made(&trace(folder, "own", &["--model", model]));
        for (name, all) in &forms {
            let path = folder.join(format!("{name}.safetensors"));
            write(&path, all);
            let run = trace(folder, name, &["--model", model, "--vae", path.to_str().unwrap()]);
            assert!(made(&run) == expected, "{name}");
        }
        // Diffusers' own configuration counts where it lies beside.
        let beside = folder.join("beside");
        std::fs::create_dir(&beside).unwrap();
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(beside.join("config.json"), text.replace("0.18215", "0.4")).unwrap();
        let file = beside.join("a.safetensors");
        write(&file, &diffusers);
        let run = trace(folder, "with-config", &["--model", model, "--vae", file.to_str().unwrap()]);
        assert_eq!(json(&run.join("run.json"))["model"]["scaling_factor"], 0.4);
        // Where a picture is to be encoded, the decoder alone is not enough.
        let picture = folder.join("picture.png");
        image::RgbImage::new(64, 64).save(&picture).unwrap();
        let vae = folder.join("decoder.safetensors");
        let [vae, picture] = [vae, picture].map(|path| path.display().to_string());
        let start = ["trace", "--prompt", "a cat", "--model", model, "--vae", &vae, "--init-image", &picture];
        let out = folder.join("from-picture").display().to_string();
        let said = complaint(&[&start[..], &["--strength", "0.5", "--out", &out]].concat(), folder);
        insta::assert_snapshot!("single_vae_decoder", said);
    }

    #[test]
    fn what_is_no_checkpoint_of_ours_is_named_with_the_key_that_tells() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let single = folder.join("whole.safetensors");
        done(&["convert", &tiny_sd(), single.to_str().unwrap()]);
        let whole = tensors(&single);
        let one = |key: &str, shape: &[usize]| -> (String, (Dtype, Vec<usize>, Vec<u8>)) {
            (key.into(), (Dtype::F32, shape.to_vec(), vec![0; 4 * shape.iter().product::<usize>()]))
        };
        let refused = |name: &str, file: &Path| {
            let out = folder.join("run").display().to_string();
            let arguments = ["trace", "--prompt", "a cat", "--out", &out, "--model", file.to_str().unwrap()];
            insta::assert_snapshot!(format!("single_{name}"), complaint(&arguments, folder));
        };
        let path = folder.join("model.safetensors");
        let kinds: [(&str, &[&str]); 7] = [
            ("xl", &["conditioner.embedders.1.model.ln_final.bias", "model.diffusion_model.out.0.bias"]),
            ("v2_without_unet", &["cond_stage_model.model.ln_final.bias"]),
            ("flux", &["double_blocks.0.img_attn.proj.bias"]),
            ("lora", &["lora_unet_down_blocks_0_attentions_0_proj_in.alpha"]),
            ("component", &["down_blocks.0.resnets.0.conv1.bias"]),
            ("stranger", &["layers.0.weight", "layers.1.weight"]),
            ("no_unet", &["cond_stage_model.transformer.text_model.final_layer_norm.bias"]),
        ];
        for (name, keys) in kinds {
            write(&path, &keys.iter().map(|key| one(key, &[2])).collect());
            refused(name, &path);
        }
        type Change<'a> = (&'a str, &'a dyn Fn(&mut Tensors));
        let changes: [Change; 4] = [
            ("odd_key", &|t| t.extend([one("model.diffusion_model.label_emb.0.0.weight", &[2])])),
            ("missing_tensor", &|t| drop(t.remove("model.diffusion_model.middle_block.0.in_layers.2.bias"))),
            ("missing_size", &|t| drop(t.remove("first_stage_model.encoder.conv_in.weight"))),
            ("inpainting", &|t| t.extend([one("model.diffusion_model.input_blocks.0.0.weight", &[16, 9, 3, 3])])),
        ];
        for (name, change) in changes {
            let mut changed = whole.clone();
            change(&mut changed);
            write_tensors(&path, &changed, header(&single));
            refused(name, &path);
        }
        let bytes = std::fs::read(&single).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 100]).unwrap();
        refused("truncated", &path);
        std::fs::write(&path, &bytes[..1000]).unwrap();
        refused("truncated_header", &path);
        std::fs::write(&path, b"").unwrap();
        refused("empty", &path);
        let pickle = folder.join("model.ckpt");
        std::fs::write(&pickle, b"PK").unwrap();
        refused("pickle", &pickle);

        let converts = |name: &str, model: &str, out: &Path| {
            let said = complaint(&["convert", model, out.to_str().unwrap()], folder);
            insta::assert_snapshot!(format!("convert_{name}"), said);
        };
        converts("v2", "tests/goldens/tiny-sd2", &folder.join("v2.safetensors"));
        assert!(!folder.join("v2.safetensors").exists());
        converts("there_already", &tiny_sd(), &single);
        converts("folder_there_already", "pocket", folder);
        converts("pickle", pickle.to_str().unwrap(), &folder.join("new"));
        let left: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
    }
}

mod metadata {
    use super::*;

    const WEB_UI: &str = "a lovely cat, wearing: a hat\non a mat\nNegative prompt: blurry\nugly\n\
        Steps: 3, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4.5, Seed: 17, Size: 64x80, \
        Model: v1-5, Lora hashes: \"a: 1, b: 2\", Version: v1.9.4";

    fn picture(path: &Path, text: &str) {
        let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), 1, 1);
        encoder.set_color(png::ColorType::Rgb);
        match text.is_ascii() {
            true => encoder.add_text_chunk("parameters".into(), text.into()).unwrap(),
            false => encoder.add_itxt_chunk("parameters".into(), text.into()).unwrap(),
        }
        encoder.write_header().unwrap().write_image_data(&[0; 3]).unwrap();
    }

    /// A JPEG with an EXIF user comment, as web UIs write it: UTF-16 behind `UNICODE`.
    fn jpeg(path: &Path, text: &str) {
        let mut comment = b"UNICODE\0".to_vec();
        comment.extend(text.encode_utf16().flat_map(u16::to_be_bytes));
        let mut tiff = b"II*\0\x08\0\0\0".to_vec();
        let entry = |tag: u16, kind: u16, count: u32, value: u32| {
            let mut all = vec![1, 0];
            all.extend(tag.to_le_bytes());
            all.extend(kind.to_le_bytes());
            all.extend(count.to_le_bytes());
            all.extend(value.to_le_bytes());
            all.extend([0; 4]);
            all
        };
        tiff.extend(entry(0x8769, 4, 1, 26));
        tiff.extend(entry(0x9286, 7, comment.len() as u32, 44));
        tiff.extend(comment);
        let mut bytes = std::io::Cursor::new(vec![]);
        image::RgbImage::new(8, 8).write_to(&mut bytes, image::ImageFormat::Jpeg).unwrap();
        let plain = bytes.into_inner();
        let mut all = plain[..2].to_vec();
        all.extend([0xff, 0xe1]);
        all.extend(((tiff.len() + 8) as u16).to_be_bytes());
        all.extend(b"Exif\0\0");
        all.extend(tiff);
        all.extend(&plain[2..]);
        std::fs::write(path, all).unwrap();
    }

    #[test]
    fn a_web_uis_picture_is_read_and_drawn_like() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (png, jpg) = (folder.join("a.png"), folder.join("a.jpg"));
        picture(&png, WEB_UI);
        jpeg(&jpg, WEB_UI);
        insta::assert_snapshot!("metadata", done(&["metadata", png.to_str().unwrap()]));
        let said = done(&["metadata", "--json", png.to_str().unwrap()]);
        assert_eq!(said, done(&["metadata", "--json", jpg.to_str().unwrap()]));
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&said["scheduler"], &said["seed"]), (&"dpmpp_2m_karras".into(), &17.into()));

        let out = folder.join("run");
        let like = ["trace", "--model", &tiny_sd(), "--out", out.to_str().unwrap(), "--like", png.to_str().unwrap()];
        let output = sdviz(&[&like[..], &["--steps", "2", "--negative-prompt", "", "--decode", "final"]].concat());
        let warned = text(&output.stderr);
        assert!(output.status.success(), "{warned}");
        assert!(warned.contains("warning: the picture's noise was not drawn on the CPU"), "{warned}");
        let plan = &json(&out.join("run.json"))["plan"];
        assert_eq!(plan["prompt"], "a lovely cat, wearing: a hat\non a mat");
        assert_eq!(plan["negative_prompt"], "", "what was typed counts, also when it is empty");
        assert_eq!((&plan["steps"], &plan["seed"], &plan["guidance_scale"]), (&2.into(), &17.into(), &4.5.into()));
        assert_eq!((&plan["width"], &plan["height"]), (&64.into(), &80.into()));
        assert_eq!(plan["scheduler"], "dpmpp_2m_karras");
    }

    #[test]
    fn our_own_picture_is_drawn_again() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let more = ["--seed", "5", "--scheduler", "ddim", "--eta", "0.5", "--guidance-scale", "2.25", "--width", "64"];
        let first =
            trace(folder, "first", &[&more[..], &["--negative-prompt", "ünlike 猫", "--batch-size", "2"]].concat());
        let picture = first.join("final-b1.png");
        let out = folder.join("again");
        let base = ["trace", "--decode", "final", "--quiet", "--out", out.to_str().unwrap()];
        done(&[&base[..], &["--like", picture.to_str().unwrap()]].concat());
        let pixels = |path: &Path| image::open(path).unwrap().to_rgb8();
        assert_eq!(json(&out.join("run.json"))["plan"]["seed"], 6);
        let difference = pixels(&picture)
            .iter()
            .zip(pixels(&out.join("final.png")).iter())
            .map(|(a, b)| a.abs_diff(*b))
            .max()
            .unwrap();
        assert!(difference <= 1, "a batch may round otherwise, but not more: {difference}");
    }

    #[test]
    fn what_says_nothing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let png = folder.join("plain.png");
        image::RgbImage::new(2, 2).save(&png).unwrap();
        let mut said = vec![];
        said.push(complaint(&["metadata", png.to_str().unwrap()], folder));
        said.push(complaint(&["metadata", "Cargo.toml"], folder));
        said.push(complaint(&["metadata", "no/such.png"], folder));
        std::fs::write(&png, &std::fs::read(&png).unwrap()[..20]).unwrap();
        said.push(complaint(&["trace", "--like", png.to_str().unwrap()], folder));
        said.push(complaint(&["trace"], folder));
        insta::assert_snapshot!("metadata_refused", said.join("\n"));
    }
}

#[test]
fn the_models_that_are_here_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cache = folder.join("hub");
    for (name, from) in
        [("someone--tiny", tiny_sd()), ("other--half", root("tests/goldens/tiny-sd2").display().to_string())]
    {
        let snapshot = cache.join(format!("models--{name}/snapshots/abc"));
        let mut copy = Command::new("cp");
        std::fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
        assert!(copy.args(["-rL", &from]).arg(&snapshot).status().unwrap().success());
    }
    std::fs::remove_file(cache.join("models--other--half/snapshots/abc/unet/diffusion_pytorch_model.safetensors"))
        .unwrap();
    std::fs::create_dir_all(cache.join("models--someone--words/snapshots/abc")).unwrap();
    let single = folder.join("one.safetensors");
    done(&["convert", "pocket", single.to_str().unwrap()]);
    let mut command = command();
    command.env("HF_HUB_CACHE", &cache).env("SDVIZ_MODEL", "one.safetensors").arg("models").current_dir(folder);
    let listed = text(&command.output().unwrap().stdout).replace(folder.to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!("models", listed);
    let all: serde_json::Value = serde_json::from_slice(&command.arg("--json").output().unwrap().stdout).unwrap();
    assert_eq!(all[0]["name"], "pocket");
    assert_eq!((&all[2]["complete"], &all[3]["complete"]), (&false.into(), &true.into()));
}

mod merge {
    use super::*;
    use ndarray::Array1;
    use safetensors::SafeTensors;
    use std::collections::BTreeMap;

    fn floats(file: &Path) -> BTreeMap<String, Array1<f32>> {
        let bytes = std::fs::read(file).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let number = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        let named = |name: &str| match name.starts_with("embeddings") || name.starts_with("final_l") {
            true => format!("text_model.{name}"),
            false if name.starts_with("encoder.layers") => format!("text_model.{name}"),
            false => name.to_string(),
        };
        file.iter().map(|(name, t)| (named(name), t.data().chunks_exact(4).map(number).collect())).collect()
    }

    /// The tiny model with other numbers: each is the old one times `factor`.
    fn scaled(folder: &Path, name: &str, factor: f32) -> PathBuf {
        let model = folder.join(name);
        done(&["convert", &tiny_sd(), model.to_str().unwrap()]);
        for file in FILES {
            let bytes = std::fs::read(model.join(file)).unwrap();
            let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let scale = |b: &[u8]| (f32::from_le_bytes(b.try_into().unwrap()) * factor).to_le_bytes();
            let scaled = bytes[header..].chunks_exact(4).flat_map(scale);
            std::fs::write(model.join(file), bytes[..header].iter().copied().chain(scaled).collect::<Vec<u8>>())
                .unwrap();
        }
        model
    }

    const FILES: [&str; 3] = [
        "text_encoder/model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
    ];

    #[test]
    fn it_is_plain_arithmetic_on_the_tensors() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let (a, b, c) = (PathBuf::from(tiny_sd()), scaled(folder, "b", 1.37), scaled(folder, "c", -0.21));
        let names = [&a, &b, &c].map(|p| p.to_str().unwrap());
        let (weighted, difference) = (folder.join("weighted"), folder.join("difference"));
        done(&["merge", names[0], names[1], "--ratio", "0.3", "--out", weighted.to_str().unwrap()]);
        let mode = ["--mode", "add-difference", "--ratio", "0.7", "--blocks", "unet.up_blocks.1,vae.decoder=-1.5"];
        done(&[&["merge"][..], &names, &mode, &["--out", difference.to_str().unwrap()]].concat());
        for file in FILES {
            let [a, b, c] = [&a, &b, &c].map(|model| floats(&model.join(file)));
            let (weighted, difference) = (floats(&weighted.join(file)), floats(&difference.join(file)));
            assert_eq!(weighted.len(), a.len());
            for (name, a) in &a {
                assert_eq!(weighted[name], (1.0 - 0.3f32) * a + 0.3f32 * &b[name], "{name}");
                let ratio = match (file.split('/').next().unwrap(), name.as_str()) {
                    ("unet", name) if name.starts_with("up_blocks.1.") => 0.7f32,
                    ("vae", name) if name.starts_with("decoder.") => -1.5,
                    _ => 0.0,
                };
                assert_eq!(difference[name], a + ratio * (&b[name] - &c[name]), "{name}");
            }
        }
        let recipe = json(&difference.join("sdviz_merge.json"));
        assert_eq!(recipe["formula"], "A + ratio * (B - C)");
        assert_eq!(recipe["models"][2]["model"], names[2]);
        assert_eq!(recipe["models"][0]["components"][1]["sha256"].as_str().unwrap().len(), 64);
        assert!(std::fs::read_to_string(weighted.join("README.md")).unwrap().contains("with a ratio of 0.3."));
        made(&trace(folder, "run", &["--model", weighted.to_str().unwrap()]));
    }

    #[test]
    fn what_cannot_be_mixed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let out = folder.join("new").display().to_string();
        let tiny = "tests/goldens/tiny-sd";
        let cases: [&[&str]; 6] = [
            &[tiny, "pocket"],
            &[tiny, "tests/goldens/tiny-sd2"],
            &[tiny, tiny, "--ratio", "1.5"],
            &[tiny, tiny, "--mode", "add-difference"],
            &[tiny, tiny, "--blocks", "unet.up_block"],
            &[tiny, tiny, "--blocks", "unet=x"],
        ];
        let said = cases.map(|case| complaint(&[&["merge", "--out", &out][..], case].concat(), folder));
        insta::assert_snapshot!("merge_refused", said.join("\n"));
        assert!(!Path::new(&out).exists());
    }
}
