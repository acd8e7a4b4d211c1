//! What clap says about a command that makes no sense, in the form of every other error.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::{Error, Exit};
use crate::output::Output;

/// Prints help or the version, or says what is wrong with the command.
pub(super) fn explain(error: &clap::Error, output: &Output) -> Exit {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let text = error.render();
        let text = if output.is_seen() { text.ansi().to_string() } else { text.to_string() };
        let done = output.line(text.trim_end()).and_then(|()| output.flush());
        return done.map_or_else(|error| error.exit(), |()| Exit::Ok);
    }
    output.error(&told(error));
    Exit::Usage
}

fn told(error: &clap::Error) -> Error {
    let cause = error.source();
    let flag = text(error, ContextKind::InvalidArg);
    if let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<Error>()) {
        return cause.clone().about(&flag);
    }
    if let Some(cause) = cause.and_then(|cause| cause.downcast_ref::<taskwright_core::Error>()) {
        return Error::from(cause.clone()).about(&flag);
    }
    let value = text(error, ContextKind::InvalidValue);
    let help = help_of(error);
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
            let why = match text(error, ContextKind::ValidSubcommand).as_str() {
                "" => "it lacks a verb".to_owned(),
                verbs => format!("it lacks one of {verbs}"),
            };
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
        _ => text,
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

/// Which help to read: that of the command whose usage clap shows.
fn help_of(error: &clap::Error) -> String {
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => String::new(),
    };
    let words = usage.trim_start_matches("Usage:").split_whitespace();
    let path: Vec<&str> =
        words.take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-')).collect();
    let path = if path.first() == Some(&"taskwright") { path.join(" ") } else { "taskwright".to_owned() };
    format!("see `{path} --help`")
}
