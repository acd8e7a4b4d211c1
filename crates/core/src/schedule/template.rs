//! What the jobs of a schedule are given: JSON with places to fill in.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::Error;
use crate::job::Args;
use crate::name::{ScheduleName, Topic, TriggerId};
use crate::time::Timestamp;
use crate::trigger::PayloadPath;

/// The arguments of a schedule's jobs: a JSON value whose strings may hold placeholders.
///
/// | placeholder | becomes |
/// |---|---|
/// | `{due}` | the due time, RFC 3339 in UTC |
/// | `{previous_due}` | the due time of the firing before it; `null` the first time |
/// | `{now}` | the moment of the firing |
/// | `{schedule}`, `{trigger}` | their names |
/// | `{event.topic}` | what the event is about |
/// | `{event.payload}`, `{event.payload.a.b}` | what the event carries, all or one field; `null` when it lacks it, or no event fired |
///
/// A string that is one placeholder and nothing else becomes the value itself, so that numbers and objects stay what
/// they are. Within a longer string a value is put in as text: a string as it is, `null` as nothing, anything else as
/// its JSON. `{{` and `}}` stand for the brackets themselves. Keys are not filled in.
///
/// A template without placeholders is kept, and handed on, as the exact bytes that were given.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgsTemplate {
    source: Args,
    /// The parsed value; `None` when there is nothing to fill in.
    tree: Option<Value>,
    needs_event: bool,
}

/// What a template is filled with.
#[derive(Clone, Copy, Debug)]
pub struct FiringValues<'a> {
    /// The due time.
    pub due: Timestamp,
    /// The due time of the firing before it.
    pub previous_due: Option<Timestamp>,
    /// The moment of the firing.
    pub now: Timestamp,
    /// The schedule.
    pub schedule: &'a ScheduleName,
    /// The trigger; `None` for a firing by hand.
    pub trigger: Option<&'a TriggerId>,
    /// The event that fired it.
    pub event: Option<EventValues<'a>>,
}

/// The event that fired a schedule.
#[derive(Clone, Copy, Debug)]
pub struct EventValues<'a> {
    /// What it is about.
    pub topic: &'a Topic,
    /// What it carries.
    pub payload: &'a Value,
}

#[derive(Clone, Debug)]
enum Placeholder {
    Due,
    PreviousDue,
    Now,
    Schedule,
    Trigger,
    EventTopic,
    EventPayload(Option<PayloadPath>),
}

/// One stretch of a string.
enum Piece<'a> {
    Text(&'a str),
    Place(Placeholder),
}

impl ArgsTemplate {
    /// Reads a template from JSON text.
    ///
    /// # Errors
    ///
    /// When it is not JSON that a job could be given ([`Args::from_json`]), a bracket is left open, or there is no such
    /// placeholder; the message names the text and the byte in it.
    pub fn from_json(json: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let source = Args::from_json(json)?;
        let tree: Value = source.parse()?;
        let mut found = Found::default();
        found.look_into(&tree)?;
        let Found { special, needs_event } = found;
        Ok(Self { source, tree: special.then_some(tree), needs_event })
    }

    /// The same from a value.
    ///
    /// # Errors
    ///
    /// As for [`from_json`](Self::from_json).
    pub fn of(value: &Value) -> Result<Self, Error> {
        Self::from_json(value.to_string())
    }

    /// The template as JSON text.
    pub fn as_str(&self) -> &str {
        self.source.as_str()
    }

    /// Whether it uses what only an event brings.
    pub fn needs_event(&self) -> bool {
        self.needs_event
    }

    /// The arguments of one job.
    ///
    /// # Errors
    ///
    /// When what comes out is larger than [arguments may be](Args::from_json): the values of an event may be long.
    pub fn render(&self, values: &FiringValues<'_>) -> Result<Args, Error> {
        match &self.tree {
            None => Ok(self.source.clone()),
            Some(tree) => Args::of(&fill(tree, values)),
        }
    }
}

#[derive(Default)]
struct Found {
    /// Whether any string has a bracket that means something.
    special: bool,
    needs_event: bool,
}

impl Found {
    fn look_into(&mut self, value: &Value) -> Result<(), Error> {
        match value {
            Value::String(text) => {
                let pieces = pieces(text)?;
                self.special |= !matches!(pieces[..], [] | [Piece::Text(_)])
                    || text.contains("}}")
                    || text.contains("{{");
                self.needs_event |= pieces.iter().any(|piece| {
                    matches!(piece, Piece::Place(Placeholder::EventTopic | Placeholder::EventPayload(_)))
                });
                Ok(())
            }
            Value::Array(items) => items.iter().try_for_each(|item| self.look_into(item)),
            Value::Object(fields) => fields.values().try_for_each(|field| self.look_into(field)),
            _ => Ok(()),
        }
    }
}

fn fill(value: &Value, values: &FiringValues<'_>) -> Value {
    match value {
        // Every string was cut into pieces once when the template was read.
        Value::String(text) => {
            pieces(text).map_or_else(|_| value.clone(), |pieces| fill_text(&pieces, values))
        }
        Value::Array(items) => items.iter().map(|item| fill(item, values)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(key, field)| (key.clone(), fill(field, values))).collect())
        }
        other => other.clone(),
    }
}

fn fill_text(pieces: &[Piece<'_>], values: &FiringValues<'_>) -> Value {
    if let [Piece::Place(place)] = pieces {
        return place.value(values);
    }
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Place(place) => match place.value(values) {
                Value::String(part) => text.push_str(&part),
                Value::Null => {}
                other => text.push_str(&other.to_string()),
            },
        }
    }
    Value::String(text)
}

impl Placeholder {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "due" => Self::Due,
            "previous_due" => Self::PreviousDue,
            "now" => Self::Now,
            "schedule" => Self::Schedule,
            "trigger" => Self::Trigger,
            "event.topic" => Self::EventTopic,
            "event.payload" => Self::EventPayload(None),
            _ => Self::EventPayload(Some(PayloadPath::new(name.strip_prefix("event.payload.")?).ok()?)),
        })
    }

    fn value(&self, values: &FiringValues<'_>) -> Value {
        let moment = |at: Timestamp| Value::String(at.to_string());
        match self {
            Self::Due => moment(values.due),
            Self::PreviousDue => values.previous_due.map_or(Value::Null, moment),
            Self::Now => moment(values.now),
            Self::Schedule => Value::String(values.schedule.to_string()),
            Self::Trigger => values.trigger.map_or(Value::Null, |id| Value::String(id.to_string())),
            Self::EventTopic => {
                values.event.map_or(Value::Null, |event| Value::String(event.topic.to_string()))
            }
            Self::EventPayload(path) => {
                let payload = values.event.map(|event| event.payload);
                let found = match path {
                    None => payload,
                    Some(path) => payload.and_then(|payload| path.find(payload)),
                };
                found.cloned().unwrap_or(Value::Null)
            }
        }
    }
}

/// Cuts a string into text and placeholders.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Error> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let bracket = rest.find(['{', '}']).unwrap_or(rest.len());
        if bracket > 0 {
            pieces.push(Piece::Text(&rest[..bracket]));
            at += bracket;
        } else if rest.starts_with("{{") || rest.starts_with("}}") {
            pieces.push(Piece::Text(&rest[..1]));
            at += 2;
        } else if rest.starts_with('}') {
            pieces.push(Piece::Text(&rest[..1]));
            at += 1;
        } else {
            let end =
                rest.find('}').ok_or_else(|| refused(text, at, "a bracket is opened and not closed"))?;
            let name = &rest[1..end];
            let place = Placeholder::named(name).ok_or_else(|| {
                refused(text, at, &format!("there is no placeholder {{{}}}", crate::name::shown(name)))
            })?;
            pieces.push(Piece::Place(place));
            at += end + 1;
        }
    }
    Ok(pieces)
}

fn refused(text: &str, at: usize, why: &str) -> Error {
    Error::invalid(
        format!("the arguments' text {:?}", crate::name::shown(text)),
        format!("{why} (at byte {at})"),
        "use {due}, {previous_due}, {now}, {schedule}, {trigger}, {event.topic}, {event.payload} or {event.payload.FIELD}; \
         write {{ for a bracket itself",
    )
}

/// `null`: a task without arguments.
impl Default for ArgsTemplate {
    fn default() -> Self {
        Self { source: Args::default(), tree: None, needs_event: false }
    }
}

impl serde::Serialize for ArgsTemplate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawValue::from_string(self.as_str().to_owned()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> serde::Deserialize<'de> for ArgsTemplate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(raw.get()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<'a>(name: &'a ScheduleName, event: Option<EventValues<'a>>) -> FiringValues<'a> {
        FiringValues {
            due: Timestamp::from_micros(60_000_000),
            previous_due: None,
            now: Timestamp::from_micros(61_000_000),
            schedule: name,
            trigger: None,
            event,
        }
    }

    fn rendered(template: &str, payload: &str) -> String {
        let name = ScheduleName::new("nightly").unwrap();
        let topic = Topic::new("order.created").unwrap();
        let payload: Value = serde_json::from_str(payload).unwrap();
        let event = EventValues { topic: &topic, payload: &payload };
        let template = ArgsTemplate::from_json(template).unwrap();
        template.render(&values(&name, Some(event))).unwrap().as_str().to_owned()
    }

    #[test]
    fn a_placeholder_alone_becomes_the_value_itself() {
        assert_eq!(rendered(r#""{event.payload.n}""#, r#"{"n": 7}"#), "7");
        assert_eq!(rendered(r#"["{event.payload}"]"#, r#"{"a": [1]}"#), r#"[{"a":[1]}]"#);
        assert_eq!(rendered(r#""{due}""#, "1"), r#""1970-01-01T00:01:00.000000Z""#);
        assert_eq!(rendered(r#""{previous_due}""#, "1"), "null");
        assert_eq!(rendered(r#""{event.payload.none}""#, "{}"), "null");
        assert_eq!(rendered(r#""{event.payload.list.1.x}""#, r#"{"list": [0, {"x": true}]}"#), "true");
    }

    #[test]
    fn a_placeholder_within_text_is_put_in_as_text() {
        assert_eq!(
            rendered(r#""{schedule}/{event.payload.a}/{previous_due}.""#, r#"{"a": "x"}"#),
            r#""nightly/x/.""#
        );
        assert_eq!(
            rendered(r#""n={event.payload.n}, {event.topic}""#, r#"{"n": 1.5}"#),
            r#""n=1.5, order.created""#
        );
    }

    #[test]
    fn what_an_event_carries_is_never_read_as_a_placeholder() {
        assert_eq!(rendered(r#""<{event.payload.a}>""#, r#"{"a": "{due}"}"#), r#""<{due}>""#);
    }

    #[test]
    fn doubled_brackets_stand_for_themselves() {
        assert_eq!(rendered(r#""{{due}} {{}} a}b""#, "1"), r#""{due} {} a}b""#);
    }

    #[test]
    fn a_template_without_placeholders_is_handed_on_to_the_byte() {
        let json = r#"{"b": 1.0,  "a": 12345678901234567890123}"#;
        assert_eq!(rendered(json, "1"), json);
    }

    #[test]
    fn an_unknown_placeholder_is_refused_with_its_place() {
        let error = ArgsTemplate::from_json(r#"{"a": ["day {duo}"]}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"the arguments' text "day {duo}": there is no placeholder {duo} (at byte 4)"#
        );
        for json in [
            r#""{""#,
            r#""{due""#,
            r#""{}""#,
            r#""{event}""#,
            r#""{event.payload.}""#,
            r#""{event.payload.a..b}""#,
        ] {
            assert!(ArgsTemplate::from_json(json).unwrap_err().is_invalid(), "{json}");
        }
    }
}
