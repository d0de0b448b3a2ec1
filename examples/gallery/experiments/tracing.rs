//! Causal tracing (14): what a site has in the run of one prompt is copied into the run of another, in a window of steps.
//! What of the first object comes back?

use super::{About, Experiment, Stage};
use crate::figures::Values;
use crate::plates::{Plate, heat, table};
use crate::scene::{Scene, pictures};
use sdviz::prelude::*;

/// The windows.
const WINDOWS: [(usize, usize); 5] = [(1, 5), (6, 10), (11, 15), (16, 20), (21, 25)];
/// What is copied: what figures call it, and the sites.
const SITES: [(&str, &str); 9] = [
    ("down-f1", "unet.down_blocks.0.**.attn2"),
    ("down-f2", "unet.down_blocks.1.**.attn2"),
    ("down-f4", "unet.down_blocks.2.**.attn2"),
    ("mid", "unet.mid_block.**.attn2"),
    ("up-f4", "unet.up_blocks.0.**.attn2"),
    ("up-f2", "unet.up_blocks.1.**.attn2"),
    ("up-f1", "unet.up_blocks.2.**.attn2"),
    ("all", "unet.**.attn2"),
    ("h", "unet.mid_block"),
];

/// The experiment: clean is the subject's own prompt, corrupted the other object on the same background.
pub struct Tracing;

fn patched(scene: &Scene, sites: &str, (first, last): (usize, usize)) -> Result<Run> {
    let (clean, corrupted) = (scene.base()?, scene.run(&scene.subject.swapped)?);
    let branch = scene.studio.sd.branch(&corrupted, first - 1)?.donor(&clean);
    branch.edit(format!("copy {sites} steps={first}-{last}")).record([]).decode(Decode::Final).run()
}

impl Experiment for Tracing {
    fn about(&self) -> About {
        About::new("14", 24, 4)
    }

    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        scene.judge("clean", &scene.base()?, values)?;
        scene.judge("corrupted", &scene.run(&scene.subject.swapped)?, values)?;
        for (name, sites) in SITES {
            for window in WINDOWS {
                let run = patched(scene, sites, window)?;
                scene.judge(&format!("{name}.{}-{}", window.0, window.1), &run, values)?;
            }
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut plates = vec![];
        stage(0, 1, &mut |scene| {
            let rows: Vec<String> = SITES.map(|(_, sites)| sites.trim_start_matches("unet.").to_string()).to_vec();
            let columns: Vec<String> = WINDOWS.map(|(first, last)| format!("steps {first}-{last}")).to_vec();
            let mean = |name: &str| 100.0 * scene.figures.mean("14", &format!("{name}.p_object"));
            let (clean, corrupted) = (mean("clean"), mean("corrupted"));
            let recovered = |name: &str, (first, last): (usize, usize)| {
                100.0 * (mean(&format!("{name}.{first}-{last}")) - corrupted) / (clean - corrupted)
            };
            let values: Vec<f64> =
                SITES.iter().flat_map(|(name, _)| WINDOWS.map(|window| recovered(name, window))).collect();
            let title = "how much of the first object comes back, % of the judge's probability";
            plates.push(("14-answer".into(), heat(title, rows.clone(), columns.clone(), &values, 0)?));
            let mut cells = vec![];
            for place in [5, 6, 7] {
                let mut pictured = vec![];
                for window in WINDOWS {
                    let picture = pictures(&patched(scene, SITES[place].1, window)?)?.remove(0);
                    pictured.push((picture.clone(), scene.verdict(&picture)?));
                }
                cells.push((rows[place].clone(), pictured));
            }
            plates.push(("14-pictures".into(), table(&columns, &cells)?));
            Ok(())
        })?;
        Ok(plates)
    }
}
