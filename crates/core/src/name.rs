//! Names and texts: what is accepted as a kind, a queue, a namespace, an owner, an actor.
//!
//! Parse, don't validate: a value of these types is right by construction, on every store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::Error;
use crate::limit::{NAME_BYTES_MAX, TEXT_BYTES_MAX};

/// The form of a machine-readable name: what the error says, and what [`check_name`] checks.
const NAME_FORM: &str = "start with a letter or digit and go on with letters, digits and . _ : / -";

/// What the name of a generator's queue begins with.
const GENERATOR_QUEUE_PREFIX: &str = "generator:";

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $noun:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the text.
            ///
            /// # Errors
            ///
            /// When the text has not the form that the type's documentation gives.
            pub fn new(text: &str) -> Result<Self, Error> {
                $check($noun, text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_type! {
    /// Names a task, for instance `email.welcome`: at most 128 bytes, a letter or digit first, then letters, digits
    /// and `. _ : / -`.
    Kind, "kind", check_name
}

text_type! {
    /// Names a step of a job, for instance `charge`: at most 128 bytes, a letter or digit first, then letters, digits and
    /// `. _ : / -`.
    StepName, "step", check_name
}

text_type! {
    /// Names the place that workers run at, for people, where that is another name than the machine's: at most 128 bytes, a letter or
    /// digit first, then letters, digits and `. _ : / -`.
    NodeName, "node", check_name
}

text_type! {
    /// Names a queue: at most 128 bytes, a letter or digit first, then letters, digits and `. _ : / -`.
    QueueName, "queue", check_name
}

text_type! {
    /// Names a tenant or product that jobs belong to: at most 128 bytes, a letter or digit first, then letters,
    /// digits and `. _ : / -`.
    Namespace, "namespace", check_name
}

text_type! {
    /// Names a schedule, for instance `reports.daily`: at most 128 bytes, a letter or digit first, then letters, digits
    /// and `. _ : / -`.
    ScheduleName, "schedule", check_name
}

text_type! {
    /// Names a trigger within its schedule, so that an edit keeps its last firing: at most 128 bytes, a letter or digit
    /// first, then letters, digits and `. _ : / -`.
    TriggerId, "trigger", check_name
}

text_type! {
    /// Names a trigger rule that a program brings itself, for instance `business-days`: at most 128 bytes, a letter or
    /// digit first, then letters, digits and `. _ : / -`.
    RuleName, "trigger rule", check_name
}

text_type! {
    /// Names an event source, for instance `inbox`: at most 128 bytes, a letter or digit first, then letters, digits
    /// and `. _ : / -`.
    SourceName, "source", check_name
}

text_type! {
    /// Names a generator, for instance `webhooks`: at most 118 bytes, a letter or digit first, then letters, digits and
    /// `. _ : / -`. Its items wait in the queue `generator:NAME`.
    GeneratorName, "generator", check_generator_name
}

text_type! {
    /// Names an endpoint of webhooks, for instance `billing`: at most 110 bytes, a letter or digit first, then letters, digits and
    /// `. _ : / -`. What delivers to it is the generator `webhook:NAME`.
    WebhookName, "webhook", check_webhook_name
}

text_type! {
    /// Names a service of a process, for instance `memory-watchdog`: at most 128 bytes, a letter or digit first, then letters,
    /// digits and `. _ : / -`.
    ServiceName, "service", check_name
}

text_type! {
    /// Names a type of bulk, for instance `count`: at most 128 bytes, a letter or digit first, then letters, digits and
    /// `. _ : / -`.
    BulkTypeName, "bulk type", check_name
}

text_type! {
    /// Names what an event is about, for instance `order.created`: at most 128 bytes, a letter or digit first, then
    /// letters, digits and `. _ : / -`.
    Topic, "topic", check_name
}

text_type! {
    /// Names a user, for instance `alice`: at most 128 bytes, a letter or digit first, then letters, digits and `. _ -`.
    UserName, "user name", check_user_name
}

text_type! {
    /// Names an API token, for instance `ci`: at most 128 bytes, a letter or digit first, then letters, digits and `. _ -`.
    TokenName, "token name", check_user_name
}

text_type! {
    /// Names an attachment, for instance `report.csv`: at most 128 bytes, a letter or digit first, then letters, digits and `. _ -`. It is
    /// the name of a file that a command finds.
    AttachmentName, "name of an attachment", check_file_name
}

text_type! {
    /// Who a job belongs to, free text: 1 to 1,024 bytes without control characters.
    Owner, "owner", check_text
}

text_type! {
    /// Who did something, free text: 1 to 1,024 bytes without control characters. `system` is Taskwright itself.
    Actor, "actor", check_text
}

impl Default for QueueName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Actor {
    /// Taskwright itself: duties, the worker loop.
    pub fn system() -> Self {
        Self("system".into())
    }
}

/// Text without what may be a password in a URL: whatever stands between `://` and the last `@` of the line, and behind
/// `password=`; and without secrets of webhooks.
pub fn without_secrets(line: &str) -> std::borrow::Cow<'_, str> {
    const BEFORE: [&str; 6] = ["password=", "secret = \"", "secret=\"", "secret = '", "secret='", "whsec_"];
    let mut shown = std::borrow::Cow::Borrowed(line);
    if let Some(start) = shown.find("://").map(|at| at + 3)
        && let Some(end) = shown.rfind('@').filter(|end| *end >= start)
    {
        shown.to_mut().replace_range(start..end, "...");
    }
    for before in BEFORE {
        let mut from = 0;
        while let Some(at) = shown[from..].find(before) {
            let start = from + at + before.len();
            let length = shown[start..].find(['&', '"', '\'', ' ']).unwrap_or(shown.len() - start);
            shown.to_mut().replace_range(start..start + length, "...");
            from = start;
        }
    }
    shown
}

/// Whether the text is a name such as that of a [`Kind`] or a [`QueueName`]. For names that stand in the source of a program, and are
/// checked when that is compiled.
pub const fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > NAME_BYTES_MAX || !bytes[0].is_ascii_alphanumeric() {
        return false;
    }
    let mut at = 1;
    while at < bytes.len() {
        if !bytes[at].is_ascii_alphanumeric() && !matches!(bytes[at], b'.' | b'_' | b':' | b'/' | b'-') {
            return false;
        }
        at += 1;
    }
    true
}

fn check_name(noun: &str, text: &str) -> Result<(), Error> {
    let why = if is_name(text) {
        return Ok(());
    } else if text.is_empty() {
        "it is empty".to_owned()
    } else if text.len() > NAME_BYTES_MAX {
        format!("it has {} bytes, {NAME_BYTES_MAX} are allowed", text.len())
    } else {
        format!("a {noun} must {NAME_FORM}")
    };
    Err(Error::invalid(
        format!("the {noun} {:?}", shown(text)),
        why,
        format!("choose a {noun} such as reports.daily"),
    ))
}

/// A name that leaves room for what comes before it in the name of the generator's queue.
fn check_generator_name(noun: &str, text: &str) -> Result<(), Error> {
    let fix = || format!("choose a shorter name: its items wait in the queue `{GENERATOR_QUEUE_PREFIX}NAME`");
    check_short_name(noun, text, NAME_BYTES_MAX - GENERATOR_QUEUE_PREFIX.len(), fix)
}

/// A name that leaves room for what comes before it in the name of its generator.
fn check_webhook_name(noun: &str, text: &str) -> Result<(), Error> {
    let most = NAME_BYTES_MAX - GENERATOR_QUEUE_PREFIX.len() - crate::webhook::GENERATOR_PREFIX.len();
    check_short_name(noun, text, most, || "choose a shorter name, such as billing".to_owned())
}

/// A name in which nothing can be read as that of another sort of principal.
fn check_user_name(noun: &str, text: &str) -> Result<(), Error> {
    check_name(noun, text)?;
    let why = if text.contains([':', '/']) {
        format!("a {noun} has no `:` and no `/`")
    } else if text == "system" {
        "that is what Taskwright itself is called".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid(
        format!("the {noun} {:?}", shown(text)),
        why,
        format!("choose a {noun} such as alice or ci"),
    ))
}

/// A name that a file can have, on its own.
fn check_file_name(noun: &str, text: &str) -> Result<(), Error> {
    check_name(noun, text)?;
    if !text.contains([':', '/']) {
        return Ok(());
    }
    Err(Error::invalid(
        format!("the {noun} {:?}", shown(text)),
        format!("a {noun} has no `:` and no `/`"),
        format!("choose a {noun} such as report.csv"),
    ))
}

fn check_short_name(noun: &str, text: &str, most: usize, fix: impl FnOnce() -> String) -> Result<(), Error> {
    check_name(noun, text)?;
    if text.len() <= most {
        return Ok(());
    }
    let why = format!("it has {} bytes, {most} are allowed", text.len());
    Err(Error::invalid(format!("the {noun} {:?}", shown(text)), why, fix()))
}

impl GeneratorName {
    /// The queue that its items wait in: `generator:NAME`.
    pub fn queue(&self) -> QueueName {
        QueueName(format!("{GENERATOR_QUEUE_PREFIX}{self}").into())
    }

    /// The generator whose items wait in a queue; `None` for a queue that is no generator's.
    pub fn of_queue(queue: &QueueName) -> Option<Self> {
        queue.as_str().strip_prefix(GENERATOR_QUEUE_PREFIX).and_then(|name| Self::new(name).ok())
    }
}

fn check_text(noun: &str, text: &str) -> Result<(), Error> {
    let why = if text.is_empty() {
        "it is empty".to_owned()
    } else if text.len() > TEXT_BYTES_MAX {
        format!("it has {} bytes, {TEXT_BYTES_MAX} are allowed", text.len())
    } else if text.chars().any(is_unprintable) {
        "it has a control or direction character".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("the {noun} {:?}", shown(text)), why, "use printable text on one line"))
}

/// Control characters, and the ones that turn the direction of the text after them: both let a name lie about itself
/// on a screen.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The start of a text that came from outside, short enough for a message.
pub fn shown(text: &str) -> &str {
    const SHOWN_BYTES_MAX: usize = 60;
    let mut end = text.len().min(SHOWN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Cuts a text that may be longer to the limit, at a character, and says so in its last words.
pub fn clipped(text: &str, bytes_max: usize) -> String {
    const MARK: &str = " [cut]";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let mut end = bytes_max.saturating_sub(MARK.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_accepted() {
        for name in ["email.welcome", "a", "9", "billing:invoice/pdf-v2_x"] {
            assert_eq!(Kind::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_could_lie_or_break_are_refused() {
        let long = "x".repeat(129);
        for name in [
            "",
            "-rf",
            "../etc",
            "a b",
            "a\nb",
            "a\0",
            "naïve",
            "<script>",
            "';DROP",
            "=cmd()",
            "\u{202e}a",
            &long,
        ] {
            assert!(Kind::new(name).unwrap_err().is_invalid(), "{name:?}");
        }
    }

    #[test]
    fn the_longest_name_of_a_generator_makes_a_queue() {
        let longest = GeneratorName::new(&"x".repeat(118)).unwrap();
        assert_eq!(QueueName::new(longest.queue().as_str()).unwrap(), longest.queue());
        assert_eq!(GeneratorName::of_queue(&longest.queue()), Some(longest));
        assert_eq!(GeneratorName::of_queue(&QueueName::default()), None);
        let error = GeneratorName::new(&"x".repeat(119)).unwrap_err();
        assert!(error.why().contains("118 are allowed"), "{error}");
        assert!(GeneratorName::new("a b").unwrap_err().is_invalid());
    }

    #[test]
    fn a_user_cannot_be_called_like_a_token_or_the_system() {
        for name in ["alice", "alice.smith-2"] {
            assert!(UserName::new(name).is_ok() && TokenName::new(name).is_ok());
        }
        for name in ["token:ci", "a/b", "system", "ci@default", "worker 1", ""] {
            assert!(UserName::new(name).unwrap_err().is_invalid(), "{name:?}");
        }
    }

    #[test]
    fn an_owner_is_free_text_without_control_characters() {
        assert!(Owner::new("Zoë <zoe@example.org>").is_ok());
        for text in ["", "a\u{1b}[31m", "a\nb", "\u{202e}evil"] {
            assert!(Owner::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        assert_eq!(clipped("äääää", 100), "äääää");
        assert_eq!(clipped(&"ä".repeat(20), 11), "ää [cut]");
    }
}
