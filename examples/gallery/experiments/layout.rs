//! Same layout, other thing (10): prompt-to-prompt, from a run and its attention to another prompt of the same form.

use super::{About, Experiment, Stage};
use crate::figures::Values;
use crate::plates::{Plate, table};
use crate::scene::{Scene, pictures};
use sdviz::edit::preset::Preset;
use sdviz::eval::attention::object_in;
use sdviz::export::attention::measures::overlap;
use sdviz::prelude::*;

/// From which object to which, by their names.
const PAIRS: [(&str, &str); 12] = [
    ("red apple", "green apple"),
    ("red heart", "blue heart"),
    ("cat face", "dog face"),
    ("soccer ball", "basketball"),
    ("green heart", "yellow heart"),
    ("banana", "lemon"),
    ("sunflower", "rose"),
    ("lion", "panda"),
    ("star", "moon"),
    ("tree", "mushroom"),
    ("car", "house"),
    ("ghost", "snowman"),
];

/// The experiment: subject n has pair n, on its own background.
pub struct Layout;

/// The prompts of a pair, and the place of the second object in the judge's list.
fn prompts(scene: &Scene, pair: usize) -> Result<(String, String, usize)> {
    let classes = scene.studio.judge.classes();
    let (from, to) = PAIRS[pair % PAIRS.len()];
    let unknown = |name: &str| Error::Broken(format!("the judge does not know `{name}`"));
    let from = classes.object(from).ok_or_else(|| unknown(from))?;
    let to = classes.object(to).ok_or_else(|| unknown(to))?;
    // No object stands on its own colour.
    let background = &classes.backgrounds[[5, 0, 7, 6][pair % 4]];
    Ok((classes.objects[from].prompt(Some(background)), classes.objects[to].prompt(Some(background)), to))
}

/// The first run, the second drawn from the same noise, and with the first's attention.
fn runs(scene: &Scene, pair: usize) -> Result<[Run; 3]> {
    let (from, to, _) = prompts(scene, pair)?;
    let donor = scene.run(&from)?;
    let edits = Preset::PromptToPrompt { cross: 0.8, own: 0.4, blend: None }.edits(scene.studio.known_sites()?);
    let kept = edits.into_iter().fold(scene.draw(&to).donor(&donor), Drawing::edit).run()?;
    Ok([donor, scene.draw(&to).run()?, kept])
}

impl Experiment for Layout {
    fn about(&self) -> About {
        About::new("10", PAIRS.len(), 8)
    }

    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        let pair = scene.number;
        let [donor, without, with] = runs(scene, pair)?;
        let target = prompts(scene, pair)?.2;
        let before = pictures(&donor)?;
        for (name, run) in [("without", without), ("with", with)] {
            let now = pictures(&run)?;
            for ((now, before), seen) in now.iter().zip(&before).zip(scene.studio.judge.judge(&now)?) {
                values.push(&format!("{name}.target"), f64::from(u8::from(seen.object == target)));
                let same = overlap(&object_in(now), &object_in(before)).unwrap_or(f64::NAN);
                values.push(&format!("{name}.iou"), same);
            }
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut rows = vec![];
        for pair in [0, 1, 2, 10] {
            stage(pair, 1, &mut |scene| {
                let mut cells = vec![];
                for run in runs(scene, pair)? {
                    let picture = pictures(&run)?.remove(0);
                    cells.push((picture.clone(), scene.verdict(&picture)?));
                }
                rows.push((format!("{} → {}", PAIRS[pair].0, PAIRS[pair].1), cells));
                Ok(())
            })?;
        }
        let columns = ["the first", "the second, same seed", "with the first's attention"].map(String::from);
        Ok(vec![("10-answer".into(), table(&columns, &rows)?)])
    }
}
