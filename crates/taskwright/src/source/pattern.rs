//! Which files of a source count.

use std::fmt;

use glob::MatchOptions;
use taskwright_core::Error;

/// Case counts, `*` stays within one directory, and a leading dot must be written: temporary files often have one.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// A glob: `*`, `?`, `[abc]`, `[!a-z]`, and `**` for any number of directories.
///
/// One without `/` is held against the name of a file, one with `/` against its path below the directory of the source.
///
/// # Example
///
/// ```
/// use taskwright::source::Pattern;
///
/// let csv: Pattern = Pattern::new("*.csv")?;
/// assert!(csv.matches("orders.csv") && csv.matches("2026/orders.csv"));
/// assert!(!csv.matches(".orders.csv") && !csv.matches("orders.csv.part"));
/// assert!(Pattern::new("2026/**/*.csv")?.matches("2026/01/orders.csv"));
/// # Ok::<(), taskwright::core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(glob::Pattern);

impl Pattern {
    /// Parses a glob.
    ///
    /// # Errors
    ///
    /// When it is none; the error says where.
    pub fn new(text: &str) -> Result<Self, Error> {
        let refuse = |why: String| {
            Error::invalid("the pattern", why, "write it like `*.csv`, `in/*.csv` or `**/*.csv`")
        };
        if text.is_empty() || text.starts_with('/') {
            return Err(refuse(
                "it is held against paths below the directory, none of which looks so".to_owned(),
            ));
        }
        let parsed = glob::Pattern::new(text);
        parsed.map(Self).map_err(|error| refuse(format!("{} at column {}", error.msg, error.pos + 1)))
    }

    /// Whether a file counts, by its path below the directory of the source.
    pub fn matches(&self, path: &str) -> bool {
        let text = if self.0.as_str().contains('/') { path } else { name_of(path) };
        self.0.matches_with(text, OPTIONS)
    }

    /// What was parsed.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a file counts for a source with these patterns. Nothing below a directory that begins with a dot does.
pub(super) fn counts(patterns: &[Pattern], path: &str) -> bool {
    let is_hidden = |part: &str| part.starts_with('.');
    let hidden_below = path.rsplit_once('/').is_some_and(|(above, _)| above.split('/').any(is_hidden));
    if patterns.is_empty() {
        !hidden_below && !is_hidden(name_of(path))
    } else {
        patterns
            .iter()
            .any(|pattern| pattern.matches(path) && (!hidden_below || pattern.as_str().contains('/')))
    }
}

/// The last part of a path.
pub(super) fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_told_apart_by_the_slash_and_dots_are_left_alone() {
        let table: [(&[&str], &str, bool); 12] = [
            (&[], "a.csv", true),
            (&[], "in/a.csv", true),
            (&[], ".a.csv.x7F2", false),
            (&[], ".git/config", false),
            (&["*.csv"], "in/a.csv", true),
            (&["*.csv"], ".trash/a.csv", false),
            (&["*.csv", "*.tsv"], "a.tsv", true),
            (&["*.csv"], "a.CSV", false),
            (&["in/*.csv"], "in/a.csv", true),
            (&["in/*.csv"], "in/b/a.csv", false),
            (&["in/**/*.csv"], "in/b/c/a.csv", true),
            (&[".in/*.csv"], ".in/a.csv", true),
        ];
        for (patterns, path, expected) in table {
            let parsed: Vec<_> = patterns.iter().map(|text| Pattern::new(text).unwrap()).collect();
            assert_eq!(counts(&parsed, path), expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn a_pattern_that_is_none_is_refused_with_its_place() {
        let error = Pattern::new("a[b").unwrap_err();
        assert!(error.to_string().contains("column 2"), "{error}");
        for text in ["", "/in/*.csv", "a**b"] {
            Pattern::new(text).unwrap_err();
        }
    }
}
