//! Edits: each does what it says and nothing else, agrees with diffusers' hooks, and stands in the record.

use crate::common::{self, root, stderr, stdout, tiny_pipeline};
use safetensors::SafeTensors;
use sdviz::pipeline::Pipeline;
use sdviz::record::conditions::PromptSyntax;
use sdviz::record::edits::PlannedEdit;
use sdviz::record::hires::Hires;
use sdviz::record::plan::{Decode, Plan, Quantity};
use sdviz::record::schema::RunRecord;
use sdviz::run::{self, Company, Hashes, Job};
use sdviz::trace::reservoir::Reservoir;
use sdviz::watch::observer::{Ask, Event, Flow, Observer};
use sdviz::watch::site::Pattern;
use std::path::Path;
use tch::{Kind, Tensor};

fn plan() -> Plan {
    Plan {
        prompt: "a lovely cat".into(),
        negative_prompt: "Sunshine".into(),
        seed: 3,
        steps: 3,
        width: 64,
        height: 96,
        scheduler: "ddim".into(),
        decode: Decode::Final,
        ..Plan::default()
    }
}

fn edited(edits: &[&str]) -> Plan {
    Plan { edits: edits.iter().map(|edit| PlannedEdit::asked(*edit)).collect(), ..plan() }
}

/// What is left of a run.
struct Run {
    latents: Vec<Tensor>,
    picture: Vec<u8>,
    record: RunRecord,
}

fn try_draw(pipeline: &Pipeline, plan: &Plan, watcher: Option<&mut dyn Observer>) -> sdviz::error::Result<Run> {
    let mut kept = Reservoir::new(&Quantity::ALL, Decode::Final);
    let job = Job::new(pipeline, pipeline.resolve(plan)?, Hashes::Known(&[]));
    let observers: Vec<&mut dyn Observer> = watcher.into_iter().collect();
    run::carry_out(job, &mut kept, Company { observers, ..Company::default() }).outcome?;
    let record = kept.run.clone().unwrap();
    let picture = kept.images.first().map(|image| image.as_raw().clone()).unwrap_or_default();
    Ok(Run { latents: kept.latents_reservoir, picture, record })
}

fn draw(pipeline: &Pipeline, plan: &Plan) -> Run {
    try_draw(pipeline, plan, None).unwrap()
}

fn same(a: &Run, b: &Run) -> bool {
    a.picture == b.picture && a.latents.iter().zip(&b.latents).all(|(a, b)| a.equal(b))
}

/// The largest difference of the last latents, over their largest value.
fn apart(a: &Run, b: &Run) -> f64 {
    let (a, b) = (a.latents.last().unwrap(), b.latents.last().unwrap());
    ((a - b).abs().max() / b.abs().max()).double_value(&[])
}

/// The message of an error, and its hint.
fn refusal(pipeline: &Pipeline, plan: &Plan) -> String {
    let error = try_draw(pipeline, plan, None).err().unwrap_or_else(|| panic!("{:?} was carried out", plan.edits));
    format!("{error} | {}", error.hint().unwrap_or_default())
}

/// Keeps what it sees of the sites that fit, each once.
struct Look(&'static str, Vec<(String, Tensor)>);

impl Observer for Look {
    fn wants(&self, ask: Ask) -> bool {
        matches!(ask, Ask::Site(name, 1) if Pattern::new(self.0).matches(name))
    }

    fn on_event(&mut self, event: &Event) -> sdviz::error::Result<Flow> {
        if let Event::Tensor(site, tensor) = event {
            self.1.push((site.name.to_string(), tensor.copy()));
        }
        Ok(Flow::Continue)
    }
}

fn seen(pipeline: &Pipeline, plan: &Plan, pattern: &'static str) -> Vec<(String, Tensor)> {
    let mut look = Look(pattern, vec![]);
    try_draw(pipeline, plan, Some(&mut look)).unwrap();
    assert!(!look.1.is_empty(), "{pattern}");
    look.1
}

#[test]
fn each_agrees_with_the_same_hook_on_diffusers() {
    let bytes = std::fs::read(root("tests/goldens/edits.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let cases: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&metadata.metadata().as_ref().unwrap()["cases"]).unwrap();
    let goldens = Tensor::read_safetensors(root("tests/goldens/edits.safetensors")).unwrap();
    let golden = |name: &str| &goldens.iter().find(|(key, _)| key == name).unwrap().1;
    let pipeline = tiny_pipeline();
    assert!(cases.len() > 15);
    for (name, case) in &cases {
        let plan: Plan = serde_json::from_value(case.clone()).unwrap();
        assert_eq!(plan.edits.len(), case["edits"].as_array().unwrap().len());
        let run = draw(&pipeline, &Plan { decode: Decode::Nothing, ..plan });
        for (step, latents) in run.latents.iter().enumerate() {
            let golden = golden(&format!("case/{name}/latents/{step}"));
            let worst = ((latents - golden).abs().max() / golden.abs().max()).double_value(&[]);
            assert!(worst < 1e-4, "{name}, step {step}: {worst}");
        }
        assert!(run.record.edits_fired.iter().all(|fired| *fired > 0), "{name}");
    }
}

#[test]
fn what_changes_nothing_changes_no_byte() {
    let pipeline = tiny_pipeline();
    let plain = draw(&pipeline, &plan());
    assert!(plain.record.plan.edits.is_empty() && plain.record.edits_fired.is_empty());
    for edit in [
        "scale unet.** by=1 branch=both",
        "scale **.attn2 by=1 heads=1",
        "scale latents by=1",
        "weigh **.attn2 words=cat by=1",
        "freeu branch=both steps=none",
        "zero mid steps=none",
        "noise mid std=0",
        "set guidance_scale by=7.5",
        "clamp unet.conv_in min=-1e30",
    ] {
        assert!(same(&draw(&pipeline, &edited(&[edit])), &plain), "{edit}");
    }
}

/// Of every other operation: the picture is another one, and what was not selected is the same to the last bit.
#[test]
fn each_operation_changes_what_it_selects_and_nothing_else() {
    let pipeline = tiny_pipeline();
    let plain = seen(&pipeline, &plan(), "unet.conv_in");
    let plain = &plain[0].1;
    for edit in
        ["zero", "scale by=2", "mean", "mean over=channels", "resample", "noise std=1", "permute", "clamp max=0"]
    {
        let (op, keys) = edit.split_once(' ').unwrap_or((edit, ""));
        let edit = format!("{op} unet.conv_in channels=1-3 area=0,0,1,0.5 {keys}");
        let changed = &seen(&pipeline, &edited(&[&edit]), "unet.conv_in")[0].1;
        // Row 1 is the prompt's; the latents are 12×8.
        let within = |t: &Tensor| t.get(1).narrow(0, 1, 3).narrow(1, 0, 6).copy();
        assert!(!within(changed).equal(&within(plain)), "{edit}");
        let outside = changed.copy();
        outside.get(1).narrow(0, 1, 3).narrow(1, 0, 6).copy_(&within(plain));
        assert!(outside.equal(plain), "{edit}: something else changed too");
    }
}

#[test]
fn a_module_is_silenced_and_a_head_leaves_the_bias() {
    let pipeline = tiny_pipeline();
    let site = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2";
    let zero = seen(&pipeline, &edited(&[&format!("zero {site}")]), "unet.down_blocks.1.attentions.0.**.attn2");
    assert_eq!(zero[0].1.get(1).abs().max().double_value(&[]), 0.0);
    assert!(zero[0].1.get(0).abs().max().double_value(&[]) > 0.0, "the row without the prompt is left alone");
    let heads =
        seen(&pipeline, &edited(&[&format!("zero {site} heads=0-3")]), "unet.down_blocks.1.attentions.0.**.attn2");
    let text = heads[0].1.get(1);
    // Every place says the same: the bias of `to_out`.
    assert!((&text - text.get(0)).abs().max().double_value(&[]) < 1e-6 && text.abs().max().double_value(&[]) > 1e-4);
}

#[test]
fn a_prompt_for_all_layers_is_the_run_with_that_prompt() {
    let pipeline = tiny_pipeline();
    let other = Plan { prompt: "a horse on the moon".into(), ..plan() };
    let told = draw(&pipeline, &edited(&["prompt unet.** text='a horse on the moon'"]));
    assert!(apart(&told, &draw(&pipeline, &other)) < 1e-5);
    assert!(apart(&told, &draw(&pipeline, &plan())) > 1e-3);
    // With the web UI's syntax, weights and longer prompts.
    let long = "a cat ".repeat(50);
    let a1111 = |plan: Plan| Plan { prompt_syntax: PromptSyntax::A1111, ..plan };
    let theirs = a1111(Plan { prompt: format!("(a horse:1.4) {long}"), ..plan() });
    let text = format!("prompt unet.** text='(a horse:1.4) {long}'");
    let told = draw(&pipeline, &a1111(Plan { prompt: format!("one {long}"), ..edited(&[&text]) }));
    assert!(apart(&told, &draw(&pipeline, &theirs)) < 1e-5);
    let error = refusal(&pipeline, &a1111(edited(&[&text])));
    assert!(error.contains("fills 2 windows"), "{error}");
}

#[test]
fn masked_but_for_the_start_everything_looks_there() {
    let pipeline = tiny_pipeline();
    let probs = seen(&pipeline, &edited(&["mask ** words=<words>,<end>,<padding>"]), "unet.**.attn2.probs");
    for (name, probs) in probs {
        let start = probs.get(1).select(-1, 0);
        assert!((start - 1.0).abs().max().double_value(&[]) == 0.0, "{name}");
    }
}

#[test]
fn words_are_found_by_their_tokens_wherever_they_stand() {
    let pipeline = tiny_pipeline();
    let tokens = |plan: &Plan| pipeline.resolve(plan).unwrap().record.plan.edits[0].tokens.clone();
    let with = |prompt: &str, words: &str| Plan {
        prompt: prompt.into(),
        ..edited(&[&format!("weigh **.attn2 words={words} by=2")])
    };
    assert_eq!(tokens(&with("a cat and a cat", "cat")), ["prompt:2", "prompt:5"]);
    assert_eq!(tokens(&with("a cat and a cat", "CAT@2")), ["prompt:5"]);
    assert_eq!(tokens(&with("a lovely cat", "'lovely cat',<end>")), ["prompt:2", "prompt:3", "prompt:4"]);
    // A word of several pieces.
    let pieces = tokens(&with("in 2024 now", "2024"));
    assert_eq!(pieces, ["prompt:2", "prompt:3", "prompt:4", "prompt:5"]);
    assert!(refusal(&pipeline, &with("a cat", "dog")).contains("`dog` is not among the tokens of the prompt"));
    assert!(refusal(&pipeline, &with("a cat", "cat@2")).contains("`cat@2` is not among"));
    // The text that holds changes between the steps: so does the place.
    let scheduled = Plan { prompt_syntax: PromptSyntax::A1111, ..with("a [big green pear:cat:2] on a mat", "cat") };
    assert_eq!(tokens(&scheduled).len(), 1);
    let run = draw(&pipeline, &scheduled);
    let plain = draw(&pipeline, &Plan { edits: vec![], ..scheduled });
    assert!(run.latents[2].equal(&plain.latents[2]) && !run.latents[3].equal(&plain.latents[3]));
    // In both predictions each has its own prompt's.
    let both =
        Plan { negative_prompt: "a dog and a cat".into(), ..edited(&["weigh **.attn2 words=cat by=2 branch=both"]) };
    assert_eq!(tokens(&both), ["negative:5", "prompt:3"]);
}

#[test]
fn steps_are_calls_shares_timesteps_or_noise_levels() {
    let pipeline = tiny_pipeline();
    let steps = |plan: Plan, steps: &str| {
        let plan = Plan { edits: vec![PlannedEdit::asked(format!("zero mid steps={steps}"))], ..plan };
        pipeline.resolve(&plan).unwrap().record.plan.edits[0].steps.clone()
    };
    let ten = || Plan { steps: 10, ..plan() };
    assert_eq!((steps(ten(), "2-4"), steps(ten(), "9-40")), ("2-4".into(), "9-10".into()));
    assert_eq!((steps(ten(), "0-30%"), steps(ten(), "30-100%")), ("1-3".into(), "4-10".into()));
    assert_eq!((steps(ten(), "t:901-701"), steps(ten(), "t:701-901")), ("1-3".into(), "1-3".into()));
    assert_eq!((steps(ten(), "sigma:1000-3"), steps(ten(), "sigma:3-2")), ("1-3".into(), "4".into()));
    assert_eq!(steps(Plan { strength: Some(0.5), ..ten() }, "0-40%"), "1-2", "of the steps that are made");
    let second = Plan { hires: Some(Hires { steps: 10, strength: 0.5, ..Hires::default() }), ..ten() };
    assert_eq!(steps(second, "60-100%"), "10,12-16", "the second pass begins with no call of the model");
    assert!(refusal(&pipeline, &edited(&["zero mid steps=7-9"])).contains("the run has the steps 1 to 3"));
}

#[test]
fn what_cannot_apply_is_refused_by_name() {
    let pipeline = tiny_pipeline();
    for (edit, named) in [
        ("zero unet.mid_blok", "the nearest is `unet.mid_block`"),
        ("zero **.attn3", "transformer_blocks.0.attn1`"),
        ("zero **.attn2 heads=9", "`unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.heads` has 4"),
        ("zero **.ff heads=1", "heads are those of an attention"),
        ("zero mid channels=999", "has 32, counted from 0"),
        ("zero unet.time_embedding area=0,0,1,1", "lies on no image"),
        ("zero **.attn2 sizes=f3", "there are f1, f2, f4"),
        ("zero latents branch=uncond", "not for each prediction"),
        ("skip unet.down_blocks.0", "gives another shape"),
        ("permute **.attn1.probs", "comes in pieces"),
        ("identity **.attn2", "for self-attention"),
        ("mask **.attn2", "not which words"),
        ("mask **.attn2 words=<start>,<words>,<end>,<padding>", "nothing left to look at"),
        ("set mid by=1", "for the guidance scale"),
        ("zero text_encoder.text_model.encoder.layers.0 steps=1", "runs once, before the first step"),
        ("zero mid batch=1", "the run has 1 picture"),
        ("add mid direction=/nowhere.safetensors", "/nowhere.safetensors"),
        ("zero vae.encoder.conv_in", "no site of this run fits"),
        ("zero hires.starting_latents", "no site of this run fits"),
        ("zero predicted_original", "no site of this run fits"),
    ] {
        let error = refusal(&pipeline, &edited(&[edit]));
        assert!(error.contains(named), "{edit}: {error}");
        assert!(error.contains(edit) || error.contains("/nowhere"), "{edit}: {error}");
    }
    let unguided = Plan { guidance_scale: 1.0, ..edited(&["set guidance_scale by=1"]) };
    assert!(refusal(&pipeline, &unguided).contains("no site of this run fits"));
    let unguided = Plan { guidance_scale: 1.0, ..edited(&["zero mid branch=uncond"]) };
    assert!(refusal(&pipeline, &unguided).contains("without guidance"));
}

/// A site that the resolution takes to be there and that is not: the run says so at its end.
#[test]
fn an_edit_that_changed_nothing_is_an_error() {
    let pipeline = tiny_pipeline();
    let error = refusal(&pipeline, &edited(&["zero vae.decoder.conv_in steps=1"]));
    assert!(error.contains("changed nothing in this run"), "{error}");
}

#[test]
fn edits_apply_in_their_order_in_a_batch_and_in_a_second_pass() {
    let pipeline = tiny_pipeline();
    let conv = |edits: &[&str]| seen(&pipeline, &edited(edits), "unet.conv_in")[0].1.get(1);
    let plain = conv(&["zero mid steps=none"]);
    let (first, second) = ("scale unet.conv_in by=2", "clamp unet.conv_in min=-0.5 max=0.5");
    assert!(conv(&[first, second]).equal(&(&plain * 2.0).clamp(-0.5, 0.5)));
    assert!(conv(&[second, first]).equal(&(plain.clamp(-0.5, 0.5) * 2.0)));

    // Of two pictures one is changed, and the noise of each is its own seed's.
    let noise = "noise unet.conv_in std=0.3 seed=5";
    let two = Plan { batch_size: 2, ..edited(&["scale unet.conv_in by=2 batch=1"]) };
    let (two, plain) = (draw(&pipeline, &two), draw(&pipeline, &Plan { batch_size: 2, ..plan() }));
    let picture = |run: &Run, index: i64| run.latents[3].get(index);
    assert!(picture(&two, 0).equal(&picture(&plain, 0)) && !picture(&two, 1).equal(&picture(&plain, 1)));
    let both = draw(&pipeline, &Plan { batch_size: 2, ..edited(&[noise]) });
    let alone = draw(&pipeline, &Plan { seed: 4, ..edited(&[noise]) });
    assert!((picture(&both, 1) - picture(&alone, 0)).abs().max().double_value(&[]) < 1e-3);
    assert!(same(&draw(&pipeline, &edited(&[noise])), &draw(&pipeline, &edited(&[noise]))));

    let hires = |edits: &[&str]| Plan { hires: Some(Hires { steps: 3, ..Hires::default() }), ..edited(edits) };
    let plain = draw(&pipeline, &hires(&[]));
    let last = plain.record.last_step();
    let changed = draw(&pipeline, &hires(&[&format!("zero **.attn2 steps={last} area=0,0,0.5,1")]));
    assert!(
        changed.latents[last - 1].equal(&plain.latents[last - 1]) && !changed.latents[last].equal(&plain.latents[last])
    );
}

#[test]
fn files_give_directions_and_tensors() {
    let pipeline = tiny_pipeline();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("direction.safetensors");
    tch::manual_seed(1);
    let direction = Tensor::randn([16], (Kind::Float, tch::Device::Cpu));
    Tensor::write_safetensors(&[("smile", &direction)], &path).unwrap();
    let conv = |edit: String| seen(&pipeline, &edited(&[&edit]), "unet.conv_in")[0].1.get(1);
    let plain = conv("zero mid steps=none".into());
    let column = direction.view([16, 1, 1]);
    let file = format!("direction={}", path.display());
    assert!(conv(format!("add unet.conv_in {file} by=-2")).allclose(&(&plain - &column * 2.0), 1e-5, 1e-5, false));
    let along = |t: &Tensor| (t * &column).sum_dim_intlist([0i64].as_slice(), false, Kind::Float);
    let off = conv(format!("project unet.conv_in {file}"));
    assert!(along(&off).abs().max().double_value(&[]) < 1e-3 * along(&plain).abs().max().double_value(&[]));
    let kept = conv(format!("project unet.conv_in {file} keep=true"));
    assert!((off + kept).allclose(&plain, 1e-4, 1e-4, false));
    let replaced = conv(format!("replace unet.conv_in file={} key=smile", path.display()));
    assert!(replaced.equal(&column.expand_as(&plain)));
    let error = refusal(&pipeline, &edited(&[&format!("add unet.conv_in {file} key=frown")]));
    assert!(error.contains("no tensor `frown`") && error.contains("`smile`"), "{error}");
    let error = refusal(&pipeline, &edited(&[&format!("add unet.mid_block {file}")]));
    assert!(error.contains("[1, 32, 2, 1]") || error.contains("16"), "{error}");
    // The fingerprint tells the file's content.
    let plan = edited(&[&format!("add unet.conv_in {file}")]);
    let fingerprint = || pipeline.resolve(&plan).unwrap().record.plan.edits[0].fingerprint.clone();
    let before = fingerprint();
    Tensor::write_safetensors(&[("smile", &(direction * 2.0))], &path).unwrap();
    assert!(before.len() == 16 && fingerprint() != before);
}

/// Sites are known before any run, with what selectors need to know of them.
#[test]
fn the_sites_are_those_of_a_run() {
    let pipeline = tiny_pipeline();
    let known: Vec<&str> = pipeline.sites().unwrap().iter().map(|site| site.name.as_str()).collect();
    let seen = seen(&pipeline, &plan(), "unet.**");
    assert!(seen.iter().all(|(name, _)| known.contains(&name.as_str())) && seen.len() > 200);
    let site = |name: &str| pipeline.sites().unwrap().iter().find(|site| site.name == name).unwrap();
    let attention = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2";
    for inner in ["", ".context", ".to_k", ".heads", ".probs"] {
        assert_eq!(site(&format!("{attention}{inner}")).factor, Some(2), "{inner}");
    }
    assert_eq!((site("latents").factor, site("unet.mid_block").factor), (Some(1), Some(8)));
    assert!(site("unet.mid_block").of_predictions && !site("latents").of_predictions);
}

/// Runs the program; gives standard output, standard error and whether it went well.
fn sdviz(args: &[&str]) -> (String, String, bool) {
    let output = common::sdviz(args);
    (stdout(&output), stderr(&output), output.status.success())
}

const SMALL: [&str; 10] = ["-p", "a lovely cat", "--steps", "2", "-s", "3", "--scheduler", "ddim", "--decode", "final"];

fn with<'a>(verb: &'a str, more: &[&'a str], model: &'a str) -> Vec<&'a str> {
    [&[verb][..], &SMALL, &["--model", model, "--no-report"], more].concat()
}

#[test]
fn edits_are_typed_recorded_and_repeated_from_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let model = root("tests/goldens/tiny-sd").display().to_string();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let json = |name: &str| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(folder.path().join(name).join("run.json")).unwrap()).unwrap()
    };
    let (plain, first, second, third) = (at("plain"), at("first"), at("second"), at("third"));
    assert!(sdviz(&with("trace", &["-o", &plain], &model)).2);
    assert!(json("plain")["plan"].get("edits").is_none() && json("plain").get("edits_fired").is_none());

    let edits = "[[edit]]\nop = \"scale\"\nsite = \"mid\"\nby = 2\n";
    std::fs::write(folder.path().join("edits.toml"), edits).unwrap();
    let (file, typed) = (at("edits.toml"), "weigh **.attn2 words='lovely cat' by=3 steps=2");
    let (_, said, fine) = sdviz(&with("trace", &["-o", &first, "--edits", &file, "--edit", typed], &model));
    assert!(fine && said.contains("edit: scale mid by=2: changes `unet.mid_block` at steps 1-2"), "{said}");
    let plan = json("first")["plan"]["edits"].clone();
    assert_eq!((&plan[0]["edit"], &plan[1]["edit"]), (&"scale mid by=2".into(), &typed.into()));
    assert_eq!((&plan[1]["tokens"][0], &plan[1]["steps"]), (&"prompt:2".into(), &"2".into()));
    assert_eq!(json("first")["edits_fired"], serde_json::json!([2, 16]));

    let picture = at("first/final.png");
    let (like, _, fine) = sdviz(&["trace", "--like", &picture, "--model", &model, "-o", &second, "--no-report"]);
    assert!(fine, "{like}");
    assert_eq!(json("second")["plan"]["edits"], plan);
    let bytes = |name: &str| std::fs::read(folder.path().join(name).join("steps/002.safetensors")).unwrap();
    assert!(bytes("first") == bytes("second") && bytes("first") != bytes("plain"));
    // Where only the text of a web UI is left of it, too.
    let (metadata, ..) = sdviz(&["metadata", &picture]);
    assert!(metadata.contains("weigh **.attn2"), "{metadata}");
    let typed = ["trace", "--like", &picture, "--model", &model, "-o", &third, "--no-report", "--edit", "zero mid"];
    assert!(sdviz(&typed).2);
    assert_eq!(json("third")["plan"]["edits"].as_array().unwrap().len(), 1, "typed edits take the picture's place");

    let (_, said, fine) = sdviz(&with("trace", &["-o", &at("none"), "--edit", "zero unet.mid_blok"], &model));
    assert!(
        !fine && said.contains("the nearest is `unet.mid_block`") && !folder.path().join("none").exists(),
        "{said}"
    );
}

#[test]
fn edits_are_an_axis_of_sweeps_and_an_ablation_is_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let model = root("tests/goldens/tiny-sd").display().to_string();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let sweep = at("sweep");
    let edits = ["-o", &sweep, "--edit", ";zero mid steps=1;scale mid by=2 + scale latents by=1", "--no-grid"];
    let (_, said, fine) = sdviz(&with("sweep", &edits, &model));
    assert!(fine && said.contains("3 cells: 3 made") && said.contains("edit zero mid steps=1:"), "{said}");
    let (_, said, _) = sdviz(&with("sweep", &edits, &model));
    assert!(said.contains("3 there already"), "{said}");

    let out = at("ablation");
    let heads = ["-o", &out, "--sites", "mid.**.attn2", "--heads", "--windows", "2", "--json"];
    let (table, said, fine) = sdviz(&with("ablate", &heads, &model));
    assert!(fine, "{said}");
    let table: serde_json::Value = serde_json::from_str(&table).unwrap();
    let cells = table["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 8, "four heads, two windows");
    let mid = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.heads";
    assert_eq!(cells[1]["edit"], format!("zero {mid} heads=0 steps=50-100%"));
    assert!(cells.iter().all(|cell| cell["latents"].as_f64().unwrap() > 0.0), "{cells:?}");
    assert!(table["measures"].get("object").is_none(), "the judge knows nothing of this model's pictures");
    for name in ["ablation-latents.png", "ablation-psnr.png", "ablation-pictures.png", "ablation.json"] {
        assert!(Path::new(&out).join("exports").join(name).is_file(), "{name}");
    }
    // One of the numbers, computed from the files.
    let record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(Path::new(&out).join("sweep.json")).unwrap()).unwrap();
    let latents = |edit: &str| {
        let cell = record["cells"].as_array().unwrap().iter().find(|cell| cell["at"]["edits"] == edit).unwrap();
        let path = Path::new(&out).join("cells").join(cell["cell"].as_str().unwrap()).join("steps/002.safetensors");
        Tensor::read_safetensors(path).unwrap().remove(0).1
    };
    let (plain, edited) = (latents(""), latents(cells[0]["edit"].as_str().unwrap()));
    let change = ((&edited - &plain).norm() / plain.norm()).double_value(&[]);
    assert!((change - cells[0]["latents"].as_f64().unwrap()).abs() < 1e-6, "{change}");
}

/// An ablation's cells take the steps before their edit from the unedited one. They are the cells of a sweep that makes all
/// of its steps, bit for bit, whatever the scheduler remembers.
#[test]
fn an_ablation_is_what_it_would_be_the_long_way() {
    let folder = tempfile::tempdir().unwrap();
    let model = root("tests/goldens/tiny-sd").display().to_string();
    let at = |name: &str| folder.path().join(name).display().to_string();
    for scheduler in ["ddim", "euler_a", "dpmpp_2m"] {
        let (short, long) = (at(&format!("short-{scheduler}")), at(&format!("long-{scheduler}")));
        let drawn = ["-p", "a lovely cat", "--steps", "4", "-s", "3", "--scheduler", scheduler, "--model", &model];
        let kept = ["--record", "latents", "--decode", "final", "--no-report"];
        let words = ["ablate", "-o", &short, "--sites", "mid.**.attn2", "--windows", "2"];
        let (_, said, fine) = sdviz(&[&words[..], &drawn, &kept].concat());
        assert!(fine, "{said}");
        let record: serde_json::Value =
            serde_json::from_slice(&std::fs::read(Path::new(&short).join("sweep.json")).unwrap()).unwrap();
        let cells = record["cells"].as_array().unwrap();
        let edits: Vec<&str> = cells.iter().map(|cell| cell["at"]["edits"].as_str().unwrap()).collect();
        let edits = edits.join(";");
        let words = ["sweep", "-o", &long, "--edit", &edits, "--no-grid"];
        let (_, said, fine) = sdviz(&[&words[..], &drawn, &kept].concat());
        assert!(fine, "{said}");
        assert_eq!(cells.len(), 3);
        for cell in cells {
            for file in
                ["final.png", "run.json", "steps/000.safetensors", "steps/002.safetensors", "steps/004.safetensors"]
            {
                let read = |sweep: &str| {
                    let path = Path::new(sweep).join("cells").join(cell["cell"].as_str().unwrap()).join(file);
                    let bytes = std::fs::read(&path).unwrap();
                    if file != "run.json" {
                        return bytes;
                    }
                    let mut json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                    json["timings"] = serde_json::Value::Null;
                    json.to_string().into_bytes()
                };
                assert!(read(&short) == read(&long), "{scheduler}: {file} of {}", cell["at"]["edits"]);
            }
        }
        // The last cell's model was not called in the first half.
        let calls = |sweep: &str| -> u64 {
            let path = Path::new(sweep).join("cells").join(cells[2]["cell"].as_str().unwrap()).join("run.json");
            let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            let stages = json["timings"]["stages"].as_array().unwrap();
            stages.iter().find(|stage| stage["name"] == "unet").unwrap()["count"].as_u64().unwrap()
        };
        // DPM-Solver++ goes on from predictions that were not recorded: it makes all of its steps.
        let expected = if scheduler == "dpmpp_2m" { 4 } else { 2 };
        assert_eq!((calls(&short), calls(&long)), (expected, 4), "{scheduler}");
    }
}

#[test]
fn a_program_says_edits_in_words() {
    use sdviz::prelude::*;
    let sd = Model::load(root("tests/goldens/tiny-sd").to_str().unwrap()).unwrap();
    let drawing = sd.draw("a lovely cat").seed(3).steps(2).scheduler("ddim").decode(Decode::Nothing);
    let latents = |run: Run| run.tensors(2, Quantity::Latents).unwrap().unwrap();
    let plain = latents(drawing.run().unwrap());
    let run = drawing.clone().edit("zero mid steps=1").edit("scale latents by=0.5 steps=2").run().unwrap();
    assert_eq!((run.record().plan.edits.len(), run.record().edits_fired.clone()), (2, vec![1, 1]));
    assert!(latents(run) != plain);
    assert!(drawing.edit("zero nothing").run().unwrap_err().to_string().contains("no site of this run fits"));
}
