//! Text for people: moments, durations and numbers in short form, and foreign text made harmless.

use std::time::Duration;

use taskwright_core::Timestamp;
pub(crate) use taskwright_core::name::without_secrets;

/// A duration, rounded to its largest sensible unit: `240 ms`, `12 s`, `3 min`, `5 h`, `9 d`.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.is_zero() => "0 s".to_owned(),
        0 => format!("{} ms", duration.as_millis().max(1)),
        1..120 => format!("{seconds} s"),
        120..7_170 => format!("{} min", (seconds + 30) / 60),
        7_170..171_000 => format!("{} h", (seconds + 1_800) / 3_600),
        _ => format!("{} d", (seconds + 43_200) / 86_400),
    }
}

/// A duration with three digits or so, for measured times: `4 us`, `12.3 ms`, `1.42 s`, `3 min`.
pub(crate) fn measured(duration: Duration) -> String {
    let us = duration.as_micros();
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let us_rounded = us as f64;
    match us {
        0..1_000 => format!("{us} us"),
        1_000..100_000 => format!("{:.1} ms", us_rounded / 1e3),
        100_000..1_000_000 => format!("{} ms", us / 1_000),
        1_000_000..60_000_000 => format!("{:.2} s", us_rounded / 1e6),
        _ => self::duration(duration),
    }
}

/// A moment as seen from now: `3 s ago`, `in 12 s`, `now`.
pub(crate) fn relative(moment: Timestamp, now: Timestamp) -> String {
    let (ahead, behind) = (moment.since(now), now.since(moment));
    if ahead.is_zero() && behind < Duration::from_secs(1) {
        "now".to_owned()
    } else if ahead.is_zero() {
        format!("{} ago", duration(behind))
    } else {
        format!("in {}", duration(ahead))
    }
}

/// A moment in full and as seen from now: `2026-11-24 18:30:00 UTC (3 s ago)`.
pub(crate) fn full(moment: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", clock(moment), relative(moment, now))
}

/// A moment to the second: `2026-11-24 18:30:00 UTC`.
pub(crate) fn clock(moment: Timestamp) -> String {
    match moment.to_string().split_once('T') {
        Some((day, time)) => format!("{day} {} UTC", time.get(..8).unwrap_or(time)),
        None => moment.to_string(),
    }
}

/// A count of bytes: `512 B`, `3.2 KiB`, `1.0 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1 job`, `3 jobs`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// Foreign text on one line, with nothing in it that a terminal would obey.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.trim_end().chars() {
        match c {
            '\n' | '\r' | '\t' => line.push(' '),
            c => push_harmless(&mut line, c),
        }
    }
    line
}

/// Foreign text that keeps its lines, with nothing in it that a terminal would obey.
pub(crate) fn lines(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => safe.push(c),
            c => push_harmless(&mut safe, c),
        }
    }
    safe
}

/// Control characters become `^[` and the like; characters that turn the direction of text become their number.
fn push_harmless(text: &mut String, c: char) {
    match c {
        '\u{0}'..='\u{1f}' => {
            text.push('^');
            text.push(char::from(c as u8 + b'@'));
        }
        '\u{7f}' => text.push_str("^?"),
        '\u{80}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            text.extend(c.escape_unicode());
        }
        c => text.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_people_say_them() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let at = |seconds| now.plus(Duration::from_secs(seconds));
        assert_eq!(relative(now, now), "now");
        assert_eq!(relative(at(12), now), "in 12 s");
        assert_eq!(relative(now, at(200)), "3 min ago");
        assert_eq!(full(now, at(3)), "2023-11-14 22:13:20 UTC (3 s ago)");
        assert_eq!(duration(Duration::from_secs(200_000)), "2 d");
        assert_eq!(relative(at(7_199), now), "in 2 h");
        assert_eq!(measured(Duration::from_micros(12_345)), "12.3 ms");
    }

    /// S11.
    #[test]
    fn foreign_text_cannot_command_the_terminal() {
        assert_eq!(one_line("a\u{1b}[31m\nb\u{202e}c\u{7}"), "a^[[31m b\\u{202e}c^G");
        assert_eq!(lines("a\n\u{9b}31m"), "a\n\\u{9b}31m");
    }

    #[test]
    fn passwords_in_urls_are_not_repeated() {
        for (text, shown) in [
            ("url = \"postgres://me:s@c@host/db\"", "url = \"postgres://...@host/db\""),
            ("postgres://host/db?password=secret&pool=3", "postgres://host/db?password=...&pool=3"),
            ("url = 'x://me:secret@host/db?password=secret'", "url = 'x://...@host/db?password=...'"),
            ("sqlite:jobs@home.db", "sqlite:jobs@home.db"),
            ("secret = \"hunter2\"", "secret = \"...\""),
            ("it is whsec_aGk= or not", "it is whsec_... or not"),
            ("name@host and then://nothing", "name@host and then://nothing"),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn bytes_are_told_in_their_unit() {
        assert_eq!((bytes(512).as_str(), bytes(1 << 20).as_str()), ("512 B", "1.0 MiB"));
    }
}
