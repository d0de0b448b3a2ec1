//! Experiments that need nothing but edits and other settings: reading (03), sizes (04), guidance (08), a word removed (09),
//! skips and backbone (11), the text encoder half-way (15).

use super::{About, Compared, Condition, Experiment, Stage};
use crate::figures::Values;
use crate::plates::{Plate, table};
use crate::scene::{Scene, pictures};
use sdviz::prelude::*;

const ALL: usize = 48;

/// Those that are nothing more.
pub fn all() -> Vec<Compared> {
    vec![reading(), sizes(), guidance(), half_way()]
}

fn reading() -> Compared {
    let conditions = vec![
        Condition::unchanged(),
        Condition::edits("early", "silent in steps 1–5", &["zero **.attn2 steps=1-5 branch=both"]),
        Condition::edits("middle", "silent in steps 6–15", &["zero **.attn2 steps=6-15 branch=both"]),
        Condition::edits("late", "silent in steps 16–25", &["zero **.attn2 steps=16-25 branch=both"]),
        Condition::edits("never", "silent in all steps", &["zero **.attn2 branch=both"]),
    ];
    Compared::new(About::new("03", ALL, 4), conditions, vec![2, 4, 1, 3])
}

fn sizes() -> Compared {
    let hear = |name: &str, sizes: &str| {
        let (label, edit) = (format!("the other at {sizes}"), format!("prompt unet.** sizes={sizes} text='{{other}}'"));
        Condition::edits(name, &label, &[&edit])
    };
    let conditions = vec![
        Condition::unchanged(),
        hear("f4", "f4"),
        hear("f2", "f2"),
        hear("f1", "f1"),
        hear("f4-f2", "f4,f2"),
        hear("f4-f1", "f4,f1"),
        hear("f2-f1", "f2,f1"),
        Condition::edits("all", "the other everywhere", &["prompt unet.** text='{other}'"]),
    ];
    Compared::new(About::new("04", ALL, 4), conditions, vec![3, 1, 7, 2])
}

fn guidance() -> Compared {
    let off = |name: &str, label: &str, steps: &str| {
        Condition::edits(name, label, &[&format!("set guidance_scale by=1 steps={steps}")])
    };
    let conditions = vec![
        Condition::unchanged(),
        off("early", "off in steps 1–8", "1-8"),
        off("middle", "off in steps 9–16", "9-16"),
        off("late", "off in steps 17–25", "17-25"),
        off("first-only", "on in steps 1–8 alone", "9-25"),
        off("never", "off in all steps", "1-25"),
    ];
    Compared::new(About::new("08", ALL, 4), conditions, vec![3, 5, 1])
}

/// A word removed.
pub fn word() -> Compared {
    let conditions = vec![
        Condition::unchanged(),
        Condition::new("without", "not in the prompt", |scene: &Scene| scene.draw(&scene.subject.alone).run()),
        Condition::edits("mask", "word not looked at", &["mask **.attn2 words={colour}"]),
        Condition::edits(
            "mask-padding",
            "word, end and padding not looked at",
            &["mask **.attn2 words='{colour} background',<end>,<padding>"],
        ),
        Condition::edits(
            "embedding",
            "unknown to the text encoder",
            &["zero text_encoder.text_model.embeddings words={colour}"],
        ),
    ];
    Compared::new(About::new("09", ALL, 4), conditions, vec![2, 1, 4, 3])
}

/// Skips and backbone.
pub fn skips() -> Compared {
    let skip = |level: usize| {
        let label = format!("no skips into up_blocks.{level}");
        Condition::edits(&format!("skip-{level}"), &label, &[&format!("scale up.{level}.resnets.*.skip by=0")])
    };
    let freeu = |name: &str, b: f64, s: f64| {
        let edit = format!("freeu b1={b} b2={b} s1={s} s2={s}");
        Condition::edits(name, &format!("FreeU b {b}, s {s}"), &[&edit])
    };
    let conditions = vec![
        Condition::unchanged(),
        skip(0),
        skip(1),
        skip(2),
        Condition::edits("backbone-2", "no backbone into up_blocks.2", &["scale up.2.resnets.*.backbone by=0"]),
        freeu("freeu-mild", 1.1, 0.9),
        freeu("freeu-b", 1.4, 1.0),
        freeu("freeu-s", 1.0, 0.2),
        freeu("freeu-sd", 1.5, 0.5),
    ];
    Compared::new(About::new("11", ALL, 4), conditions, vec![3, 1, 4, 2])
}

fn half_way() -> Compared {
    let conditions = vec![
        Condition::unchanged(),
        Condition::new("skip", "the first layer of two", |scene: &Scene| scene.own().clip_skip(2).run()),
    ];
    Compared::new(About::new("15", ALL, 4), conditions, vec![])
}

/// Skips and backbone, and FreeU's two factors beside each other.
pub struct Skips(pub Compared);

/// FreeU's factors of the backbone, and of the skips' low frequencies.
const FREEU: ([f64; 5], [f64; 5]) = ([1.0, 1.1, 1.2, 1.4, 1.6], [1.0, 0.9, 0.6, 0.2, 0.0]);

impl Experiment for Skips {
    fn about(&self) -> About {
        self.0.about
    }

    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        self.0.measure(scene, values)
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut plates = self.0.plates(stage)?;
        stage(0, 1, &mut |scene| {
            let unchanged = Picture::from(pictures(&scene.base()?)?.remove(0));
            let mut rows = vec![];
            for b in FREEU.0 {
                let mut cells = vec![];
                for s in FREEU.1 {
                    let run = scene.own().edit(format!("freeu b1={b} b2={b} s1={s} s2={s}")).run()?;
                    let picture = pictures(&run)?.remove(0);
                    let psnr = Picture::from(picture.clone()).psnr(&unchanged);
                    let words = if psnr > 99.0 { "unchanged".into() } else { format!("{psnr:.1} dB") };
                    cells.push((picture, words));
                }
                rows.push((format!("b {b}"), cells));
            }
            let columns: Vec<String> = FREEU.1.map(|s| format!("s {s}")).to_vec();
            plates.push(("11-freeu".into(), table(&columns, &rows)?));
            Ok(())
        })?;
        Ok(plates)
    }
}
