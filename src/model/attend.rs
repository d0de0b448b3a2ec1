//! softmax(Q·Kᵀ / √d)·V, fused; and what the fused kernel never forms, for those who look at it or change it.
//!
//! Who looks changes nothing: the kernel computes the run, and the scores and probabilities are formed beside it, in f32,
//! only for the rows that somebody wants and some queries at a time. Where an editor changes them, the rows that it
//! changed are computed the long way, the others by the kernel as before.

use crate::error::Result;
use crate::watch::probe::Probe;
use crate::watch::site::{Axes, Rows};
use tch::{Device, Kind, Tensor};

/// Most numbers of scores that are formed at once: 128 MiB in f32.
const PIECE: i64 = 1 << 25;

/// The names of the sites inside an attention.
#[derive(Debug)]
pub struct Names {
    scores: String,
    probs: String,
    heads: String,
}

impl Names {
    /// Below the attention's own site.
    pub fn of(site: &str) -> Names {
        let below = |name| format!("{site}.{name}");
        Names { scores: below("scores"), probs: below("probs"), heads: below("heads") }
    }
}

/// One attention's tensors, each `[rows, heads, places, d]`.
pub struct Attend<'a, 'p> {
    /// Queries.
    pub q: &'a Tensor,
    /// Keys.
    pub k: &'a Tensor,
    /// Values.
    pub v: &'a Tensor,
    /// Whether a place looks at itself and those before it only, as the text encoder's do.
    pub causal: bool,
    /// What scores and probabilities are called.
    pub names: &'a Names,
    /// What their dimensions mean, and those of the heads' outputs.
    pub axes: (Axes, Axes),
    /// Who looks and who changes.
    pub probe: &'a Probe<'p>,
}

impl Attend<'_, '_> {
    /// What each head says, `[rows, heads, queries, d]`.
    ///
    /// # Errors
    /// An editor's or an observer's.
    pub fn forward(&self) -> Result<Tensor> {
        let (names, probe) = (self.names, self.probe);
        let fused = || {
            let (q, k, v) = (self.q, self.k, self.v);
            if q.requires_grad() && q.kind() == Kind::BFloat16 && q.device() == Device::Cpu {
                return self.plain();
            }
            Tensor::scaled_dot_product_attention(q, k, v, None::<Tensor>, 0.0, self.causal, None, false)
        };
        let out = if probe.edits(&names.scores) || probe.edits(&names.probs) {
            self.edited(fused)?
        } else {
            self.watched()?;
            fused()
        };
        probe.pass(&names.heads, self.axes.1, out)
    }

    /// The same by plain products. Learning in bf16 on a processor, the whole network's way there and back takes two thirds
    /// of the time so: the fused kernel's way back does not use the instructions that are there for bf16.
    fn plain(&self) -> Tensor {
        let mut scores = (self.q * (self.q.size()[3] as f64).powf(-0.5)).matmul(&self.k.transpose(-1, -2));
        if self.causal {
            scores = causal(&scores, 0);
        }
        scores.softmax(-1, self.v.kind()).matmul(self.v)
    }

    /// The first and the number of the queries of each piece, for so many rows.
    fn pieces(&self, rows: i64) -> impl Iterator<Item = (i64, i64)> + use<> {
        let (heads, queries, keys) = (self.q.size()[1], self.q.size()[2], self.k.size()[2]);
        let most = (PIECE / (rows * heads * keys).max(1)).clamp(1, queries.max(1));
        (0..queries).step_by(most as usize).map(move |first| (first, most.min(queries - first)))
    }

    /// Scores in f32 of some queries. Q is scaled before the product, which half precision could not hold.
    fn scores(&self, q: &Tensor, k: &Tensor, first: i64) -> Tensor {
        let scale = (q.size()[3] as f64).powf(-0.5);
        let scores = (q.to_kind(Kind::Float) * scale).matmul(&k.to_kind(Kind::Float).transpose(-1, -2));
        if self.causal { causal(&scores, first) } else { scores }
    }

    /// Shows scores and probabilities of the rows that somebody wants.
    fn watched(&self) -> Result<()> {
        let (names, probe, axes) = (self.names, self.probe, self.axes.0);
        let (scores_wanted, probs_wanted) = (probe.wants_site(&names.scores), probe.wants_site(&names.probs));
        if !scores_wanted && !probs_wanted {
            return Ok(());
        }
        let Some((rows, chosen)) = self.wanted_rows(&probe.rows()) else { return Ok(()) };
        let choose = |t: &Tensor| chosen.as_ref().map_or(t.shallow_clone(), |index| t.index_select(0, index));
        let (q, k) = (choose(self.q), choose(self.k));
        let few = axes.grid(&q.size()).and_then(|grid| probe.wanted_queries([&names.scores, &names.probs], grid));
        let pieces: Vec<(i64, i64)> = match few {
            Some(queries) => queries.into_iter().map(|query| (query, 1)).collect(),
            None => self.pieces(q.size()[0]).collect(),
        };
        for (first, count) in pieces {
            let scores = self.scores(&q.narrow(2, first, count), &k, first);
            if scores_wanted {
                probe.see_rows(&names.scores, axes, &rows, first, &scores)?;
            }
            if probs_wanted {
                probe.see_rows(&names.probs, axes, &rows, first, &scores.softmax(-1, Kind::Float))?;
            }
        }
        Ok(())
    }

    /// The branches somebody wants, and where their rows are unless it is all of them; `None` when it is none.
    fn wanted_rows(&self, rows: &Rows) -> Option<(Rows, Option<Tensor>)> {
        if rows.branches.is_empty() || rows.count() != self.q.size()[0] {
            return Some((rows.clone(), None));
        }
        let sites = [&self.names.scores, &self.names.probs];
        let wanted = |branch: &&_| sites.iter().any(|site| self.probe.wants_branch(site, **branch));
        let branches: Vec<_> = rows.branches.iter().filter(wanted).copied().collect();
        if branches.is_empty() || branches == rows.branches {
            return (!branches.is_empty()).then(|| (rows.clone(), None));
        }
        // Counted on the device: numbers from the host would have it wait.
        let count =
            |rows: std::ops::Range<i64>| Tensor::arange_start(rows.start, rows.end, (Kind::Int64, self.q.device()));
        let places: Vec<Tensor> = branches.iter().filter_map(|branch| rows.of(*branch)).map(count).collect();
        let places = Tensor::cat(&places, 0);
        Some((Rows { branches, ..rows.clone() }, Some(places)))
    }

    /// With editors: the long way for the rows that they change, the kernel for the others.
    fn edited(&self, fused: impl FnOnce() -> Tensor) -> Result<Tensor> {
        let (names, probe, axes) = (self.names, self.probe, self.axes.0);
        let rows = self.q.size()[0];
        let mut changed = Tensor::zeros([rows], (Kind::Bool, self.q.device()));
        let mut outputs = vec![];
        for (first, count) in self.pieces(rows) {
            let scores = self.scores(&self.q.narrow(2, first, count), self.k, first);
            let edited_scores = probe.pass_piece(&names.scores, axes, first, scores.shallow_clone())?;
            let probs = edited_scores.softmax(-1, Kind::Float);
            let edited_probs = probe.pass_piece(&names.probs, axes, first, probs.shallow_clone())?;
            for (before, after) in [(&scores, &edited_scores), (&probs, &edited_probs)] {
                changed = changed.logical_or(&differing(before, after));
            }
            outputs.push(edited_probs.to_kind(self.v.kind()).matmul(self.v));
        }
        // The one look at numbers here, for which a GPU is waited for.
        let known: Vec<bool> = Vec::try_from(&changed)?;
        if !known.contains(&false) {
            return Ok(Tensor::cat(&outputs, 2));
        }
        let fused = fused();
        if !known.contains(&true) {
            return Ok(fused);
        }
        Ok(Tensor::cat(&outputs, 2).where_self(&changed.view([-1, 1, 1, 1]), &fused))
    }
}

/// Scores of the places from `first` on, without those of places behind them.
fn causal(scores: &Tensor, first: i64) -> Tensor {
    let later = Tensor::ones([scores.size()[2], scores.size()[3]], (Kind::Bool, scores.device())).triu(first + 1);
    scores.masked_fill(&later, f64::NEG_INFINITY)
}

/// Which rows of two tensors differ, `[rows]` on their device.
fn differing(a: &Tensor, b: &Tensor) -> Tensor {
    let rows = a.size()[0];
    if a.data_ptr() == b.data_ptr() {
        return Tensor::zeros([rows], (Kind::Bool, a.device()));
    }
    if a.device() != Device::Cpu {
        return a.ne_tensor(b).flatten(1, -1).any_dim(1, false);
    }
    // On the CPU a comparison ends with the first number that differs.
    let differ: Vec<bool> = (0..rows).map(|row| !a.get(row).equal(&b.get(row))).collect();
    Tensor::from_slice(&differ)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::watch::editor::Editor;
    use crate::watch::observer::{Ask, Event, Flow, Observer};
    use crate::watch::site::{Branch, Site};

    const AXES: (Axes, Axes) = (Axes::Attention((4, 5)), Axes::Heads((4, 5)));

    fn tensors(kind: Kind, spread: f64) -> (Tensor, Tensor, Tensor) {
        tch::manual_seed(1);
        let tensor = || (Tensor::randn([2, 3, 20, 8], (Kind::Float, Device::Cpu)) * spread).to_kind(kind);
        (tensor(), tensor(), tensor())
    }

    fn forward((q, k, v): &(Tensor, Tensor, Tensor), causal: bool, probe: &Probe) -> Tensor {
        let names = Names::of("a");
        Attend { q, k, v, causal, names: &names, axes: AXES, probe }.forward().unwrap()
    }

    /// Keeps what it is shown of one site.
    struct Keep(&'static str, Option<Branch>, Vec<(Rows, Tensor)>);

    impl Observer for Keep {
        fn wants(&self, ask: Ask) -> bool {
            matches!(ask, Ask::Site(name, _) if name == self.0)
        }

        fn wants_branch(&self, branch: Branch) -> bool {
            self.1.is_none_or(|wanted| wanted == branch)
        }

        fn on_event(&mut self, event: &Event) -> Result<Flow> {
            if let Event::Tensor(site, tensor) = event {
                self.2.push((site.rows.clone(), tensor.copy()));
            }
            Ok(Flow::Continue)
        }
    }

    /// Does something to the tensors of one site.
    struct Change(&'static str, fn(&Tensor) -> Tensor);

    impl Editor for Change {
        fn wants(&self, site: &str, _: usize) -> bool {
            site == self.0
        }

        fn edit(&mut self, _: &Site, tensor: &Tensor) -> Result<Option<Tensor>> {
            Ok(Some((self.1)(tensor)))
        }
    }

    fn difference(a: &Tensor, b: &Tensor) -> f64 {
        (a.to_kind(Kind::Float) - b.to_kind(Kind::Float)).abs().max().double_value(&[])
    }

    /// Who looks changes no bit, and sees probabilities that give what the kernel gave.
    #[test]
    fn watched_probabilities_are_those_of_the_kernel() {
        for (kind, spread, tolerance) in
            [(Kind::Float, 1.0, 1e-6), (Kind::BFloat16, 1.0, 2e-2), (Kind::Half, 90.0, 1.0)]
        {
            for causal in [false, true] {
                let all = tensors(kind, spread);
                let mut keep = Keep("a.probs", None, vec![]);
                let watched = forward(&all, causal, &Probe::new(vec![&mut keep]));
                let silent = forward(&all, causal, &Probe::silent());
                assert!(watched.equal(&silent));
                let probs = &keep.2[0].1;
                assert_eq!((probs.kind(), probs.size()), (Kind::Float, vec![2, 3, 20, 20]));
                let sums = probs.sum_dim_intlist(-1, false, Kind::Float);
                assert!(difference(&sums, &sums.ones_like()) < 1e-5, "each place's attention sums to one");
                let long = probs.matmul(&all.2.to_kind(Kind::Float));
                assert!(difference(&long, &silent) < tolerance, "{kind:?} {causal}: {}", difference(&long, &silent));
            }
        }
    }

    /// Learning in bf16 goes the long way, to what the kernel gives in f32, and to its gradients.
    #[test]
    fn learning_in_half_precision_is_near_the_kernel() {
        for causal in [false, true] {
            let (q, k, v) = tensors(Kind::Float, 1.0);
            let learned = |kind: Kind| {
                let learning = |t: &Tensor| t.to_kind(kind).copy().set_requires_grad(true);
                let all = (learning(&q), learning(&k), learning(&v));
                let out = forward(&all, causal, &Probe::silent());
                let weights = [&all.0, &all.1, &all.2];
                let gradients = Tensor::run_backward(&[out.square().sum(Kind::Float)], &weights, false, false);
                gradients.into_iter().chain([out.detach()]).collect::<Vec<_>>()
            };
            for (half, whole) in learned(Kind::BFloat16).iter().zip(learned(Kind::Float)) {
                let most = whole.abs().max().double_value(&[]);
                assert!(difference(half, &whole) < 2e-2 * most, "{causal}: {} of {most}", difference(half, &whole));
            }
        }
    }

    #[test]
    fn only_the_branches_that_are_wanted_are_formed() {
        let all = tensors(Kind::Float, 1.0);
        let (mut text, mut both) = (Keep("a.probs", Some(Branch::Text(0)), vec![]), Keep("a.probs", None, vec![]));
        for keep in [&mut text, &mut both] {
            let probe = Probe::new(vec![keep]);
            probe.set_rows(Rows { branches: vec![Branch::Uncond, Branch::Text(0)], ..Rows::plain(1) });
            let _ = forward(&all, false, &probe);
        }
        assert_eq!(text.2[0].0.branches, [Branch::Text(0)]);
        assert!(text.2[0].1.get(0).allclose(&both.2[0].1.get(1), 1e-6, 1e-6, false));
    }

    #[test]
    fn an_editor_that_changes_nothing_changes_no_bit() {
        let all = tensors(Kind::Float, 1.0);
        for site in ["a.scores", "a.probs", "a.heads"] {
            let mut change = Change(site, |tensor| tensor * 1.0);
            let edited = forward(&all, false, &Probe::new(vec![]).with_editors(vec![&mut change]));
            assert!(edited.equal(&forward(&all, false, &Probe::silent())), "{site}");
        }
    }

    #[test]
    fn what_an_editor_changes_is_what_goes_on_and_what_observers_see() {
        let all = tensors(Kind::Float, 1.0);
        // Row 1 looks everywhere alike: each place then says the mean of the values.
        let mut change =
            Change("a.probs", |probs| Tensor::cat(&[probs.narrow(0, 0, 1), probs.narrow(0, 1, 1).full_like(0.05)], 0));
        let mut keep = Keep("a.probs", None, vec![]);
        let edited = forward(&all, false, &Probe::new(vec![&mut keep]).with_editors(vec![&mut change]));
        let silent = forward(&all, false, &Probe::silent());
        assert!(edited.get(0).equal(&silent.get(0)), "the row that was left alone has the kernel's bits");
        let mean = all.2.get(1).mean_dim([1i64].as_slice(), true, Kind::Float).expand([3, 20, 8], false);
        assert!(difference(&edited.get(1), &mean) < 1e-6);
        assert!(difference(&keep.2[0].1.get(1), &Tensor::from(0.05)) < 1e-7);
    }

    /// In pieces the masks and the sums are the same.
    #[test]
    fn many_queries_come_in_pieces() {
        tch::manual_seed(2);
        let tensor = || Tensor::randn([1, 1, 6000, 4], (Kind::Float, Device::Cpu));
        let all = (tensor(), tensor(), tensor());
        let mut keep = Keep("a.probs", None, vec![]);
        let silent = forward(&all, true, &Probe::silent());
        assert!(forward(&all, true, &Probe::new(vec![&mut keep])).equal(&silent));
        assert_eq!(keep.2.len(), 2);
        let pieces: Vec<Tensor> = keep.2.iter().map(|(_, t)| t.matmul(&all.2)).collect();
        assert!(difference(&Tensor::cat(&pieces, 2), &silent) < 1e-5);
    }
}
