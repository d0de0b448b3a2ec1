//! Too late to change your mind (07): the other object, on the same background, from a step on.

use super::{About, Experiment, Stage};
use crate::figures::Values;
use crate::plates::{Plate, row, table};
use crate::scene::{Scene, pictures};
use sdviz::prelude::*;

/// After which steps the prompt changes.
const AFTER: [usize; 13] = [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24];
/// Those to guess from, in the order in which they stand.
const GUESS: [usize; 4] = [8, 0, 16, 4];

/// The experiment.
pub struct Late;

fn from(scene: &Scene, step: usize) -> Result<Run> {
    scene.studio.sd.branch(&scene.base()?, step)?.prompt(&scene.subject.swapped).record([]).decode(Decode::Final).run()
}

impl Experiment for Late {
    fn about(&self) -> About {
        About::new("07", 48, 4)
    }

    /// Beside what the judge sees: `last`, the last of the steps after which the other object can still be asked for; 0 − 2
    /// where it is not seen even from the start.
    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        let mut seen: Vec<Vec<f64>> = vec![];
        for step in AFTER {
            let name = format!("after-{step}");
            scene.judge(&name, &from(scene, step)?, values)?;
            let all = values.values.get(&format!("{name}.other"));
            seen.push(all.cloned().unwrap_or_default());
        }
        for seed in 0..scene.seeds {
            let last = AFTER.iter().zip(&seen).rfind(|(_, seen)| seen.get(seed) == Some(&1.0));
            // A picture that never becomes the other says nothing of when.
            if let Some((step, _)) = last {
                values.push("last", *step as f64);
            }
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let (mut plates, mut rows) = (vec![], vec![]);
        for subject in [0, 2, 5] {
            stage(subject, 1, &mut |scene| {
                let picture = |step: usize| -> Result<RgbImage> { Ok(pictures(&from(scene, step)?)?.remove(0)) };
                if subject == 0 {
                    let mut cells = vec![("unchanged".to_string(), pictures(&scene.base()?)?.remove(0))];
                    for (letter, step) in ('A'..).zip(GUESS) {
                        cells.push((letter.to_string(), picture(step)?));
                    }
                    plates.push(("07-question".into(), row(&cells)));
                }
                let mut cells = vec![];
                for step in AFTER.into_iter().step_by(2) {
                    let picture = picture(step)?;
                    cells.push((picture.clone(), scene.verdict(&picture)?));
                }
                rows.push((format!("{} → {}", scene.subject.prompt, scene.subject.swapped), cells));
                Ok(())
            })?;
        }
        let columns: Vec<String> = AFTER.iter().step_by(2).map(|step| format!("after step {step}")).collect();
        plates.push(("07-answer".into(), table(&columns, &rows)?));
        Ok(plates)
    }
}
