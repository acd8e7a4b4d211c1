//! `[sources.NAME]`: what makes events by itself.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use taskwright::source::{DEBOUNCE_DEFAULT, Pattern, RESCAN_DEFAULT, RESCAN_SHARED_DEFAULT};
use taskwright_core::limit::{RESCAN_MIN, SOURCE_SPAN_MAX};
use taskwright_core::{FileChange, Namespace, SourceName, Topic};

use super::reader::Section;
use crate::error::Error;
use crate::store_url::StoreUrl;

/// An event source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceConfig {
    /// The tenant of its events.
    pub namespace: Namespace,
    /// The topic of its events; `None` for the usual ones.
    pub topic: Option<Topic>,
    /// Where its events come from.
    #[serde(flatten)]
    pub of: SourceOf,
}

/// Where the events of a source come from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum SourceOf {
    /// `path`: files of a directory.
    Files(FilesConfig),
    /// `channel`: a `NOTIFY` channel of PostgreSQL.
    Channel(ChannelConfig),
}

/// Files of a directory.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilesConfig {
    /// The directory; relative to the config file's.
    pub path: PathBuf,
    /// Whether directories inside it count.
    pub recursive: bool,
    /// Which files count; none for all that do not begin with a dot.
    #[serde(serialize_with = "patterns_as_text")]
    pub glob: Vec<Pattern>,
    /// What is told of them.
    #[serde(serialize_with = "changes_as_text")]
    pub on: Vec<FileChange>,
    /// How long a file must stand still before it counts.
    #[serde(serialize_with = "duration_as_text")]
    pub debounce: Duration,
    /// The time between two scans.
    #[serde(serialize_with = "duration_as_text")]
    pub rescan: Duration,
    /// Whether all machines see the same directory.
    pub shared: bool,
}

/// A `NOTIFY` channel of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChannelConfig {
    /// Its name.
    pub channel: String,
    /// The database; `None` for that of the store.
    pub url: Option<StoreUrl>,
}

impl fmt::Display for SourceConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = |usual: String| self.topic.as_ref().map_or(usual, Topic::to_string);
        match &self.of {
            SourceOf::Files(files) => {
                let usual = files.on.iter().map(|change| change.topic()).collect::<Vec<_>>().join(", ");
                let globs = files.glob.iter().map(|glob| format!(" {glob}")).collect::<String>();
                write!(f, "{}{globs} -> {}", files.path.display(), topic(usual))
            }
            SourceOf::Channel(channel) => {
                let name = &channel.channel;
                write!(f, "channel {name} -> {}", topic(format!("notify.{name}")))
            }
        }
    }
}

/// What a source of files may say, and one of a channel may not; and the other way round.
const OF_FILES: [&str; 6] = ["recursive", "glob", "on", "debounce", "rescan", "shared"];
const OF_CHANNELS: [&str; 1] = ["url"];

/// Bytes of the name of a channel: 63, as PostgreSQL has it. Longer ones would be cut.
const CHANNEL_BYTES_MAX: usize = 63;
/// Bytes of the path of a directory: 1,024.
const PATH_BYTES_MAX: usize = 1_024;

/// Reads one section; `None` when it does not say where its events come from.
pub(super) fn read(name: &str, section: &Section<'_>) -> Option<SourceConfig> {
    if let Err(error) = SourceName::new(name) {
        section.tell_here(format!("the source {name:?}"), error.why(), error.fix());
    }
    let namespace = section.parsed("namespace", "a name", |text| Ok(text.parse()?)).unwrap_or_default();
    let topic = section.parsed("topic", "a topic like \"order.created\"", |text| Ok(Topic::new(text)?));
    let path = section.parsed("path", "the path of a directory", directory);
    let channel = section.parsed("channel", "the name of a channel", channel_name);
    let (files, channels) = (
        files(section, path.unwrap_or_default()),
        section.parsed("url", "a URL like \"postgres://host/database\"", StoreUrl::parse),
    );
    let (has_path, has_channel) = (section.has("path"), section.has("channel"));
    let stray = match (has_path, has_channel) {
        (true, false) => OF_CHANNELS.iter().find(|key| section.has(key)),
        (false, true) => OF_FILES.iter().find(|key| section.has(key)),
        _ => None,
    };
    if has_path == has_channel {
        let why = "it must say where its events come from: either `path` or `channel`";
        section.tell_here(
            format!("[sources.{name}]"),
            why,
            "write `path = \"inbox\"`, or `channel = \"orders\"`",
        );
    } else if let Some(key) = stray {
        let (what, fix) = (format!("`{key}` in [sources.{name}]"), "remove it");
        section.tell_here(
            what,
            if has_path { "it is only of use with `channel`" } else { "it is only of use with `path`" },
            fix,
        );
    }
    if let Some(channel) = &channel
        && topic.is_none()
        && Topic::new(&format!("notify.{channel}")).is_err()
    {
        let why = "its topic would be `notify.` and the name of the channel, which is none";
        section.tell_here(
            format!("[sources.{name}]"),
            why,
            "name the topic of its events: `topic = \"orders\"`",
        );
    }
    section.finish();
    let of = match channel {
        Some(channel) if !has_path => SourceOf::Channel(ChannelConfig { channel, url: channels }),
        _ if has_path => SourceOf::Files(files),
        _ => return None,
    };
    Some(SourceConfig { namespace, topic, of })
}

fn files(section: &Section<'_>, path: PathBuf) -> FilesConfig {
    let shared = section.flag("shared").unwrap_or(false);
    FilesConfig {
        path,
        recursive: section.flag("recursive").unwrap_or(false),
        glob: section
            .text_or_list("glob", "a glob like \"*.csv\", or a list of them", |text| Ok(Pattern::new(text)?))
            .unwrap_or_default(),
        on: section
            .text_or_list("on", "a list of \"created\" and \"changed\"", change)
            .unwrap_or_else(|| vec![FileChange::Created]),
        debounce: section.span("debounce", Duration::ZERO, SOURCE_SPAN_MAX).unwrap_or(DEBOUNCE_DEFAULT),
        rescan: section.span("rescan", RESCAN_MIN, SOURCE_SPAN_MAX).unwrap_or(match shared {
            true => RESCAN_SHARED_DEFAULT,
            false => RESCAN_DEFAULT,
        }),
        shared,
    }
}

pub(super) fn directory(text: &str) -> Result<PathBuf, Error> {
    let refuse = |why: &str| Err(Error::usage("the path", why, "name a directory, for instance `inbox`"));
    match text {
        "" => refuse("it is empty"),
        _ if text.contains('\0') => refuse("it has a NUL byte in it"),
        _ if text.len() > PATH_BYTES_MAX => refuse("it is longer than 1,024 bytes"),
        _ => Ok(text.into()),
    }
}

fn channel_name(text: &str) -> Result<String, Error> {
    if text.is_empty() || text.len() > CHANNEL_BYTES_MAX || text.contains('\0') {
        let why = format!("a channel has a name of 1 to {CHANNEL_BYTES_MAX} bytes");
        return Err(Error::usage("the channel", why, "name it as in `NOTIFY orders`"));
    }
    Ok(text.to_owned())
}

fn change(text: &str) -> Result<FileChange, Error> {
    let all = [FileChange::Created, FileChange::Changed];
    all.into_iter().find(|change| change.as_str() == text).ok_or_else(|| {
        let why = "a file is `created` or `changed`";
        Error::usage("the change", why, "write on = [\"created\"], or on = [\"created\", \"changed\"]")
    })
}

pub(super) fn patterns_as_text<S: serde::Serializer>(
    patterns: &[Pattern],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(patterns.iter().map(Pattern::as_str))
}

fn changes_as_text<S: serde::Serializer>(changes: &[FileChange], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(changes.iter().map(|change| change.as_str()))
}

fn duration_as_text<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&crate::text::duration(*duration))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<SourceConfig, Vec<String>> {
        let parsed = Config::parse("taskwright.toml", &format!("[sources.a]\n{text}"));
        let problems =
            |error: Error| error.reports().iter().map(|one| format!("{}: {}", one.what, one.why)).collect();
        parsed.map(|config| config.sources["a"].clone()).map_err(problems)
    }

    #[test]
    fn a_source_of_files_has_its_defaults() {
        let SourceOf::Files(files) = parse("path = \"inbox\"").unwrap().of else { panic!("files") };
        assert_eq!(
            (files.path, files.on, files.recursive),
            ("inbox".into(), vec![FileChange::Created], false)
        );
        assert_eq!((files.debounce, files.rescan), (Duration::from_millis(500), Duration::from_secs(60)));
        let SourceOf::Files(files) = parse("path = \"inbox\"\nshared = true").unwrap().of else {
            panic!("files")
        };
        assert_eq!(files.rescan, Duration::from_secs(5));
    }

    #[test]
    fn everything_can_be_said() {
        let text = "path = \"in\"\nrecursive = true\nglob = [\"*.csv\", \"a/**/*\"]\non = [\"changed\", \"created\"]\n\
                    debounce = \"0s\"\nrescan = 30\nshared = false\ntopic = \"in.file\"\nnamespace = \"shop\"";
        let source = parse(text).unwrap();
        assert_eq!((source.topic.unwrap().as_str(), source.namespace.as_str()), ("in.file", "shop"));
        let SourceOf::Files(files) = source.of else { panic!("files") };
        assert_eq!((files.glob.len(), files.on.len(), files.rescan), (2, 2, Duration::from_secs(30)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (text, expected) in [
            ("", "either `path` or `channel`"),
            ("path = \"a\"\nchannel = \"b\"", "either `path` or `channel`"),
            ("path = \"a\"\nurl = \"postgres://h/d\"", "only of use with `channel`"),
            ("channel = \"a\"\nglob = \"*\"", "only of use with `path`"),
            ("channel = \"a b\"", "which is none"),
            ("path = \"a\"\non = [\"deleted\"]", "`created` or `changed`"),
            ("path = \"a\"\nglob = \"a[\"", "column 2"),
            ("path = \"a\"\nrescan = \"10ms\"", "from 1 s to"),
            ("path = \"a\"\nrecursive = 1", "true or false"),
            ("pth = \"a\"", "known here"),
        ] {
            let problems = parse(text).unwrap_err().join("\n");
            assert!(problems.contains(expected), "{text}: {problems}");
        }
    }
}
