//! Prompts that change on the way, as AUTOMATIC1111's web UI reads them.
//!
//! Enters: a text and the number of steps. Leaves: which text holds up to which step. `[from:to:when]` puts `to` in the
//! place of `from` after step `when`; `[to:when]` adds, `[from::when]` takes away; a `when` with a decimal point is a
//! share of the steps. `[a|b|c]` takes turns, step by step. Everything else stays in the text as it is, weights and
//! escapes included, for [`super::attention`] to read. A `|` that parts no turns, or a backslash before nothing, is no
//! text to the web UI's grammar: nothing changes then in the whole prompt, and all of it is text.

use crate::error::{Error, Result};
use std::ops::Range;

/// How deep brackets may stand in each other. People write a handful; each pair of so many multiplies weights by 1.1.
const DEEPEST: usize = 500;

/// A text, and the last step it holds for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// The last step, counted from 1.
    pub until: usize,
    /// The text.
    pub text: String,
}

/// The phases of a prompt over `steps` steps, in order; the last ends with the last step.
///
/// # Errors
/// When more than 500 brackets stand in each other.
pub fn parse(prompt: &str, steps: usize) -> Result<Vec<Phase>> {
    let depth = depth(prompt);
    if depth > DEEPEST {
        return Err(Error::invalid(
            format!("{depth} brackets of the prompt stand in each other: up to {DEEPEST} are read"),
            "write a weight as a number: `(word:1.5)`",
        ));
    }
    let source = Source { text: prompt, closed_at: pairs(prompt), steps };
    let nodes = source.nodes(0..prompt.len());
    if nodes.iter().any(is_no_text) {
        return Ok(vec![Phase { until: steps, text: prompt.into() }]);
    }
    let mut ends = vec![steps];
    collect_ends(&nodes, steps, &mut ends);
    ends.sort_unstable();
    ends.dedup();
    Ok(ends.into_iter().map(|until| Phase { until, text: at_step(&nodes, until) }).collect())
}

/// How many brackets are open at once, at most.
fn depth(text: &str) -> usize {
    let (mut open, mut deepest, mut escaped) = (0_usize, 0, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => {}
            b'(' | b'[' => open += 1,
            b')' | b']' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
        escaped = byte == b'\\' && !escaped;
    }
    deepest
}

/// Whether a node holds what the web UI's grammar has no place for: a `|` beside turns, a backslash before nothing.
fn is_no_text(node: &Node) -> bool {
    match node {
        Node::Text(text) => {
            let mut rest = text.chars();
            while let Some(c) = rest.next() {
                if c == '|' || (c == '\\' && rest.next().is_none_or(|escaped| escaped == '\n')) {
                    return true;
                }
            }
            false
        }
        Node::Edit { before, after, .. } => before.iter().chain(after).any(is_no_text),
        Node::Turns(turns) => turns.iter().flatten().any(is_no_text),
    }
}

/// A prompt taken apart.
enum Node {
    Text(String),
    /// `before` up to step `when`, then `after`.
    Edit {
        before: Vec<Node>,
        after: Vec<Node>,
        when: usize,
    },
    /// One after the other, a step each.
    Turns(Vec<Vec<Node>>),
}

struct Source<'a> {
    text: &'a str,
    /// For each place where a bracket opens, the place where it closes.
    closed_at: Vec<Option<usize>>,
    steps: usize,
}

impl Source<'_> {
    fn nodes(&self, range: Range<usize>) -> Vec<Node> {
        let mut nodes = vec![];
        // Where the text that is not yet in a node begins.
        let (mut begun, mut at) = (range.start, range.start);
        while at < range.end {
            let Some(close) = self.closed_at[at] else {
                at += 1;
                continue;
            };
            match self.special(at, close) {
                Some(node) => {
                    nodes.extend([Node::Text(self.text[begun..at].into()), node]);
                    (begun, at) = (close + 1, close + 1);
                }
                // Other brackets stay in the text, and what is in them is read on.
                None => at += 1,
            }
        }
        nodes.push(Node::Text(self.text[begun..range.end].into()));
        nodes
    }

    /// The edit or the turns between two brackets, if that is what they hold.
    fn special(&self, open: usize, close: usize) -> Option<Node> {
        if !self.text[open..].starts_with('[') {
            return None;
        }
        let colons = self.split(open + 1..close, b':');
        if let [parts @ .., last] = colons.as_slice()
            && let Some(when) = self.when(&self.text[last.clone()])
        {
            let (before, after) = match parts {
                [to] => (vec![], self.nodes(to.clone())),
                [from, to] => (self.nodes(from.clone()), self.nodes(to.clone())),
                _ => return None,
            };
            return Some(Node::Edit { before, after, when });
        }
        let turns = self.split(open + 1..close, b'|');
        let some = colons.len() == 1 && turns.len() > 1;
        some.then(|| Node::Turns(turns.into_iter().map(|turn| self.nodes(turn)).collect()))
    }

    /// The parts between separators that stand in no inner brackets and are not escaped.
    fn split(&self, range: Range<usize>, separator: u8) -> Vec<Range<usize>> {
        let (mut parts, mut begun, mut at) = (vec![], range.start, range.start);
        while at < range.end {
            let byte = self.text.as_bytes()[at];
            if byte == separator {
                parts.push(begun..at);
                begun = at + 1;
            }
            at = match self.closed_at[at] {
                Some(close) => close + 1,
                None if byte == b'\\' => at + 2,
                None => at + 1,
            };
        }
        parts.push(begun..range.end);
        parts
    }

    /// The step after which an edit takes place; none if the text is no number.
    fn when(&self, text: &str) -> Option<usize> {
        let text = text.trim();
        let numeric = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        let value: f64 = text.parse().ok().filter(|_| numeric)?;
        let step = if text.contains('.') { value * self.steps as f64 } else { value };
        // A number below 0 is 0 here: the edit has taken place when the run begins.
        Some((step as usize).min(self.steps))
    }
}

/// For each place where a bracket opens, the place where it closes. A bracket that is escaped, never closed, or closed
/// in the midst of another has none.
fn pairs(text: &str) -> Vec<Option<usize>> {
    let (mut closed_at, mut open): (Vec<Option<usize>>, Vec<(u8, usize)>) = (vec![None; text.len()], vec![]);
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => {}
            b'(' => open.push((b')', at)),
            b'[' => open.push((b']', at)),
            b')' | b']' => {
                if let Some((_, began)) = open.pop_if(|(closer, _)| *closer == byte) {
                    closed_at[began] = Some(at);
                }
            }
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    closed_at
}

/// The steps at which the text may change.
fn collect_ends(nodes: &[Node], steps: usize, ends: &mut Vec<usize>) {
    for node in nodes {
        match node {
            Node::Text(_) => {}
            Node::Edit { before, after, when } => {
                ends.extend((*when > 0).then_some(*when));
                collect_ends(before, steps, ends);
                collect_ends(after, steps, ends);
            }
            Node::Turns(turns) => {
                ends.extend(1..=steps);
                turns.iter().for_each(|turn| collect_ends(turn, steps, ends));
            }
        }
    }
}

/// The text at a step, counted from 1.
fn at_step(nodes: &[Node], step: usize) -> String {
    let text = |node: &Node| match node {
        Node::Text(text) => text.clone(),
        Node::Edit { before, after, when } => at_step(if step <= *when { before } else { after }, step),
        Node::Turns(turns) => at_step(&turns[step.saturating_sub(1) % turns.len()], step),
    };
    nodes.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn check(prompt: &str, expected: &[(usize, &str)]) {
        over(10, prompt, expected);
    }

    fn over(steps: usize, prompt: &str, expected: &[(usize, &str)]) {
        let found = parse(prompt, steps).unwrap();
        let found: Vec<(usize, &str)> = found.iter().map(|phase| (phase.until, phase.text.as_str())).collect();
        assert_eq!(found, expected, "{prompt}");
    }

    /// The examples that the web UI's `get_learned_conditioning_prompt_schedules` documents, for 10 steps.
    #[test]
    fn the_web_uis_own_examples() {
        check("test", &[(10, "test")]);
        check("a [b:3]", &[(3, "a "), (10, "a b")]);
        check("a [b: 3]", &[(3, "a "), (10, "a b")]);
        check("a [[[b]]:2]", &[(2, "a "), (10, "a [[b]]")]);
        check("[(a:2):3]", &[(3, ""), (10, "(a:2)")]);
        check("a [b : c : 1] d", &[(1, "a b  d"), (10, "a  c  d")]);
        check("a[b:[c:d:2]:1]e", &[(1, "abe"), (2, "ace"), (10, "ade")]);
        check("a [unbalanced", &[(10, "a [unbalanced")]);
        check("a [b:.5] c", &[(5, "a  c"), (10, "a b c")]);
        check("((a][:b:c [d:3]", &[(3, "((a][:b:c "), (10, "((a][:b:c d")]);
        let turns = |odd, even| (1..=10).map(|i| (i, if i % 2 == 1 { odd } else { even })).collect::<Vec<_>>();
        check("[a|(b:1.1)]", &turns("a", "(b:1.1)"));
        check("[fe|]male", &turns("female", "male"));
        let four: Vec<_> = (1..=10).map(|i| (i, if i % 4 == 1 { "female" } else { "male" })).collect();
        check("[fe|||]male", &four);
    }

    /// The example over its grammar, for 100 steps.
    #[test]
    fn the_web_uis_landscape() {
        over(
            100,
            "fantasy landscape with a [mountain:lake:0.25] and [an oak:a christmas tree:0.75][ in foreground::0.6][: in \
             background:0.25] [shoddy:masterful:0.5]",
            &[
                (25, "fantasy landscape with a mountain and an oak in foreground shoddy"),
                (50, "fantasy landscape with a lake and an oak in foreground in background shoddy"),
                (60, "fantasy landscape with a lake and an oak in foreground in background masterful"),
                (75, "fantasy landscape with a lake and an oak in background masterful"),
                (100, "fantasy landscape with a lake and a christmas tree in background masterful"),
            ],
        );
    }

    #[test]
    fn when_is_a_step_or_with_a_point_a_share() {
        check("[a:b:1.0]", &[(10, "a")]);
        check("[a:b:1]", &[(1, "a"), (10, "b")]);
        check("[a:b:99]", &[(10, "a")]);
        check("[a:b:0]", &[(10, "b")]);
        check("[a:b:-1]", &[(10, "b")]);
        check("[a:b:0.39]", &[(3, "a"), (10, "b")]);
        check("[a:b:soon]", &[(10, "[a:b:soon]")]);
        check("[a:b:inf]", &[(10, "[a:b:inf]")]);
        check("[a:b:c:3]", &[(10, "[a:b:c:3]")]);
    }

    #[test]
    fn other_brackets_stay_and_what_is_in_them_counts() {
        check(r"a \[b:c:3\] | d", &[(10, r"a \[b:c:3\] | d")]);
        check("([a:b:3]:1.2) [c]", &[(3, "(a:1.2) [c]"), (10, "(b:1.2) [c]")]);
        check("[ä|ö [x:y:1]|ü]", &(1..=10).map(|i| (i, ["ä", "ö y", "ü"][(i - 1) % 3])).collect::<Vec<_>>());
        check("[a (b:c:3]", &[(10, "[a (b:c:3]")]);
    }

    /// Where the web UI's grammar fails it leaves the prompt alone. The second example is its own, which it notes as not
    /// handled; all are what that grammar gives.
    #[test]
    fn a_bar_that_parts_no_turns_switches_everything_off() {
        for text in [
            "[a|b:0.5]",
            "a [{b|d{:.5] c",
            "a | b [c:d:0.5]",
            "([a|b:0.5]:1.2) [c:d:3]",
            "[(a|b):0.5]",
            "[a: b: c|d]",
            "[a|b:c]",
            "[a|b",
            "[x:y:3]|",
            r"\[a|b\] [c:3]",
            "[c:3] a\\",
            "[c:3] a\\\nb",
        ] {
            check(text, &[(10, text)]);
        }
        check(r"a \| b [c:3]", &[(3, r"a \| b "), (10, r"a \| b c")]);
        let turns = |odd, even| (1..=10).map(|i| (i, if i % 2 == 1 { odd } else { even })).collect::<Vec<_>>();
        check("[a|b]:0.5]", &turns("a:0.5]", "b:0.5]"));
        let later = |(i, text)| if i <= 5 { (i, "") } else { (i, text) };
        check("[[a|b]:0.5]", &turns("a", "b").into_iter().map(later).collect::<Vec<_>>());
    }

    #[test]
    fn many_brackets_take_no_time_and_too_many_are_refused() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), ":1]".repeat(n));
        for text in ["(".repeat(500), "[".repeat(500), nested(300), nested(500), "(a) [b] ".repeat(20_000)] {
            assert!(!parse(&text, 10).unwrap().is_empty());
        }
        for text in ["(".repeat(20_000), nested(20_000), "([".repeat(251), nested(501)] {
            let error = parse(&text, 10).unwrap_err();
            assert!(error.to_string().ends_with("brackets of the prompt stand in each other: up to 500 are read"));
        }
        assert!(parse(&r"\(".repeat(20_000), 10).is_ok(), "escaped brackets do not count");
    }
}
