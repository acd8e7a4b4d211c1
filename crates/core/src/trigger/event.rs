//! Triggers fired by events: which topics, and which of their payloads.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Number, Value};

use crate::error::Error;
use crate::limit::{CONDITIONS_MAX, NAME_BYTES_MAX};
use crate::name::Topic;

/// Fires when an event arrives whose topic and payload match.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnEvent {
    /// Which topics.
    pub topic: TopicPattern,
    /// Which payloads; all of them unless said.
    #[serde(default, skip_serializing_if = "EventFilter::is_empty")]
    pub filter: EventFilter,
    /// Whether an event is merged with those before it that have the same key, as long as their job waits.
    #[serde(default, skip_serializing_if = "is_false")]
    pub coalesce: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Topics: a name whose parts, between dots, may be `*` for any one part; a last part `**` stands for one or more.
///
/// # Example
///
/// ```
/// use taskwright_core::trigger::TopicPattern;
///
/// let pattern: TopicPattern = "order.*".parse()?;
/// assert!(pattern.matches(&"order.created".parse()?));
/// assert!(!pattern.matches(&"order.item.added".parse()?));
/// # Ok::<(), taskwright_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPattern(Arc<str>);

/// Conditions on a payload, all of which have to hold.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Vec<Condition>", into = "Vec<Condition>")]
pub struct EventFilter(Vec<Condition>);

/// A condition on one field of a payload.
///
/// In JSON the comparison is a key beside the path: `{"path": "total", "gt": 100}`; the keys are `eq`, `in`, `exists`,
/// `lt`, `le`, `gt`, `ge`.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct Condition {
    /// Which field.
    pub path: PayloadPath,
    /// What has to hold for it.
    pub is: Comparison,
}

/// What has to hold for a field.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// It is there and has this value; numbers are equal by value, `1` and `1.0` alike.
    Equals(Value),
    /// It is there and has one of these values.
    OneOf(Vec<Value>),
    /// It is there, `null` included (true), or it is not (false).
    Exists(bool),
    /// It is a number below this one.
    Less(Number),
    /// It is a number up to this one.
    AtMost(Number),
    /// It is a number above this one.
    Greater(Number),
    /// It is a number from this one on.
    AtLeast(Number),
}

/// The way to a field of a JSON value: keys and, in arrays, indices from 0, between dots: `order.items.0.sku`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadPath(Arc<str>);

impl OnEvent {
    /// Whether an event fires the trigger.
    pub fn matches(&self, topic: &Topic, payload: &Value) -> bool {
        self.topic.matches(topic) && self.filter.matches(payload)
    }
}

impl TopicPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// When a part is empty, `**` is not the last part, a star is only a part of a part, or the rest is no topic.
    pub fn new(text: &str) -> Result<Self, Error> {
        let refuse = |at: usize, why: &str| {
            Error::invalid(
                format!("the topic pattern {:?}", crate::name::shown(text)),
                why.to_owned(),
                "write a topic such as order.created, with * for one part or ** for all that follow",
            )
            .at_column(at + 1)
        };
        if text.len() > NAME_BYTES_MAX {
            return Err(refuse(NAME_BYTES_MAX, &format!("it is longer than {NAME_BYTES_MAX} bytes")));
        }
        let mut at = 0;
        for part in text.split('.') {
            let is_last = at + part.len() == text.len();
            match part {
                "" => return Err(refuse(at, "a part is empty")),
                "**" if !is_last => return Err(refuse(at, "** is not the last part")),
                "*" | "**" => {}
                _ if part.contains('*') => return Err(refuse(at, "a star does not stand for a whole part")),
                _ => drop(Topic::new(part).map_err(|error| refuse(at, error.why()))?),
            }
            at += part.len() + 1;
        }
        Ok(Self(text.into()))
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one topic, without stars.
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether a topic matches.
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut parts = topic.as_str().split('.');
        for wanted in self.0.split('.') {
            match (wanted, parts.next()) {
                ("**", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(part)) if wanted == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }
}

impl EventFilter {
    /// All of these have to hold; none is no condition.
    ///
    /// # Errors
    ///
    /// When there are more than [`CONDITIONS_MAX`].
    pub fn new(conditions: Vec<Condition>) -> Result<Self, Error> {
        if conditions.len() <= CONDITIONS_MAX {
            return Ok(Self(conditions));
        }
        Err(Error::too_large(
            "the event filter",
            format!("it has {} conditions, {CONDITIONS_MAX} are allowed", conditions.len()),
            "emit what belongs together under a topic of its own",
        ))
    }

    /// Whether there is no condition.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The conditions.
    pub fn conditions(&self) -> &[Condition] {
        &self.0
    }

    /// Whether a payload meets every condition.
    pub fn matches(&self, payload: &Value) -> bool {
        self.0.iter().all(|condition| condition.matches(payload))
    }
}

impl Condition {
    fn matches(&self, payload: &Value) -> bool {
        let found = self.path.find(payload);
        let ordering = |number| match found {
            Some(Value::Number(value)) => compared(value, number),
            _ => None,
        };
        match &self.is {
            Comparison::Equals(value) => found.is_some_and(|found| equal(found, value)),
            Comparison::OneOf(values) => {
                found.is_some_and(|found| values.iter().any(|value| equal(found, value)))
            }
            Comparison::Exists(wanted) => found.is_some() == *wanted,
            Comparison::Less(number) => ordering(number).is_some_and(Ordering::is_lt),
            Comparison::AtMost(number) => ordering(number).is_some_and(Ordering::is_le),
            Comparison::Greater(number) => ordering(number).is_some_and(Ordering::is_gt),
            Comparison::AtLeast(number) => ordering(number).is_some_and(Ordering::is_ge),
        }
    }
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compared(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// Whole numbers exactly, others as `f64`.
fn compared(a: &Number, b: &Number) -> Option<Ordering> {
    let whole = |number: &Number| number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

impl PayloadPath {
    /// Reads a path.
    ///
    /// # Errors
    ///
    /// When it or a part of it is empty, it is longer than 128 bytes, or holds a control character or bracket.
    pub fn new(text: &str) -> Result<Self, Error> {
        let why = if text.len() > NAME_BYTES_MAX {
            "it is longer than 128 bytes"
        } else if text.split('.').any(str::is_empty) {
            "a part of it is empty"
        } else if text.chars().any(|c| c.is_control() || matches!(c, '{' | '}')) {
            "it holds a control character or a bracket"
        } else {
            return Ok(Self(text.into()));
        };
        Err(Error::invalid(
            format!("the payload path {:?}", crate::name::shown(text)),
            why,
            "write keys with dots between them, as in order.total or items.0.sku",
        ))
    }

    /// The path as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The field of a value; `None` when it has none there.
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        self.0.split('.').try_fold(value, |value, key| match value {
            Value::Object(fields) => fields.get(key),
            Value::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        })
    }
}

macro_rules! text_form {
    ($type:ident) => {
        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_form!(TopicPattern);
text_form!(PayloadPath);

impl TryFrom<Vec<Condition>> for EventFilter {
    type Error = Error;

    fn try_from(conditions: Vec<Condition>) -> Result<Self, Error> {
        Self::new(conditions)
    }
}

impl From<EventFilter> for Vec<Condition> {
    fn from(filter: EventFilter) -> Self {
        filter.0
    }
}

#[derive(Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Form {
    path: String,
    #[serde(deserialize_with = "even_null", skip_serializing_if = "Option::is_none")]
    eq: Option<Value>,
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    one_of: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exists: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lt: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    le: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gt: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ge: Option<Number>,
}

/// `"eq": null` is a comparison with `null`, not one that is left out.
fn even_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    <Value as serde::Deserialize>::deserialize(deserializer).map(Some)
}

impl TryFrom<Form> for Condition {
    type Error = Error;

    fn try_from(form: Form) -> Result<Self, Error> {
        let path = PayloadPath::new(&form.path)?;
        let given = [
            form.eq.map(Comparison::Equals),
            form.one_of.map(Comparison::OneOf),
            form.exists.map(Comparison::Exists),
            form.lt.map(Comparison::Less),
            form.le.map(Comparison::AtMost),
            form.gt.map(Comparison::Greater),
            form.ge.map(Comparison::AtLeast),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(is), None) => Ok(Self { path, is }),
            _ => Err(Error::invalid(
                format!("the condition on {:?}", path.as_str()),
                "it does not have exactly one comparison",
                "give one of eq, in, exists, lt, le, gt, ge; write two conditions for a range",
            )),
        }
    }
}

impl From<Condition> for Form {
    fn from(condition: Condition) -> Self {
        let mut form = Self { path: condition.path.as_str().to_owned(), ..Self::default() };
        match condition.is {
            Comparison::Equals(value) => form.eq = Some(value),
            Comparison::OneOf(values) => form.one_of = Some(values),
            Comparison::Exists(wanted) => form.exists = Some(wanted),
            Comparison::Less(number) => form.lt = Some(number),
            Comparison::AtMost(number) => form.le = Some(number),
            Comparison::Greater(number) => form.gt = Some(number),
            Comparison::AtLeast(number) => form.ge = Some(number),
        }
        form
    }
}

/// The text form: `total > 100`, `country in ["DE", "AT"]`, `vip exists`. [`Trigger::read`](super::Trigger::read)
/// reads it.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.is {
            Comparison::Equals(value) => write!(f, "{path} = {value}"),
            Comparison::OneOf(values) => write!(f, "{path} in {}", Value::Array(values.clone())),
            Comparison::Exists(true) => write!(f, "{path} exists"),
            Comparison::Exists(false) => write!(f, "{path} missing"),
            Comparison::Less(number) => write!(f, "{path} < {number}"),
            Comparison::AtMost(number) => write!(f, "{path} <= {number}"),
            Comparison::Greater(number) => write!(f, "{path} > {number}"),
            Comparison::AtLeast(number) => write!(f, "{path} >= {number}"),
        }
    }
}

impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, condition) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " and " })?;
            condition.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(condition: &str, payload: &str) -> bool {
        let condition: Condition = serde_json::from_str(condition).unwrap();
        condition.matches(&serde_json::from_str(payload).unwrap())
    }

    #[test]
    fn a_topic_pattern_matches_by_whole_parts() {
        for (pattern, topic, expected) in [
            ("order.created", "order.created", true),
            ("order.created", "order", false),
            ("order", "order.created", false),
            ("order.*", "order.created", true),
            ("order.*", "order.item.added", false),
            ("order.**", "order.item.added", true),
            ("order.**", "order", false),
            ("*.created", "order.created", true),
            ("**", "anything.at.all", true),
        ] {
            let pattern = TopicPattern::new(pattern).unwrap();
            assert_eq!(pattern.matches(&Topic::new(topic).unwrap()), expected, "{pattern} {topic}");
        }
        for text in ["", ".", "a..b", "a.**.b", "a*", "a b", "***"] {
            assert!(TopicPattern::new(text).unwrap_err().is_invalid(), "{text:?}");
        }
    }

    #[test]
    fn conditions_hold_for_what_is_there() {
        assert!(matches(r#"{"path": "a.b", "eq": 1}"#, r#"{"a": {"b": 1.0}}"#));
        assert!(matches(r#"{"path": "a.0", "eq": [{"x": 1}]}"#, r#"{"a": [[{"x": 1}]]}"#));
        assert!(!matches(r#"{"path": "a", "eq": "1"}"#, r#"{"a": 1}"#));
        assert!(matches(r#"{"path": "a", "in": ["x", null]}"#, r#"{"a": null}"#));
        assert!(!matches(r#"{"path": "a", "in": ["x", null]}"#, "{}"));
        assert!(matches(r#"{"path": "a", "eq": null}"#, r#"{"a": null}"#));
        assert!(matches(r#"{"path": "a", "exists": true}"#, r#"{"a": null}"#));
        assert!(matches(r#"{"path": "a", "exists": false}"#, "[]"));
    }

    #[test]
    fn numbers_compare_by_value_and_nothing_else_does() {
        for (condition, value, expected) in [
            ("gt", "101", true),
            ("gt", "100", false),
            ("ge", "100.0", true),
            ("lt", "99.5", true),
            ("le", "100", true),
            ("lt", "18446744073709551615", false),
            ("gt", "\"200\"", false),
            ("gt", "null", false),
        ] {
            let condition = format!(r#"{{"path": "n", "{condition}": 100}}"#);
            assert_eq!(matches(&condition, &format!(r#"{{"n": {value}}}"#)), expected, "{condition} {value}");
        }
    }

    #[test]
    fn a_condition_has_exactly_one_comparison() {
        for json in [
            r#"{"path": "a"}"#,
            r#"{"path": "a", "gt": 1, "lt": 5}"#,
            r#"{"path": "a", "like": 1}"#,
            r#"{"eq": 1}"#,
        ] {
            assert!(serde_json::from_str::<Condition>(json).is_err(), "{json}");
        }
    }
}
