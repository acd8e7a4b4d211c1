//! What clap says about a command that makes no sense, in the form of every other error.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::{Error, Exit};
use crate::output::Output;

/// Prints help or the version, or says what is wrong with the command.
pub(super) fn explain(error: &clap::Error, args: &[OsString], output: &Output) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        if error.kind() == ErrorKind::DisplayVersion && output.is_json() {
            let told = serde_json::json!({ "name": "taskwright", "version": env!("CARGO_PKG_VERSION") });
            let done = output.json(&told).and_then(|()| output.flush());
            return done.map_or_else(|error| error.exit(), |()| Exit::Ok);
        }
        let text = error.render();
        let text = if output.is_seen() { text.ansi().to_string() } else { text.to_string() };
        let done = output.line(text.trim_end()).and_then(|()| output.flush());
        return done.map_or_else(|error| error.exit(), |()| Exit::Ok);
    }
    output.error(&told(error, &Place::of(args)));
    Exit::Usage
}

fn told(error: &clap::Error, place: &Place) -> Error {
    let cause = error.source();
    let flag = text(error, ContextKind::InvalidArg);
    let about = |cause: Error| match flag.split(' ').next() {
        Some(name) if name.starts_with('-') => cause.about(name),
        // The value of a positional argument speaks for itself.
        _ => cause,
    };
    if let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<Error>()) {
        return about(cause.clone());
    }
    if let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<taskwright_core::Error>()) {
        return about(Error::from(cause.clone()));
    }
    let value = text(error, ContextKind::InvalidValue);
    let help = format!("see `{} --help`", place.path);
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let why = if error.get(ContextKind::SuggestedSubcommand).is_some() {
                "it does not stand where it can be taken"
            } else {
                "this command does not take it"
            };
            let meant = suggested(error, ContextKind::SuggestedArg)
                .or_else(|| suggested(error, ContextKind::SuggestedSubcommand));
            Error::usage(format!("the argument `{flag}`"), why, meant.unwrap_or(help))
        }
        ErrorKind::InvalidSubcommand => {
            let word = text(error, ContextKind::InvalidSubcommand);
            let meant = suggested(error, ContextKind::SuggestedSubcommand);
            Error::usage(format!("the command `{word}`"), "there is no such command", meant.unwrap_or(help))
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            Error::usage(format!("the option `{flag}`"), "its value is missing", help)
        }
        ErrorKind::InvalidValue => {
            let why = format!("it must be one of {}", text(error, ContextKind::ValidValue));
            let meant = suggested(error, ContextKind::SuggestedValue);
            Error::usage(format!("the value `{value}` of `{flag}`"), why, meant.unwrap_or(help))
        }
        ErrorKind::ValueValidation => {
            let why = cause.map_or("it has the wrong form".to_owned(), number_in_words);
            Error::usage(format!("the value `{value}` of `{flag}`"), why, help)
        }
        ErrorKind::MissingRequiredArgument => {
            Error::usage("the command is not complete", format!("it lacks {flag}"), help)
        }
        ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let why = format!("it lacks one of {}", place.verbs.join(", "));
            Error::usage("the command is not complete", why, help)
        }
        ErrorKind::ArgumentConflict => match text(error, ContextKind::PriorArg) {
            other if other == flag => {
                Error::usage(format!("the option `{flag}`"), "it was given twice", "give it once")
            }
            other => {
                let what = format!("`{flag}` together with {other}");
                Error::usage(what, "they exclude each other", "leave one of them out")
            }
        },
        ErrorKind::TooManyValues | ErrorKind::TooFewValues | ErrorKind::WrongNumberOfValues => {
            Error::usage(format!("the option `{flag}`"), "it has the wrong number of values", help)
        }
        ErrorKind::NoEquals => Error::usage(format!("the option `{flag}`"), "it lacks `=`", help),
        ErrorKind::InvalidUtf8 => {
            Error::usage("the command", "a part of it is not UTF-8", "write it in UTF-8")
        }
        _ => Error::usage("the command", error.kind().to_string(), help),
    }
}

/// What the standard library says about a bad number, as a sentence.
fn number_in_words(cause: &(dyn std::error::Error + 'static)) -> String {
    let text = cause.to_string();
    match text.as_str() {
        "invalid digit found in string" => "it is not a whole number".to_owned(),
        "cannot parse integer from empty string" => "it is empty".to_owned(),
        _ => match text.split_once(" is not in ").and_then(|(_, bounds)| bounds.split_once("..=")) {
            Some((least, most)) => format!("it must be from {least} to {most}"),
            None => text,
        },
    }
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn suggested(error: &clap::Error, kind: ContextKind) -> Option<String> {
    let texts = match error.get(kind)? {
        ContextValue::String(text) => vec![format!("`{text}`")],
        ContextValue::Strings(texts) => texts.iter().map(|text| format!("`{text}`")).collect(),
        _ => return None,
    };
    (!texts.is_empty()).then(|| format!("write {}, if that is what you meant", texts.join(" or ")))
}

/// How far the words lead into the tree of commands.
struct Place {
    path: String,
    verbs: Vec<String>,
}

impl Place {
    fn of(args: &[OsString]) -> Self {
        let mut command = super::command();
        let mut path = vec![command.get_name().to_owned()];
        for word in args.iter().skip(1).filter_map(|word| word.to_str()).take_while(|word| *word != "--") {
            if let Some(next) = command.find_subcommand(word) {
                command = next.clone();
                path.push(word.to_owned());
            }
        }
        let verbs = command.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        Self { path: path.join(" "), verbs }
    }
}
