//! Prompt-to-prompt's local blend: latents are copied from the donor but where the run or the donor looks at some words.
//!
//! Enters: attention to the text at a quarter of the latents' sides, step by step. Leaves: where the run's own latents stay.
//! The arithmetic is that of the authors' `LocalBlend`: the words' shares added up, the mean over heads and layers and over
//! the steps so far, the greatest of the 3×3 neighbours, brought to the latents' size, 1 where it is above 0.3 of its
//! greatest. Both prompts' areas count.

use crate::watch::site::{Branch, Grid, Site};
use tch::{Kind, Tensor};

/// The share of the greatest attention above which a place belongs to the words.
const THRESHOLD: f64 = 0.3;

/// Where some words are looked at.
#[derive(Debug)]
pub struct Outside {
    /// The words' places among the run's own tokens.
    own: Tensor,
    /// The same among the donor's.
    theirs: Tensor,
    /// Shares added up, the run's and the donor's, each `[batch, places]`, and the grid that they lie on.
    seen: Option<(Grid, [Tensor; 2])>,
}

impl Outside {
    /// For words at these places.
    pub fn new(own: &[i64], theirs: &[i64]) -> Outside {
        Outside { own: Tensor::from_slice(own), theirs: Tensor::from_slice(theirs), seen: None }
    }

    /// Looks at attention probabilities `[rows, heads, queries, tokens]`, of all queries or of some.
    pub fn look(&mut self, site: &Site, probs: &Tensor, donor: usize) {
        let rows = |branch| site.rows.of(branch);
        let (Some(grid), Some(own), Some(theirs)) = (site.grid, rows(Branch::Text(0)), rows(Branch::Donor(donor)))
        else {
            return;
        };
        let share = |rows: std::ops::Range<i64>, words: &Tensor| {
            let chosen = probs.narrow(0, rows.start, rows.end - rows.start).to_kind(Kind::Float);
            let chosen = chosen.index_select(3, &words.to_device(probs.device()));
            chosen.sum_dim_intlist(3, false, Kind::Float).mean_dim([1i64].as_slice(), false, Kind::Float)
        };
        let shares = [share(own, &self.own), share(theirs, &self.theirs)];
        if self.seen.as_ref().is_none_or(|(known, _)| *known != grid) {
            let nothing = || Tensor::zeros([site.rows.batch, grid.0 * grid.1], (Kind::Float, probs.device()));
            self.seen = Some((grid, [nothing(), nothing()]));
        }
        if let Some((_, sums)) = &mut self.seen {
            for (sum, share) in sums.iter().zip(shares) {
                let _ = sum.narrow(1, site.first_query, share.size()[1]).g_add_(&share);
            }
        }
    }

    /// Latents that are the donor's but where the words are looked at; the donor's alone if nothing was seen yet.
    pub fn blended(&self, own: &Tensor, theirs: &Tensor) -> Tensor {
        let Some((grid, sums)) = &self.seen else { return theirs.shallow_clone() };
        let size = own.size();
        let area = |sum: &Tensor| {
            let image = sum.view([-1, 1, grid.0, grid.1]);
            let wide = image.max_pool2d([3, 3], [1, 1], [1, 1], [1, 1], false);
            let wide = wide.upsample_nearest2d([size[2], size[3]], None, None);
            let greatest = wide.amax([2i64, 3].as_slice(), true);
            (wide / greatest).gt(THRESHOLD)
        };
        let mask = area(&sums[0]).logical_or(&area(&sums[1])).to_kind(own.kind());
        theirs + mask * (own - theirs)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::watch::site::{Axes, Rows};
    use tch::Device;

    /// Attention `[2, heads, 16 places, 3 tokens]` of both rows to one place each; the words are token 1 and token 2.
    fn probs(own: i64, theirs: i64) -> Tensor {
        let probs = Tensor::zeros([2, 2, 16, 3], (Kind::Float, Device::Cpu));
        let _ = probs.get(0).narrow(1, own, 1).narrow(2, 1, 1).fill_(0.5);
        let _ = probs.get(1).narrow(1, theirs, 1).narrow(2, 2, 1).fill_(0.5);
        probs
    }

    #[test]
    fn latents_stay_where_either_run_looks_at_the_words() {
        let rows = Rows { branches: vec![Branch::Text(0), Branch::Donor(0)], ..Rows::plain(1) };
        let (axes, grid) = (Axes::Attention((4, 4)), Some((4, 4)));
        let site = Site { name: "attn2.probs", axes, step: 1, rows: &rows, grid, first_query: 0 };
        let mut outside = Outside::new(&[1], &[2]);
        let image = |value: f64| Tensor::full([1, 1, 8, 8], value, (Kind::Float, Device::Cpu));
        assert!(outside.blended(&image(1.0), &image(0.0)).equal(&image(0.0)), "nothing was looked at yet");
        outside.look(&site, &probs(0, 15), 0);
        let blended = outside.blended(&image(1.0), &image(0.0));
        // Place 0 and its neighbours are the upper left 2×2 places, 4×4 latents; place 15 the lower right.
        let expected = image(0.0);
        let _ = expected.narrow(2, 0, 4).narrow(3, 0, 4).fill_(1.0);
        let _ = expected.narrow(2, 4, 4).narrow(3, 4, 4).fill_(1.0);
        assert!(blended.equal(&expected), "{blended:?}");
        // What is looked at less than 0.3 of the greatest does not count: five steps at 0, one at 3.
        (0..4).for_each(|_| outside.look(&site, &probs(0, 15), 0));
        outside.look(&site, &probs(3, 15), 0);
        assert!(outside.blended(&image(1.0), &image(0.0)).equal(&expected));
    }
}
