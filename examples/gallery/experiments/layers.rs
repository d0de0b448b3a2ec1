//! One layer, one window (05): another prompt for a single cross-attention, in a third of the steps.

use super::{About, Experiment, Stage};
use crate::figures::Values;
use crate::plates::{Plate, heat, table};
use crate::scene::{Scene, pictures};
use sdviz::prelude::*;

/// The windows, and what figures call them.
const WINDOWS: [(&str, &str); 3] = [("early", "1-5"), ("middle", "6-15"), ("late", "16-25")];

/// The experiment.
pub struct Layers;

/// `up_blocks.1.attentions.0`.
fn short(site: &str) -> String {
    site.trim_start_matches("unet.").replace(".transformer_blocks.0.attn2", "")
}

fn told(scene: &Scene, site: &str, steps: &str) -> Result<Run> {
    scene.own().edit(format!("prompt {site} steps={steps} text='{}'", scene.subject.other)).run()
}

/// The layers, and all of them together.
fn rows(scene: &Scene) -> Result<Vec<(String, String)>> {
    let each = scene.studio.sites(".attn2")?.into_iter().map(|site| (short(&site), site));
    Ok(each.chain([("all layers".into(), "unet.**".into())]).collect())
}

impl Experiment for Layers {
    fn about(&self) -> About {
        About::new("05", 24, 4)
    }

    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        scene.judge("base", &scene.base()?, values)?;
        for (row, site) in rows(scene)? {
            for (window, steps) in WINDOWS {
                scene.judge(&format!("{row}.{window}"), &told(scene, &site, steps)?, values)?;
            }
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut plates = vec![];
        stage(0, 1, &mut |scene| {
            let rows = rows(scene)?;
            let windows: Vec<String> = WINDOWS.map(|(_, steps)| format!("steps {steps}")).to_vec();
            let figure = |what: &str| -> Vec<f64> {
                let cell =
                    |row: &str, window: &str| 100.0 * scene.figures.mean("05", &format!("{row}.{window}.{what}"));
                rows.iter().flat_map(|(row, _)| WINDOWS.map(|(window, _)| cell(row, window))).collect()
            };
            let names: Vec<String> = rows.iter().map(|(row, _)| row.clone()).collect();
            for (file, what, title) in [
                ("05-object", "other", "the judge sees the other object, % of the pictures"),
                ("05-background", "other_background", "the judge sees the other background, % of the pictures"),
            ] {
                plates.push((file.into(), heat(title, names.clone(), windows.clone(), &figure(what), 0)?));
            }
            let mut cells = vec![];
            for (row, site) in rows.iter().filter(|(row, _)| row.starts_with("up_blocks.1") || row == "all layers") {
                let mut pictured = vec![];
                for (_, steps) in WINDOWS {
                    let picture = pictures(&told(scene, site, steps)?)?.remove(0);
                    pictured.push((picture.clone(), scene.verdict(&picture)?));
                }
                // A blank to break the line at.
                cells.push((row.replace(".attentions.", " attentions "), pictured));
            }
            plates.push(("05-answer".into(), table(&windows, &cells)?));
            Ok(())
        })?;
        Ok(plates)
    }
}
