//! Event sources.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use taskwright_core::{Namespace, SourceName, Timestamp};
use taskwright_store::{SourceKey, SourceNote, SourcePlace, SourceView};

/// An event source that somebody has run, and how it is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Source")]
pub(crate) struct Listed {
    /// Its name.
    name: SourceName,
    /// The namespace of its events.
    namespace: Namespace,
    /// The machine that looks; `null` when all see the same, and for who may not `system.view`.
    host: Option<String>,
    /// Where it looks: a path, or the name of a channel; `null` for who may not `system.view`.
    path: Option<String>,
    /// When somebody last opened or noted it.
    seen_at: Timestamp,
    /// `watch` when the system tells of changes, `poll` when it is only looked, `listen` for a channel; `null` until somebody says.
    mode: Option<String>,
    /// When the last whole scan ended.
    scanned_at: Option<Timestamp>,
    /// How many files that scan found.
    files: Option<u64>,
    /// What is wrong now.
    error: Option<String>,
}

impl From<SourceView> for Listed {
    fn from(view: SourceView) -> Self {
        let SourceView { place: SourcePlace { namespace, name, host, path }, noted_at, note, .. } = view;
        let (mode, scanned_at, files, error) = match note {
            Some(note) => (Some(note.mode), note.scanned_at, Some(note.files), note.error),
            None => (None, None, None, None),
        };
        let (host, path) = (given(host), given(path));
        Self { name, namespace, host, path, seen_at: noted_at, mode, scanned_at, files, error }
    }
}

/// What is told; whoever is not told a path has it as an empty one, as [`into_view`](Listed::into_view) writes it.
fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl Listed {
    /// The same without what is of the machine alone.
    pub(crate) fn at_a_distance(self) -> Self {
        let error = self.error.map(|_| "something is wrong: who may `system.view` is told what".to_owned());
        Self { host: None, path: None, error, ..self }
    }

    /// A source as a store has it, but for its key, which is nobody's concern over HTTP.
    pub(crate) fn into_view(self) -> SourceView {
        let Self { name, namespace, host, path, seen_at, mode, scanned_at, files, error } = self;
        SourceView {
            key: SourceKey(0),
            place: SourcePlace {
                namespace,
                name,
                host: host.unwrap_or_default(),
                path: path.unwrap_or_default(),
            },
            noted_at: seen_at,
            note: mode.map(|mode| SourceNote { mode, scanned_at, files: files.unwrap_or_default(), error }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command line shows what a server told as a view, and writes it as JSON again.
    #[test]
    fn a_path_that_is_not_told_is_null_wherever_it_is_shown() {
        let place = SourcePlace {
            namespace: Namespace::default(),
            name: "inbox".parse().unwrap(),
            host: "blue-3".to_owned(),
            path: "/srv/inbox".to_owned(),
        };
        let view = SourceView { key: SourceKey(1), place, noted_at: Timestamp::from_micros(1), note: None };
        let seen = |listed: Listed| {
            let listed = serde_json::to_value(Listed::from(listed.into_view())).unwrap();
            (listed["host"].clone(), listed["path"].clone())
        };
        let listed = Listed::from(view);
        assert_eq!(seen(listed.clone()), ("blue-3".into(), "/srv/inbox".into()));
        assert_eq!(seen(listed.at_a_distance()), (serde_json::Value::Null, serde_json::Value::Null));
    }
}
