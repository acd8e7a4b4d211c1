//! A text to compare names with.

/// A text to compare names with: letters of either case, and `*` for any number of any characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes the text.
    pub fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    /// Whether a name matches one of them, or there are none to match.
    pub fn any(patterns: &[Self], name: &str) -> bool {
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether a name matches.
    ///
    /// # Example
    ///
    /// ```
    /// use taskwright_core::Pattern;
    ///
    /// assert!(Pattern::new("email.*").matches("Email.Welcome"));
    /// assert!(!Pattern::new("email").matches("email.welcome"));
    /// ```
    pub fn matches(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let mut last = None;
        for part in parts {
            if let Some(middle) = last.replace(part) {
                let Some(at) = rest.find(middle) else { return false };
                rest = &rest[at + middle.len()..];
            }
        }
        last.map_or(rest.is_empty(), |last| rest.ends_with(last))
    }

    /// The text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
