//! Commands as they are typed in the pages.

/// The words of a line as a shell has them, for lines with no more than quotes and a remark at the end.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut open) = (vec![], None::<String>, None);
    for letter in line.chars() {
        match (open, letter) {
            (Some(quote), letter) if quote == letter => open = None,
            (None, '"' | '\'') => {
                open = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.into_iter().chain(word).collect()
}
