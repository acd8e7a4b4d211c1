//! Event sources of the config file, made ready to run.

use std::path::Path;

use taskwright::source::{EventSource, Files, Origin};
use taskwright_core::source::Wanted;
use taskwright_core::{FileChange, SourceName};

use crate::config::Config;
use crate::config::source::{ChannelConfig, FilesConfig, SourceOf};
use crate::error::{Error, in_words};
use crate::store_url::StoreUrl;

/// What the daemons run.
///
/// # Errors
///
/// When a channel is in no PostgreSQL database, or the current directory is not known.
pub(crate) fn sources(config: &Config, store: &StoreUrl) -> Result<Vec<EventSource>, Error> {
    let base = config.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let source = |(name, source): (&String, &crate::config::SourceConfig)| {
        let of = match &source.of {
            SourceOf::Files(of) => files(base, of)?,
            SourceOf::Channel(of) => channel(name, of, store)?,
        };
        let (namespace, topic) = (source.namespace.clone(), source.topic.clone());
        Ok(EventSource { name: SourceName::new(name)?, namespace, topic, of })
    };
    config.sources.iter().map(source).collect()
}

/// A path that is not absolute is meant from where the config file lies.
fn files(base: &Path, files: &FilesConfig) -> Result<Origin, Error> {
    let path = std::path::absolute(base.join(&files.path)).map_err(|error| {
        Error::operational(
            "finding the directory of a source",
            in_words(&error),
            "start it in a directory that exists",
        )
    })?;
    let wants = |change| files.on.contains(&change);
    Ok(Origin::Files(Files {
        path,
        recursive: files.recursive,
        patterns: files.glob.clone(),
        wanted: Wanted { created: wants(FileChange::Created), changed: wants(FileChange::Changed) },
        debounce: files.debounce,
        rescan: files.rescan,
        shared: files.shared,
    }))
}

fn channel(name: &str, channel: &ChannelConfig, store: &StoreUrl) -> Result<Origin, Error> {
    match channel.url.as_ref().unwrap_or(store) {
        #[cfg(feature = "postgres")]
        StoreUrl::Postgres(url) => {
            let settings = Box::new(url.settings().clone());
            Ok(Origin::Channel(taskwright::source::Channel { channel: channel.channel.clone(), settings }))
        }
        _ => Err(Error::usage(
            format!("the source {name}"),
            "a channel is in a PostgreSQL database, and the store is none",
            "add the database: url = \"postgres://HOST/DATABASE\"",
        )),
    }
}
