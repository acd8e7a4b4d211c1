//! Who registered a schedule.

use std::fmt;

use crate::authority::Authority;

/// Who registered a schedule, and so who may remove it when it is no longer wanted.
///
/// It prints as `code`, `cli`, `config FILE` or `principal NAME`; in JSON it is `{"from": "config", "file": "/etc/taskwright.toml"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// A program, with the client.
    #[default]
    Code,
    /// Somebody at the command line.
    Cli,
    /// A config file.
    Config {
        /// Its whole path. Another file does not remove what this one brought.
        file: String,
    },
    /// A principal, through a server. Whenever the schedule is to fire it is asked again whether that one may have it so.
    Principal {
        /// Which.
        by: Authority,
    },
}

impl Origin {
    /// By whose rights the schedule fires; `None` for those of whoever runs Taskwright.
    pub fn authority(&self) -> Option<&Authority> {
        match self {
            Self::Principal { by } => Some(by),
            Self::Code | Self::Cli | Self::Config { .. } => None,
        }
    }

    pub(super) fn is_code(&self) -> bool {
        *self == Self::Code
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code => f.pad("code"),
            Self::Cli => f.pad("cli"),
            Self::Config { file } => write!(f, "config {file}"),
            Self::Principal { by } => write!(f, "principal {by}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Schedule, Trigger};

    #[test]
    fn an_origin_survives_its_json_and_a_definition_without_one_is_of_a_program() {
        let schedule = Schedule::builder("a".parse().unwrap(), "b".parse().unwrap())
            .trigger(Trigger::read("every", "1m", None).unwrap());
        for (origin, json) in [
            (Origin::Code, None),
            (Origin::Cli, Some(r#""origin":{"from":"cli"}"#)),
            (
                Origin::Config { file: "/t.toml".into() },
                Some(r#""origin":{"from":"config","file":"/t.toml"}"#),
            ),
            (
                Origin::Principal { by: Authority::User("alice".parse().unwrap()) },
                Some(r#""origin":{"from":"principal","by":{"user":"alice"}}"#),
            ),
        ] {
            let schedule = schedule.clone().origin(origin).build().unwrap();
            let text = serde_json::to_string(&schedule).unwrap();
            assert_eq!(json.is_some(), text.contains("origin"), "{text}");
            assert!(text.contains(json.unwrap_or_default()), "{text}");
            assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
        }
    }
}
