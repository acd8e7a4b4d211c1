//! S22. Fault 71: whatever an argument looks like, the program gets exactly that, and nothing in it is executed.

use taskwright::process::Command;

use crate::support::{finish, sh};

/// 200 strings that a shell, `getopt`, `printf` or a careless join would change.
fn nasty_strings() -> Vec<String> {
    let hooks = [
        "$(echo pwned)",
        "`echo pwned`",
        ";echo pwned",
        "&& echo pwned",
        "|echo pwned",
        "\necho pwned\n",
        "$HOME",
        "${IFS}",
        "*",
        "?",
        "[a-z]",
        "~",
        "~root",
        "!!",
        "\\",
        "\\n",
        "\\\\",
        "'",
        "\"",
        "'\"'",
        "",
        " ",
        "  two  ",
        "\t",
        "\r",
        "\r\n",
        "-",
        "--",
        "-n",
        "-e",
        "-rf",
        "--help",
        "%s%n",
        "%",
        "{a,b}",
        "<(echo)",
        ">/dev/null",
        "2>&1",
        "#",
        "a#b",
        "=",
        "a=b",
        "\u{7f}",
        "\u{1b}[31m",
        "é",
        "日本語",
        "\u{202e}abc",
        "🦀",
        "e\u{301}",
        "\u{feff}",
    ];
    let wrap =
        |hook: &str| [hook.to_owned(), format!("a{hook}b"), format!("'{hook}'"), format!("\"{hook}\"")];
    hooks.iter().flat_map(|hook| wrap(hook)).collect()
}

#[tokio::test]
async fn two_hundred_nasty_strings_arrive_as_they_were_given() {
    let strings = nasty_strings();
    assert_eq!(strings.len(), 200);
    let print = Command::new("printf").args(["%s\\0"]).args(strings.clone());
    let finished = finish(&print).await;
    let expected: String = strings.iter().map(|string| format!("{string}\0")).collect();
    assert_eq!(finished.stdout_text(), expected);
}

#[tokio::test]
async fn bytes_that_are_no_text_arrive_too() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = vec![b'a', 0xff, 0x80, b'\n', 0xfe];
    let print = Command::new("printf").args(["%s"]).args([std::ffi::OsString::from_vec(bytes.clone())]);
    assert_eq!(finish(&print).await.stdout, bytes);
}

#[tokio::test]
async fn the_program_sees_its_own_name_as_it_was_asked_for() {
    let finished = finish(&sh("cat /proc/$$/cmdline")).await;
    assert_eq!(finished.stdout_text(), "sh\0-c\0cat /proc/$$/cmdline\0");
}
