//! Which heads do colour (06): each head of the cross-attentions silent by itself, and then more and more of them, in the
//! order in which they change the background and not the object, in the opposite order, and by chance.
//!
//! The order is found on some seeds and tried on others.

use super::{About, Experiment, Stage};
use crate::figures::{Figures, Values};
use crate::plates::{Plate, heat, table};
use crate::scene::{Scene, pictures};
use sdviz::prelude::*;
use std::collections::BTreeMap;

/// How many heads are silent together.
const COUNTS: [usize; 3] = [4, 10, 20];
/// In which orders.
const ORDERS: [(&str, &str); 3] =
    [("colour", "those of the colour first"), ("thing", "those of the object first"), ("chance", "by chance")];

/// A head: its layer's site and its number there.
type Head = (String, usize);

/// Each head by itself.
pub struct Heads;

/// More and more heads.
pub struct Ordered;

/// The heads that there are.
fn heads(scene: &Scene) -> Result<Vec<Head>> {
    let count = |site: &str| {
        let known = scene.studio.known_sites().ok()?.iter().find(|known| known.name == format!("{site}.heads"))?;
        known.shape.get(1).map(|heads| *heads as usize)
    };
    let sites = scene.studio.sites(".attn2")?;
    Ok(sites
        .into_iter()
        .flat_map(|site| (0..count(&site).unwrap_or(0)).map(move |head| (site.clone(), head)))
        .collect())
}

/// `up_blocks.1.attentions.0 head 3`.
fn name((site, head): &Head) -> String {
    format!("{}:{head}", site.trim_start_matches("unet.").replace(".transformer_blocks.0.attn2", ""))
}

/// The subject with some heads silent.
fn silent(scene: &Scene, heads: &[Head]) -> Result<Run> {
    let mut by_site: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (site, head) in heads {
        by_site.entry(site).or_default().push(head.to_string());
    }
    let edit = |(site, heads): (&&str, &Vec<String>)| format!("zero {site} heads={}", heads.join(","));
    by_site.iter().map(edit).fold(scene.own(), Drawing::edit).run()
}

/// How much a head's silence changes the background more than the object.
fn score(figures: &Figures, head: &Head) -> f64 {
    let loss = |what: &str| {
        figures.mean("06", &format!("base.{what}")) - figures.mean("06", &format!("{}.{what}", name(head)))
    };
    loss("p_background") - loss("p_object")
}

/// The heads in one of the orders.
fn ordered(scene: &Scene, order: &str) -> Result<Vec<Head>> {
    let mut all = heads(scene)?;
    match order {
        // The same each time: in strides of a prime.
        "chance" => {
            let count = all.len().max(1);
            all = (0..all.len()).map(|place| all[(place * 17 + 5) % count].clone()).collect();
        }
        _ => {
            all.sort_by(|a, b| score(scene.figures, b).total_cmp(&score(scene.figures, a)));
            if order == "thing" {
                all.reverse();
            }
        }
    }
    Ok(all)
}

impl Experiment for Heads {
    fn about(&self) -> About {
        About::new("06", 24, 2)
    }

    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        scene.judge("base", &scene.base()?, values)?;
        let each = |head: &Head| scene.judge(&name(head), &silent(scene, std::slice::from_ref(head))?, values);
        heads(scene)?.iter().try_for_each(each)
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let mut plates = vec![];
        stage(0, 1, &mut |scene| {
            let all = heads(scene)?;
            let sites = scene.studio.sites(".attn2")?;
            let rows: Vec<String> =
                sites.iter().map(|site| name(&(site.clone(), 0)).trim_end_matches(":0").to_string()).collect();
            let columns: Vec<String> = (0..all.len() / rows.len().max(1)).map(|head| format!("head {head}")).collect();
            let scores: Vec<f64> = all.iter().map(|head| 100.0 * score(scene.figures, head)).collect();
            let title = "what silence of a head takes from the background less what it takes from the object, points";
            plates.push(("06-answer".into(), heat(title, rows, columns, &scores, 1)?));
            Ok(())
        })?;
        Ok(plates)
    }
}

impl Experiment for Ordered {
    fn about(&self) -> About {
        About { later: true, ..About::new("06-order", 48, 4) }
    }

    fn seeds_from(&self) -> u64 {
        500
    }

    fn measure(&self, scene: &Scene, values: &mut Values) -> Result<()> {
        scene.judge("base", &scene.base()?, values)?;
        for (order, _) in ORDERS {
            let all = ordered(scene, order)?;
            for count in COUNTS {
                scene.judge(&format!("{order}.{count}"), &silent(scene, &all[..count.min(all.len())])?, values)?;
            }
        }
        Ok(())
    }

    fn plates(&self, stage: &Stage) -> Result<Vec<Plate>> {
        let (mut rows, columns) = (
            vec![],
            ["unchanged".to_string()]
                .into_iter()
                .chain(COUNTS.map(|count| format!("{count} heads")))
                .collect::<Vec<_>>(),
        );
        stage(0, 1, &mut |scene| {
            for (order, label) in ORDERS {
                let all = ordered(scene, order)?;
                let mut runs = vec![scene.base()?];
                for count in COUNTS {
                    runs.push(silent(scene, &all[..count.min(all.len())])?);
                }
                let mut cells = vec![];
                for run in &runs {
                    let picture = pictures(run)?.remove(0);
                    cells.push((picture.clone(), scene.verdict(&picture)?));
                }
                rows.push((label.to_string(), cells));
            }
            Ok(())
        })?;
        Ok(vec![("06-order".into(), table(&columns, &rows)?)])
    }
}
