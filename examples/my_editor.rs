//! An editor of one's own: switches off all cross-attention from a step on, so that the text has no more say.
//!
//!     cargo run --example my_editor -- "a red apple" 8
//!
//! `Editor` has two functions. `wants` is asked before anything is formed for it; `edit` gives a tensor in place of the one
//! it is shown. `sdviz inspect --sites` lists the sites. Observers see what goes on afterwards.

use sdviz::prelude::*;

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

fn main() -> Result<()> {
    let prompt = std::env::args().nth(1).unwrap_or("a red apple on a blue background".into());
    let from = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(8);
    let sd = Model::load("")?;
    let run = sd.draw(prompt).seed(1024).decode(Decode::Final).edited(&mut Silence { from })?;
    run.save("edited.png")
}
