//! An editor of one's own: switches off all cross-attention from a step on, so that the text has no more say.
//!
//!     cargo run --example my_editor -- "a red apple" 8
//!
//! `Editor` has two functions. `wants` is asked before anything is formed for it; `edit` gives a tensor in place of the one
//! it is shown. `sdviz inspect --sites` lists the sites. Observers see what goes on afterwards.

use sdviz::error::Result;
use sdviz::model::resolve;
use sdviz::pipeline::{LoadOptions, Pipeline};
use sdviz::record::plan::{Decode, Plan};
use sdviz::watch::editor::Editor;
use sdviz::watch::probe::Probe;
use sdviz::watch::site::Site;
use tch::Tensor;

/// Makes the text silent from a step on.
pub struct Silence {
    /// The first step without text.
    pub from: usize,
}

impl Editor for Silence {
    fn wants(&self, site: &str, step: usize) -> bool {
        step >= self.from && site.starts_with("unet.") && site.ends_with(".attn2")
    }

    fn edit(&mut self, _: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(tensor.zeros_like()))
    }
}

fn main() -> anyhow::Result<()> {
    let prompt = std::env::args().nth(1).unwrap_or("a red apple on a blue background".into());
    let from = std::env::args().nth(2).map_or(Ok(8), |text| text.parse())?;
    let pipeline = Pipeline::load(&resolve::resolve(None)?, LoadOptions::default())?;
    let mut plan = Plan { prompt, seed: 1024, width: 0, height: 0, decode: Decode::Final, ..Plan::default() };
    pipeline.complete(&mut plan)?;
    let mut silence = Silence { from };
    let outcome = pipeline.generate(&plan, &Probe::new(vec![]).with_editors(vec![&mut silence]))?;
    if let Some(picture) = outcome.images.first() {
        picture.save("edited.png")?;
    }
    Ok(())
}
