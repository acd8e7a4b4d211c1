//! The arguments of the built-in task `exec`, which runs a command: argv verbatim, no shell.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use taskwright_core::Args;

use crate::error::Error;

/// The name of the task.
pub const KIND: &str = taskwright_core::authority::COMMAND_KIND;

/// What a job of the task says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "expected an object with a `command`")]
pub struct ExecArgs {
    /// The program and its arguments. Numbers and the like are taken as their text, and `null` as an empty one, since
    /// that is what placeholders of a schedule may become.
    #[serde(deserialize_with = "texts")]
    pub command: Vec<String>,
    /// Environment variables that it gets besides the allowed ones.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Where it runs; `None` is where the worker runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// What it reads from standard input; `None` is nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}

fn texts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let text = |value| match value {
        Value::String(text) => Ok(text),
        Value::Null => Ok(String::new()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Array(_) | Value::Object(_) => {
            Err(serde::de::Error::custom("`command` has a list or an object in it"))
        }
    };
    Vec::<Value>::deserialize(deserializer)?.into_iter().map(text).collect()
}

impl ExecArgs {
    /// Reads a job's arguments.
    ///
    /// # Errors
    ///
    /// When they have another form, or name no command.
    pub fn read(args: &Args) -> Result<Self, Error> {
        if args.as_str() == "null" {
            // No arguments at all: what is missing is the command.
            Self::default().check()?;
        }
        let read: Self = serde_json::from_slice(args.as_bytes()).map_err(|error| {
            let text = error.to_string();
            let why = if text.contains("expected a sequence") {
                "`command` must be a list of texts: there is no shell that would split one text".to_owned()
            } else {
                format!("they do not have its form: {text}")
            };
            let fix = r#"write them like {"command": ["convert", "in.png", "out.jpg"]}; env, cwd and stdin may follow"#;
            Error::usage("the arguments of `exec`", why, fix)
        })?;
        read.check()?;
        Ok(read)
    }

    /// Checks that there is a command, and nothing that no process can be given.
    ///
    /// # Errors
    ///
    /// When there is none, or a NUL character is somewhere, or a variable has no proper name.
    pub fn check(&self) -> Result<(), Error> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(Error::usage(
                "the command of `exec`",
                "it is missing",
                r#"write {"command": ["CMD", "ARG"]}, or after two dashes: taskwright enqueue exec -- CMD ARG..."#,
            ));
        }
        let texts = self.command.iter().chain(self.env.values()).chain(&self.cwd);
        if texts.into_iter().any(|text| text.contains('\0')) {
            return Err(Error::usage(
                "the command of `exec`",
                "a NUL character is in it, which no process can be given",
                "pass such data by a file or by standard input",
            ));
        }
        self.env.keys().try_for_each(|name| crate::config::task::variable(name).map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<ExecArgs, Error> {
        ExecArgs::read(&Args::from_json(json).unwrap())
    }

    #[test]
    fn a_command_is_read_verbatim() {
        let args = read(r#"{"command": ["sh", "-c", "echo $HOME; `x`"], "env": {"A": "1"}}"#).unwrap();
        assert_eq!(args.command[2], "echo $HOME; `x`");
        assert_eq!(args.env["A"], "1");
    }

    #[test]
    fn what_a_placeholder_became_is_taken_as_text() {
        let args = read(r#"{"command": ["echo", null, 7, 1.5, true]}"#).unwrap();
        assert_eq!(args.command, ["echo", "", "7", "1.5", "true"]);
    }

    #[test]
    fn what_cannot_be_run_is_refused() {
        for json in [
            "null",
            "{}",
            r#"{"command": []}"#,
            r#"{"command": [""]}"#,
            r#"{"command": "ls"}"#,
            r#"{"command": ["ls", ["-l"]]}"#,
            r#"{"command": ["ls"], "shell": true}"#,
            r#"{"command": ["ls"], "env": {"A=B": "1"}}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
