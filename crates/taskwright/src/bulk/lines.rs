//! The type of bulk `lines`: one item of each line of a file.
//!
//! The file is read a piece at a time by whichever node asks: it has to be at the same path on each of them, and stay as it is. Its
//! size and the time of its last change are kept from the creation on, and a file that is another one makes no items.

use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::Value;
use taskwright_core::limit::ARGS_BYTES_MAX;

use super::count::item;
use super::{BulkPoll, BulkType, Made, Prepared, Refused};
use crate::env::Env;
use crate::generator::{Item, PollError};
use crate::process::words_of;

/// Bytes that one poll reads, and a line beyond.
const READ_BYTES: u64 = 8 << 20;

/// Makes one item of a kind of each line that is not empty: `{"kind": .., "path": .., "args": .., "max_attempts": ..}`. Without
/// `args` each line is JSON, and the arguments of its item; in `args` `{line}` is the text of the line and `{index}` the number
/// of the item. A line that cannot become an item, because it is no JSON, say, counts as one that failed.
pub(super) struct Lines;

/// What items are made of.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    kind: String,
    path: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    args: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    /// What the file was when the bulk was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    print: Option<Print>,
}

/// What tells a file from one that was changed.
#[derive(Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Print {
    bytes: u64,
    modified_ns: i64,
}

/// Where to go on.
#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Cursor {
    /// Bytes that were read.
    offset: u64,
    /// Lines that were read.
    line: u64,
}

impl BulkType for Lines {
    fn name(&self) -> &str {
        "lines"
    }

    async fn prepare(&self, params: Value, env: &Env) -> Result<Prepared, PollError> {
        let params: Params = serde_json::from_value(params)?;
        let words = [("index", 0.into()), ("line", "".into())];
        item(&params.kind, params.args.as_ref().unwrap_or(&Value::Null), params.max_attempts, &words)?
            .checked(env)?;
        let params = env
            .blocking(move || {
                let path = params.path.canonicalize().map_err(|error| told(&params.path, &error))?;
                let (_, print) = open(&path)?;
                Ok::<_, PollError>(Params { path, print: Some(print), ..params })
            })
            .await?;
        Ok(Prepared { params: serde_json::to_value(params)?, size: None })
    }

    async fn items(&self, poll: BulkPoll) -> Result<Made, PollError> {
        let params: Params = serde_json::from_value(poll.params)?;
        let cursor: Option<Cursor> = serde_json::from_value(poll.cursor)?;
        let (made, room) = (poll.made, poll.room);
        poll.env.blocking(move || read(&params, cursor.unwrap_or_default(), made, room)).await
    }
}

fn told(path: &std::path::Path, error: &io::Error) -> PollError {
    format!("the file {} cannot be read: {}", path.display(), words_of(error)).into()
}

fn open(path: &std::path::Path) -> Result<(File, Print), PollError> {
    let is_file = |facts: &Metadata| facts.is_file();
    // Looked at first: to open a pipe would wait for whoever writes into it.
    if !std::fs::metadata(path).as_ref().is_ok_and(is_file) && path.exists() {
        return Err(format!("{} is no file", path.display()).into());
    }
    let opened = File::open(path).and_then(|file| file.metadata().map(|facts| (file, facts)));
    let (file, facts) = opened.map_err(|error| told(path, &error))?;
    let modified_ns = facts.mtime().saturating_mul(1_000_000_000).saturating_add(facts.mtime_nsec());
    Ok((file, Print { bytes: facts.len(), modified_ns }))
}

/// Reads the next lines. It blocks.
fn read(params: &Params, mut cursor: Cursor, made: u64, room: usize) -> Result<Made, PollError> {
    let path = &params.path;
    let (mut file, print) = open(path)?;
    if params.print != Some(print) {
        return Err(format!("the file {} was changed since the bulk was created", path.display()).into());
    }
    file.seek(SeekFrom::Start(cursor.offset)).map_err(|error| told(path, &error))?;
    let mut lines = BufReader::new(file);
    let (mut items, end) = (Vec::new(), cursor.offset.saturating_add(READ_BYTES));
    let mut text = Vec::new();
    let mut refused: Option<Refused> = None;
    while items.len() < room && cursor.offset < end.min(print.bytes) {
        text.clear();
        // One byte more than a line may have, and its end.
        let most = ARGS_BYTES_MAX as u64 + 2;
        let mut bytes = io::Read::take(&mut lines, most)
            .read_until(b'\n', &mut text)
            .map_err(|error| told(path, &error))? as u64;
        let is_too_long = bytes == most && !text.ends_with(b"\n");
        if is_too_long {
            bytes += lines.skip_until(b'\n').map_err(|error| told(path, &error))? as u64;
        }
        cursor = Cursor { offset: cursor.offset + bytes, line: cursor.line + 1 };
        let made = if is_too_long {
            Err(format!("it has more than {ARGS_BYTES_MAX} bytes"))
        } else {
            item_of(params, &text, made + items.len() as u64)
        };
        match made {
            Ok(made) => items.extend(made),
            Err(why) => {
                let trouble = format!("line {} of {}: {why}", cursor.line, path.display());
                refused = Some(Refused { count: refused.map_or(0, |before| before.count) + 1, trouble });
            }
        }
    }
    let is_last = cursor.offset >= print.bytes;
    Ok(Made { items, cursor: serde_json::to_value(cursor)?, is_last, refused })
}

/// The item of a line; `None` of an empty one.
fn item_of(params: &Params, line: &[u8], index: u64) -> Result<Option<Item>, String> {
    let line = std::str::from_utf8(line).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let line = line.trim_end_matches(['\n', '\r']);
    if line.trim().is_empty() {
        return Ok(None);
    }
    let item = match &params.args {
        Some(args) => {
            item(&params.kind, args, params.max_attempts, &[("index", index.into()), ("line", line.into())])
        }
        None => {
            let value: Value =
                serde_json::from_str(line).map_err(|error| format!("it is not JSON: {error}"))?;
            item(&params.kind, &Value::Null, params.max_attempts, &[]).and_then(|item| item.args(&value))
        }
    };
    item.map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn made(
        params: &Params,
        cursor: &mut Value,
        made: u64,
        room: usize,
    ) -> Result<(Vec<String>, bool), String> {
        let at = serde_json::from_value::<Option<Cursor>>(cursor.clone()).unwrap().unwrap_or_default();
        let given = read(params, at, made, room).map_err(|error| error.to_string())?;
        *cursor = given.cursor;
        let env = Env::system();
        let args = given.items.into_iter().map(|item| item.checked(&env).unwrap().as_str().to_owned());
        Ok((args.collect(), given.is_last))
    }

    fn params(file: &tempfile::NamedTempFile, args: Option<Value>) -> Params {
        let print = Some(open(file.path()).unwrap().1);
        Params { kind: "test".to_owned(), path: file.path().to_owned(), args, max_attempts: None, print }
    }

    fn file(text: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        file
    }

    #[test]
    fn each_line_becomes_the_arguments_of_an_item_once() {
        let file = file(b"{\"a\": 1}\n\n  \n[2]\r\n\"three\"\n4");
        let (params, mut cursor) = (params(&file, None), Value::Null);
        let lines = |text: &[&str]| text.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(made(&params, &mut cursor, 0, 2), Ok((lines(&["{\"a\":1}", "[2]"]), false)));
        assert_eq!(made(&params, &mut cursor, 2, 2), Ok((lines(&["\"three\"", "4"]), true)));
    }

    #[test]
    fn an_empty_file_is_read_at_once() {
        let file = file(b"");
        assert_eq!(made(&params(&file, None), &mut Value::Null, 0, 9), Ok((Vec::new(), true)));
    }

    #[test]
    fn lines_fill_a_template() {
        let file = file("née\n{\"b\"}\n".as_bytes());
        let params = params(&file, Some(json!({"n": "{index}", "of": "<{line}>"})));
        let (args, is_last) = made(&params, &mut Value::Null, 7, 9).unwrap();
        assert_eq!(args, [r#"{"n":7,"of":"<née>"}"#, r#"{"n":8,"of":"<{\"b\"}>"}"#]);
        assert!(is_last);
    }

    #[test]
    fn a_line_that_makes_no_item_is_counted_and_told_with_its_number_and_the_others_go_on() {
        let long = [b"1\n\"".as_slice(), &vec![b'x'; ARGS_BYTES_MAX + 9], b"\"\n2\nnope"].concat();
        for (text, number, count) in [
            (b"1\nnope\n2".to_vec(), "line 2 of", 1),
            (b"1\n\n\xff\n2\n".to_vec(), "line 3 of", 1),
            (long, "line 4 of", 2),
        ] {
            let file = file(&text);
            let given = read(&params(&file, None), Cursor::default(), 0, 9).unwrap();
            let refused = given.refused.unwrap();
            assert_eq!((given.items.len(), given.is_last, refused.count), (2, true, count));
            assert!(refused.trouble.starts_with(number), "{}", refused.trouble);
        }
    }

    #[test]
    fn a_file_that_was_changed_makes_nothing() {
        let mut file = file(b"1\n2\n");
        let (params, mut cursor) = (params(&file, None), Value::Null);
        made(&params, &mut cursor, 0, 1).unwrap();
        file.write_all(b"3\n").unwrap();
        assert!(made(&params, &mut cursor, 1, 1).unwrap_err().contains("was changed"));
    }
}
