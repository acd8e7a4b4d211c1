//! A text with `{name}` placeholders that a job's arguments fill. It makes one element of an argv, or the text of
//! standard input; it never goes through a shell, so that no argument can become a command.

use std::fmt;

use serde_json::Value;

use crate::error::Error;

/// A parsed text: what stands between the placeholders, and their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Name(String),
}

impl Template {
    /// Parses a text: `{name}` is a placeholder, `{{` and `}}` are braces.
    ///
    /// # Errors
    ///
    /// When a brace has no partner, or a name is empty or holds anything but letters, digits, `_` and `-`.
    pub fn parse(source: &str) -> Result<Self, Error> {
        let refuse = |why: String| {
            Error::usage(
                format!("the text {:?}", taskwright_core::name::shown(source)),
                why,
                "write {name} for an argument of the job, and {{ or }} for a brace",
            )
        };
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = source.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '{' | '}' if chars.next_if(|(_, next)| *next == c).is_some() => text.push(c),
                '}' => return Err(refuse("it has a `}` without a `{`".to_owned())),
                '{' => {
                    let name = source[at + 1..].split('}').next().unwrap_or_default();
                    if at + 1 + name.len() == source.len() {
                        return Err(refuse("it has a `{` without a `}`".to_owned()));
                    }
                    if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'))
                    {
                        return Err(refuse(format!("`{{{name}}}` does not name an argument")));
                    }
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Name(name.to_owned()));
                    while chars.next().is_some_and(|(_, c)| c != '}') {}
                }
                c => text.push(c),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Ok(Self { source: source.to_owned(), parts })
    }

    /// The names of its placeholders.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Name(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// Puts a job's arguments in. Text goes in as it is, everything else as JSON.
    ///
    /// # Errors
    ///
    /// When the arguments lack a name, or have `null` for it.
    pub fn fill(&self, args: &Value) -> Result<String, Error> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Name(name) => match args.get(name) {
                    Some(Value::String(text)) => filled.push_str(text),
                    None | Some(Value::Null) => return Err(missing(name, args)),
                    Some(value) => filled.push_str(&value.to_string()),
                },
            }
        }
        Ok(filled)
    }
}

fn missing(name: &str, args: &Value) -> Error {
    let why = match args {
        Value::Object(fields) if fields.is_empty() => "they are empty".to_owned(),
        Value::Object(fields) => {
            let names = fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("they have {}", taskwright_core::name::clipped(&names, 200))
        }
        _ => "they are not a JSON object".to_owned(),
    };
    let fix = format!(r#"enqueue the job with --args '{{"{name}": ...}}'"#);
    Error::usage(format!("the arguments lack `{name}`, which the task needs"), why, fix)
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl serde::Serialize for Template {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(template: &str, args: &str) -> String {
        Template::parse(template).unwrap().fill(&serde_json::from_str(args).unwrap()).unwrap()
    }

    #[test]
    fn placeholders_are_filled_verbatim() {
        assert_eq!(
            fill("--user={user}", r#"{"user": "$(rm -rf /); `x`\n{y}"}"#),
            "--user=$(rm -rf /); `x`\n{y}"
        );
        assert_eq!(fill("{n}-{yes}-{list}", r#"{"n": 7, "yes": true, "list": [1]}"#), "7-true-[1]");
        assert_eq!(fill("", "{}"), "");
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(fill(r#"{{"a": {a}}}"#, r#"{"a": 1}"#), r#"{"a": 1}"#);
    }

    #[test]
    fn broken_placeholders_are_refused() {
        for text in ["{", "}", "{a", "a}", "{}", "{a b}", "{{a}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_missing_argument_is_named() {
        let template = Template::parse("{user}").unwrap();
        for args in ["{}", "null", r#"{"user": null}"#, r#"{"usr": 1}"#] {
            let error = template.fill(&serde_json::from_str(args).unwrap()).unwrap_err();
            assert_eq!(error.reports()[0].what, "the arguments lack `user`, which the task needs");
        }
    }
}
