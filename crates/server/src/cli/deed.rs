//! What a command does, for the audit: found in how it was called, so that no verb can forget it.

use clap::ArgMatches;
use taskwright_core::audit::Behalf;
use taskwright_core::{Actor, Namespace, Principal, Timestamp};

/// Verbs that run the system, measure it or look at it: what they write is nobody's deed.
const NOBODYS: [&str; 11] = [
    "up",
    "serve",
    "worker",
    "bench",
    "flood",
    "migrate",
    "doctor",
    "config",
    "completions",
    "stats",
    "whoami",
];
/// Nouns of which a verb may be about any namespace, when none is named.
const ANYWHERE: [&str; 5] = ["jobs", "workers", "users", "audit", "gc"];

/// A noun and a verb, and what they are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deed {
    action: String,
    object: String,
    actor: Option<Actor>,
    is_anywhere: bool,
}

impl Deed {
    /// What was called; `None` for what is nobody's deed.
    pub(super) fn of(command: &clap::Command, matches: &ArgMatches) -> Option<Self> {
        let (noun, mut matches) = matches.subcommand()?;
        if NOBODYS.contains(&noun) {
            return None;
        }
        // Files of millions of jobs go in by a way that has no room for entries, and are told of once they are in.
        if noun == "enqueue" && matches.get_raw("from_file").is_some() {
            return None;
        }
        let mut command = command.find_subcommand(noun)?;
        let mut action = noun.to_owned();
        while let Some((verb, of_verb)) = matches.subcommand() {
            action = format!("{action}.{verb}");
            (command, matches) = (command.find_subcommand(verb)?, of_verb);
        }
        // Only the first of what has no flag: what comes with a flag, and what comes later, may be a payload, or a secret.
        let object = command.get_positionals().next().and_then(|first| {
            let values = matches.try_get_raw(first.get_id().as_str()).ok()??;
            Some(values.map(|value| value.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "))
        });
        let actor = matches.try_get_one::<Actor>("actor").ok().flatten().cloned();
        let action = if noun == "enqueue" { "jobs.enqueue".to_owned() } else { action };
        Some(Self {
            action,
            object: object.unwrap_or_default(),
            actor,
            is_anywhere: ANYWHERE.contains(&noun),
        })
    }

    /// On whose behalf it is done: that of the user of this machine, or of whom they name.
    pub(super) fn behalf(&self, now: Timestamp, namespace: Option<&Namespace>) -> Behalf {
        let principal = Principal::local(super::context::actor(self.actor.as_ref()));
        let mut behalf = Behalf::of(&principal, now, &self.action, &self.object);
        behalf.namespace = match namespace {
            None if self.is_anywhere => None,
            named => Some(named.cloned().unwrap_or_default()),
        };
        behalf
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deed(words: &str) -> Option<Deed> {
        let mut command = crate::cli::command();
        command.build();
        let words = std::iter::once("taskwright").chain(words.split(' '));
        let matches = command.clone().try_get_matches_from(words).unwrap();
        Deed::of(&command, &matches)
    }

    #[test]
    fn a_deed_is_a_noun_and_a_verb_and_what_they_are_about() {
        let told = |words| deed(words).map(|deed| (deed.action, deed.object)).unwrap();
        let pair = |action: &str, object: &str| (action.to_owned(), object.to_owned());
        assert_eq!(told("queues pause mail"), pair("queues.pause", "mail"));
        assert_eq!(told("--json schedules remove a b"), pair("schedules.remove", "a b"));
        assert_eq!(told("jobs cancel --kind x --yes"), pair("jobs.cancel", ""));
        assert!(deed("up").is_none() && deed("worker").is_none() && deed("doctor").is_none());
        assert!(deed("enqueue --from-file jobs.ndjson").is_none());
        let by = deed("jobs cancel --kind x --yes --actor alice").unwrap();
        assert_eq!(by.actor.unwrap().as_str(), "alice");
    }

    #[test]
    fn payloads_and_secrets_are_no_part_of_it() {
        for words in [
            "enqueue exec -- sh -c SECRET",
            "enqueue mail --args SECRET",
            "events emit order.paid --payload SECRET",
            "jobs cancel --kind x --reason SECRET --yes",
            "webhooks add billing https://example.org --secret-file SECRET",
        ] {
            let told = deed(words).unwrap();
            assert!(!format!("{told:?}").contains("SECRET"), "{told:?}");
        }
    }
}
