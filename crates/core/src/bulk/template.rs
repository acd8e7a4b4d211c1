//! The arguments of items, from a template.

use serde_json::Value;

/// A copy of the template with the words in braces replaced by their values: a text that is nothing but `{index}` becomes the
/// value itself, a number; inside a longer text its text is put there. Keys of objects stay as they are.
///
/// # Example
///
/// ```
/// use serde_json::json;
/// use taskwright_core::bulk::fill;
///
/// let template = json!({"page": "{index}", "url": "https://example.org/{index}", "depth": [1, "{line}"]});
/// let filled = fill(&template, &[("index", 7.into()), ("line", "a {b}".into())]);
/// assert_eq!(filled, json!({"page": 7, "url": "https://example.org/7", "depth": [1, "a {b}"]}));
/// ```
pub fn fill(template: &Value, words: &[(&str, Value)]) -> Value {
    match template {
        Value::String(text) => fill_text(text, words),
        Value::Array(values) => values.iter().map(|value| fill(value, words)).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().map(|(key, value)| (key.clone(), fill(value, words))).collect())
        }
        other => other.clone(),
    }
}

/// From left to right, so that what was put in is not looked at again.
fn fill_text(text: &str, words: &[(&str, Value)]) -> Value {
    let lone = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    if let Some((_, value)) = words.iter().find(|(word, _)| Some(*word) == lone) {
        return value.clone();
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        let (before, behind) = rest.split_at(at);
        filled.push_str(before);
        let met = words.iter().find_map(|(word, value)| {
            let behind = behind.strip_prefix('{')?.strip_prefix(word)?.strip_prefix('}')?;
            Some((value, behind))
        });
        rest = match met {
            Some((Value::String(text), behind)) => {
                filled.push_str(text);
                behind
            }
            Some((value, behind)) => {
                filled.push_str(&value.to_string());
                behind
            }
            None => {
                filled.push('{');
                &behind[1..]
            }
        };
    }
    filled.push_str(rest);
    Value::String(filled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_replaced_once_and_everything_else_stays() {
        let words = [("index", json!(3)), ("line", json!("{index}"))];
        for (template, filled) in [
            (json!("{index}"), json!(3)),
            (json!("{line}"), json!("{index}")),
            (json!("n{index}{index}"), json!("n33")),
            (json!("<{line}>"), json!("<{index}>")),
            (json!("{other} {index"), json!("{other} {index")),
            (json!("{{index}}"), json!("{3}")),
            (json!({"{index}": [null, true, 1.5, "é{index}"]}), json!({"{index}": [null, true, 1.5, "é3"]})),
        ] {
            assert_eq!(fill(&template, &words), filled, "{template}");
        }
    }
}
