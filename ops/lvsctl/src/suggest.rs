//! Did you mean…?

/// Least share of letters that must agree.
const MIN_SIMILARITY: f64 = 0.6;

/// The known word nearest to a slip of the pen, if any is near.
pub(crate) fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|known| {
            let similarity = strsim::normalized_damerau_levenshtein(&word, &known.to_lowercase());
            // What was begun right is near as well: `inter` for `interval`.
            let begun = word.len() >= 3 && known.to_lowercase().starts_with(&word);
            (if begun { similarity.max(MIN_SIMILARITY) } else { similarity }, known)
        })
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}
