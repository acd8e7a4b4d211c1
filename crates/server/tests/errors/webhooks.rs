//! Cases about webhooks.

use super::cases::Case;

/// All that need nothing but a directory.
pub(crate) fn cases() -> Vec<Case> {
    let add = |name, args: &str| Case::new(name, 2, format!("webhooks add {args}"));
    let with = |name, exit, args: &str| {
        Case::new(name, exit, args).after("webhooks add billing https://example.org/hook")
    };
    vec![
        add("webhook with a URL of another protocol", "a ftp://example.org/"),
        add("webhook with a password in its URL", "a https://me:hunter2@example.org/"),
        add("webhook at an address that is not public", "a http://169.254.169.254/latest"),
        add("webhook at an address in brackets", "a http://[::1]:9000/hook"),
        add("webhook with a bad topic", "a https://example.org/ --topic order..paid"),
        add("webhook with too many requests", "a https://example.org/ --in-flight 17"),
        add("webhook with an unknown order", "a https://example.org/ --order strict"),
        add("webhook with a long time limit", "a https://example.org/ --timeout 1m"),
        add("webhook with a bad name", "a/b? https://example.org/"),
        add("webhook with a bad secret", "a https://example.org/ --secret-file -").input("hunter2hunter2"),
        with("webhook that is there already", 1, "webhooks add billing https://example.org/"),
        with("misspelt webhook", 1, "webhooks show biling"),
        with("unknown webhook, disabled", 1, "webhooks disable nobody"),
        with("webhook disabled in two ways", 2, "webhooks disable billing --park --drop"),
        with("redelivery of nothing", 2, "webhooks redeliver billing"),
        with(
            "redelivery of an unknown event",
            1,
            "webhooks redeliver billing 01890000-0000-7000-8000-000000000000",
        ),
        Case::new("webhook of the config file without a URL", 2, "config check").config("[webhooks.a]\n"),
        Case::new("webhook of the config file at an address that is not public", 2, "config check")
            .config("[webhooks.a]\nurl = \"http://10.0.0.8/hook\"\n"),
        Case::new("webhook of the config file with a bad secret", 2, "config check")
            .config("[webhooks.a]\nurl = \"https://example.org\"\nsecret = \"whsec_hunter2\"\n"),
    ]
}
