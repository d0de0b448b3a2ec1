//! Which columns a text has: words of several tokens, the same word twice, chunks, weights, schedules, parts.

use crate::attention::tiny;
use sdviz::prelude::*;
use sdviz::record::attention::{AttendedText, ColumnKind};

/// `start|a|red|…`: the bytes of each word's column, and the other columns by their kind.
fn spelt(text: &AttendedText) -> String {
    let column = |column: &sdviz::record::attention::Column| match (column.kind, column.span) {
        (ColumnKind::Word, Some([from, to])) => text.text[from..to].to_string(),
        (ColumnKind::Word, None) => panic!("{column:?}"),
        (ColumnKind::Start, _) => "<".into(),
        (ColumnKind::End, _) => ">".into(),
        (ColumnKind::Padding, _) => format!("{}", column.places),
    };
    text.columns.iter().map(column).collect::<Vec<_>>().join("|")
}

/// Which word each column belongs to.
fn words(text: &AttendedText) -> Vec<Option<usize>> {
    text.columns.iter().map(|column| column.word).collect()
}

/// The texts of a run that is only planned.
fn texts(drawing: Drawing) -> Vec<AttendedText> {
    drawing.run().unwrap().attention().unwrap().record().texts.clone()
}

fn web(prompt: &str) -> Drawing {
    tiny(prompt).prompt_syntax("a1111").steps(1)
}

#[test]
fn words_of_several_tokens_are_known_by_their_bytes() {
    let text = &texts(tiny("It's 2024: a Cat, a  zyxwvutcat été").steps(1))[0];
    assert_eq!(text.text, "It's 2024: a Cat, a  zyxwvutcat été");
    let told = spelt(text);
    assert!(told.starts_with("<|It|'s|2|0|2|4|:|a|Cat|,|a|zy"), "{told}");
    let words = words(text);
    assert_eq!(
        words[..12],
        [None, Some(0), Some(0), Some(1), Some(1), Some(1), Some(1), Some(1), Some(2), Some(3), Some(3), Some(4)]
    );
    // The seventh word is two bytes longer than its letters.
    let last: Vec<&str> = text
        .columns
        .iter()
        .filter(|c| c.word == Some(6))
        .map(|c| {
            let [a, b] = c.span.unwrap();
            &text.text[a..b]
        })
        .collect();
    assert_eq!(last.concat(), "été");
    let places: usize = text.columns.iter().map(|column| column.places).sum();
    assert_eq!((places, text.places), (77, 77));
    assert!(text.columns.windows(2).all(|pair| pair[0].place + pair[0].places == pair[1].place));
}

#[test]
fn all_tokens_have_columns_where_that_is_asked_for() {
    let all =
        tiny("a cat").steps(1).attention(AttentionPlan { all_tokens: true, ..AttentionPlan::default() }).run().unwrap();
    let summed = tiny("a cat").steps(1).run().unwrap();
    let maps = |run: &Run| run.attention().unwrap().maps(1, Prediction::TEXT, 1).unwrap().unwrap();
    let (all, summed) = (maps(&all), maps(&summed));
    assert_eq!((all.dim().1, summed.dim().1), (77, 5));
    let padding = all.slice(s![.., 4.., .., ..]).sum_axis(Axis(1));
    assert!(crate::attention::away(&padding, &summed.index_axis(Axis(1), 4).to_owned()) < 1e-3);
}

#[test]
fn a_prompt_that_is_cut_has_no_padding() {
    let text = &texts(tiny(&"cat ".repeat(90)).steps(1))[0];
    assert_eq!(text.columns.len(), 77);
    assert_eq!(text.columns[76].kind, ColumnKind::End);
    assert_eq!(text.columns[75].word, Some(74));
}

#[test]
fn chunks_weights_and_brackets_are_read_away() {
    let text = &texts(web("a (red:1.3) cat BREAK [blue]  sky, a \\(cat\\)"))[0];
    assert_eq!(text.text, "a red cat blue  sky, a (cat)");
    assert_eq!(spelt(text), "<|a|red|cat|>|72|<|blue|sky|,|a|(|cat|)|>|68");
    assert_eq!(words(text)[7..14], [Some(3), Some(4), Some(4), Some(5), Some(6), Some(6), Some(6)]);
    let chunks: Vec<usize> = text.columns.iter().map(|column| column.chunk).collect();
    assert_eq!((text.places, chunks[5], chunks[6], text.columns[6].place), (154, 0, 1, 77));
    let long = &texts(web(&"cat ".repeat(90)))[0];
    assert_eq!((long.places, long.columns.len()), (154, 77 + 15 + 3));
    assert_eq!(long.columns[77 + 15].word, Some(89));
}

#[test]
fn texts_change_between_steps() {
    let drawing = tiny("a [cat:big dog:0.5]").prompt_syntax("a1111").steps(4);
    let all = AttentionPlan { all_branches: true, ..AttentionPlan::default() };
    let run = drawing.clone().negative_prompt("[grey:0.25]").attention(all).run().unwrap();
    let attention = run.attention().unwrap();
    let told = |prediction, step| spelt(attention.text(prediction, step).unwrap());
    assert_eq!(
        (told(Prediction::TEXT, 2), told(Prediction::TEXT, 3)),
        ("<|a|cat|>|73".into(), "<|a|big|dog|>|72".into())
    );
    assert_eq!((told(Prediction::Uncond, 1), told(Prediction::Uncond, 2)), ("<|>|75".into(), "<|grey|>|74".into()));
    let maps = |step| attention.maps(step, Prediction::TEXT, 1).unwrap().unwrap();
    assert_eq!((maps(2).dim().1, maps(3).dim().1), (5, 6));
    // The mean of each text is over its own steps.
    for (text, steps) in [(0, [1, 2]), (1, [3, 4])] {
        let heads = attention.mean_heads(Prediction::TEXT, text, 1).unwrap().unwrap();
        let layer = &attention.record().layers[0];
        let of_steps = steps.map(|step| attention.heads(step, Prediction::TEXT, layer).unwrap().unwrap());
        let mean = (&of_steps[0] + &of_steps[1]) / 2.0;
        assert!(crate::attention::away(&heads[0].maps, &mean) < 1e-3);
    }
    // The first two steps are those of the plain prompt.
    let plain = tiny("a cat").steps(4).negative_prompt("").run().unwrap();
    let plain = plain.attention().unwrap().maps(1, Prediction::TEXT, 1).unwrap().unwrap();
    assert!(crate::attention::away(&maps(1), &plain) < 1e-4);
}

#[test]
fn parts_and_what_is_not_there_are_told_apart() {
    let prompt = "a cat AND a big dog :0.5";
    let all = AttentionPlan { all_branches: true, ..AttentionPlan::default() };
    let run = tiny(prompt).prompt_syntax("a1111").attention(all.clone()).run().unwrap();
    let attention = run.attention().unwrap();
    let told = |prediction| spelt(attention.text(prediction, 1).unwrap());
    assert_eq!(told(Prediction::Part(1)), "<|a|big|dog|>|72");
    assert_eq!((told(Prediction::TEXT), told(Prediction::Uncond)), ("<|a|cat|>|73".into(), "<|>|75".into()));
    for (prediction, columns) in [(Prediction::Uncond, 3), (Prediction::TEXT, 5), (Prediction::Part(1), 6)] {
        let maps = attention.maps(2, prediction, 2).unwrap().unwrap();
        assert_eq!(maps.dim(), (1, columns, 2, 2));
        assert!(maps.sum_axis(Axis(1)).iter().all(|sum| (sum - 1.0).abs() < 2e-3));
    }
    // Without the branches there is the first part alone, with the same numbers.
    let alone = tiny(prompt).prompt_syntax("a1111").run().unwrap();
    let alone = alone.attention().unwrap();
    assert_eq!(alone.record().predictions.len(), 1);
    let maps = |of: &sdviz::trace::attention::Attention| of.maps(2, Prediction::TEXT, 2).unwrap().unwrap();
    assert_eq!(maps(&alone), maps(&attention));
    // Without guidance there is no prediction without the prompt.
    let unguided = tiny("a cat").guidance_scale(1.0).attention(all).run().unwrap();
    let unguided = unguided.attention().unwrap();
    assert_eq!(unguided.record().predictions.len(), 1);
    let error = unguided.maps(1, Prediction::Uncond, 1).unwrap_err();
    assert!(error.hint().unwrap().contains("without guidance there is no `uncond`"), "{error}");
}
