//! Whose turn it is: visitors in a circle, each with a line of runs. One with twenty runs does not keep the others waiting.
//!
//! Enters: runs with whom they belong to. Leaves: the next, and the order in which all will come if nothing is added.

use super::id::RunId;
use super::visitor::Visitor;
use std::collections::{HashMap, VecDeque};

/// The runs that wait.
#[derive(Debug, Default)]
pub struct Queue {
    lines: HashMap<Visitor, VecDeque<RunId>>,
    /// Visitors with a line, the next one first.
    turns: VecDeque<Visitor>,
}

impl Queue {
    /// Puts a run at the end of its visitor's line.
    pub fn push(&mut self, visitor: &Visitor, run: RunId) {
        let line = self.lines.entry(visitor.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(visitor.clone());
        }
        line.push_back(run);
    }

    /// Takes the next run; its visitor's turn comes again when all others had theirs.
    pub fn next(&mut self) -> Option<RunId> {
        let visitor = self.turns.pop_front()?;
        let line = self.lines.get_mut(&visitor)?;
        let run = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&visitor);
        } else {
            self.turns.push_back(visitor);
        }
        run
    }

    /// Takes a run out. Says whether it was there.
    pub fn remove(&mut self, run: &RunId) -> bool {
        let found = self.lines.iter().find(|(_, line)| line.contains(run)).map(|(visitor, _)| visitor.clone());
        let Some(visitor) = found else { return false };
        if let Some(line) = self.lines.get_mut(&visitor) {
            line.retain(|waiting| waiting != run);
            if line.is_empty() {
                self.lines.remove(&visitor);
                self.turns.retain(|turn| *turn != visitor);
            }
        }
        true
    }

    /// All runs in the order in which they will come.
    pub fn order(&self) -> Vec<RunId> {
        let mut lines: VecDeque<_> =
            self.turns.iter().filter_map(|visitor| self.lines.get(visitor)).map(|line| line.iter()).collect();
        let mut order = vec![];
        while let Some(mut line) = lines.pop_front() {
            if let Some(run) = line.next() {
                order.push(run.clone());
                lines.push_back(line);
            }
        }
        order
    }

    /// How many runs of a visitor wait.
    pub fn count(&self, visitor: &Visitor) -> usize {
        self.lines.get(visitor).map_or(0, VecDeque::len)
    }

    /// How many runs wait.
    pub fn len(&self) -> usize {
        self.lines.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(name: &str) -> RunId {
        RunId::parse(name).unwrap()
    }

    fn visitor(name: &str) -> Visitor {
        Visitor::named(name)
    }

    #[test]
    fn nobody_waits_for_all_of_somebody_elses() {
        let mut queue = Queue::default();
        (1..=3).for_each(|n| queue.push(&visitor("a"), run(&format!("a{n}"))));
        queue.push(&visitor("b"), run("b1"));
        (1..=2).for_each(|n| queue.push(&visitor("c"), run(&format!("c{n}"))));
        let order: Vec<String> = queue.order().iter().map(ToString::to_string).collect();
        assert_eq!(order, ["a1", "b1", "c1", "a2", "c2", "a3"]);
        assert_eq!(queue.next(), Some(run("a1")));
        // Who comes while a's first is being made comes before a's next turn is over.
        queue.push(&visitor("d"), run("d1"));
        let taken: Vec<String> = std::iter::from_fn(|| queue.next()).map(|id| id.to_string()).collect();
        assert_eq!(taken, ["b1", "c1", "a2", "d1", "c2", "a3"]);
        assert_eq!((queue.len(), queue.order().len()), (0, 0));
    }

    #[test]
    fn what_is_taken_out_leaves_no_gap() {
        let mut queue = Queue::default();
        queue.push(&visitor("a"), run("a1"));
        queue.push(&visitor("b"), run("b1"));
        queue.push(&visitor("b"), run("b2"));
        assert!(queue.remove(&run("a1")) && queue.remove(&run("b1")) && !queue.remove(&run("a1")));
        assert_eq!((queue.count(&visitor("a")), queue.count(&visitor("b")), queue.len()), (0, 1, 1));
        queue.push(&visitor("a"), run("a2"));
        assert_eq!(queue.order(), [run("b2"), run("a2")]);
    }
}
