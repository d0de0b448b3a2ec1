//! Edits that go by a name: prompt-to-prompt, Plug-and-Play, MasaCtrl, each as the copies that it is made of.
//!
//! Enters: a model's sites. Leaves: edits as they would be typed. Where the papers speak of 16×16 places they mean a quarter
//! of the latents' sides of Stable Diffusion: here the same share of any model's.

use crate::edit::site::KnownSite;

/// Edits that go by a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Preset {
    /// Hertz et al. 2022, arXiv 2208.01626: for a share of the steps the prompt's words are looked at as the donor's words
    /// are, for another share places look at places as the donor's do, where there are at most a quarter of them.
    PromptToPrompt {
        /// The share of the steps with the donor's cross-attention.
        cross: f64,
        /// The share with its self-attention.
        own: f64,
        /// The words outside of which the latents stay the donor's.
        blend: Option<String>,
    },
    /// Tumanyan et al. 2022, arXiv 2211.12572, as its `pnp.py` has it: features of a layer on the way up for 80 % of the
    /// steps, queries and keys of the self-attentions from there on for half of them, in both predictions.
    PlugAndPlay,
    /// Cao et al. 2023, arXiv 2304.08465: keys and values of the last self-attentions on the way up, from 8 % of the steps
    /// on (step 5 of 50), in both predictions.
    MasaCtrl,
}

impl Preset {
    /// The edits, for a model with these sites.
    pub fn edits(&self, sites: &[KnownSite]) -> Vec<String> {
        match self {
            Preset::PromptToPrompt { cross, own, blend } => {
                let percent = |share: f64| (share * 1e4).round() / 100.0;
                let mut all = vec![];
                if *cross > 0.0 {
                    all.push(format!("copy unet.**.attn2.probs map=words steps=0-{}%", percent(*cross)));
                }
                if *own > 0.0 {
                    all.push(format!("copy unet.**.attn1.probs sizes=f4,f8 steps=0-{}%", percent(*own)));
                }
                all.extend(blend.as_ref().map(|words| format!("copy latents outside='{words}'")));
                all
            }
            Preset::PlugAndPlay => {
                let mut all =
                    vec!["copy unet.up_blocks.*.resnets.1.conv2 sizes=f4 branch=both steps=0-80%".to_string()];
                for what in ["to_q", "to_k"] {
                    let later = (1..).take_while(|place| has(sites, *place, what));
                    all.extend(later.map(|place| {
                        format!(
                            "copy unet.up_blocks.*.attentions.{place}.**.attn1.{what} sizes=f4 branch=both steps=0-50%"
                        )
                    }));
                    all.push(format!("copy unet.up_blocks.**.attn1.{what} sizes=f1,f2 branch=both steps=0-50%"));
                }
                all
            }
            Preset::MasaCtrl => ["to_k", "to_v"]
                .map(|what| format!("copy unet.up_blocks.**.attn1.{what} sizes=f1,f2 branch=both steps=8-100%"))
                .to_vec(),
        }
    }
}

/// Whether there is an attention of this number on the way up, at a quarter of the latents' sides.
fn has(sites: &[KnownSite], place: usize, what: &str) -> bool {
    let (within, end) = (format!(".attentions.{place}."), format!(".attn1.{what}"));
    let fits = |name: &str| name.starts_with("unet.up_blocks.") && name.contains(&within) && name.ends_with(&end);
    sites.iter().any(|site| site.factor == Some(4) && fits(&site.name))
}
