//! What a URL may say, and what is never repeated of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn parse(url: &str) -> Settings {
    Settings::parse(url).unwrap()
}

fn refusal(url: &str) -> String {
    let error = Settings::parse(url).unwrap_err();
    assert!(!error.fix().is_empty());
    format!("{error}. {}", error.fix())
}

#[test]
fn what_is_not_said_has_a_default() {
    let settings = parse("postgres://me:secret@db.example/jobs");
    assert_eq!(settings.schema(), "taskwright");
    assert_eq!(settings.connections, 4);
    assert!(!settings.pgbouncer);
    assert_eq!(settings.protection(), Protection::VerifyFull);
    assert_eq!(settings.config.get_application_name(), Some("taskwright"));
    assert_eq!(settings.config.get_connect_timeout(), Some(&CONNECT_WAIT_MAX));
    assert_eq!(settings.config.get_tcp_user_timeout(), Some(&TCP_USER_TIMEOUT));
    assert_eq!(settings.config.get_keepalives_idle(), KEEPALIVE_IDLE);
    assert_eq!(settings.config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert_eq!(settings.config.get_ssl_mode(), SslMode::Require);
}

#[test]
fn what_is_said_is_taken() {
    let settings = parse(
        "postgresql://db.example/jobs?schema=mine_2&application_name=blue&pool=100&pgbouncer=true\
         &sslmode=verify-ca&sslrootcert=%2Fetc%2Fca.pem&connect_timeout=7",
    );
    assert_eq!(settings.schema(), "mine_2");
    assert_eq!(settings.connections, 100);
    assert!(settings.pgbouncer);
    assert_eq!(settings.protection(), Protection::VerifyCa);
    assert_eq!(settings.root_certificates, Some(PathBuf::from("/etc/ca.pem")));
    assert_eq!(settings.config.get_application_name(), Some("blue"));
    assert_eq!(settings.config.get_connect_timeout(), Some(&Duration::from_secs(7)));
}

#[test]
fn only_this_machine_is_trusted_without_a_certificate() {
    for url in [
        "postgres:///db?host=/var/run/postgresql",
        "postgres://%2Frun%2Fpg/db",
        "postgres://localhost/db",
        "postgres://127.0.0.9/db",
        "postgres://[::1]/db",
        "postgres://localhost,127.0.0.1/db",
    ] {
        assert_eq!(parse(url).protection(), Protection::Prefer, "{url}");
    }
    for url in [
        "postgres://10.0.0.1/db",
        "postgres://localhost.example/db",
        "postgres://localhost,db.example/db",
        "postgres://localhost/db?hostaddr=10.0.0.1",
        "postgres://db.example/db?hostaddr=127.0.0.1",
    ] {
        assert_eq!(parse(url).protection(), Protection::VerifyFull, "{url}");
    }
}

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn a_weak_mode_to_another_machine_is_warned_of() {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        for (url, warned) in [
            ("postgres://db.example/d", 0),
            ("postgres://db.example/d?sslmode=verify-full", 0),
            ("postgres://localhost/d?sslmode=disable", 0),
            ("postgres:///d?host=/run/pg&sslmode=disable", 0),
            ("postgres://db.example/d?sslmode=disable", 1),
            ("postgres://db.example/d?sslmode=prefer", 1),
            ("postgres://db.example/d?sslmode=require", 1),
            ("postgres://db.example/d?sslmode=verify-ca", 1),
            ("postgres://localhost/d?hostaddr=10.0.0.1&sslmode=disable", 1),
        ] {
            parse(url);
            assert_eq!(warnings.0.swap(0, Ordering::Relaxed), warned, "{url}");
        }
    });
}

#[test]
fn a_root_certificate_turns_require_into_a_check() {
    assert_eq!(parse("postgres://h/d?sslmode=require").protection(), Protection::Require);
    let checked = parse("postgres://h/d?sslmode=require&sslrootcert=/ca.pem");
    assert_eq!(checked.protection(), Protection::VerifyCa);
}

#[test]
fn a_socket_has_no_tls_whatever_is_asked_for() {
    let settings = parse("postgres:///db?host=/run/pg&sslmode=verify-full");
    assert_eq!(settings.config.get_ssl_mode(), SslMode::Disable);
}

#[test]
fn a_mistake_is_named() {
    for (query, name) in [
        ("schema=Mine", "schema"),
        ("schema=1a", "schema"),
        ("schema=", "schema"),
        ("schema=a%22b", "schema"),
        ("schema=pg_mine", "schema"),
        (&format!("schema={}", "a".repeat(64)), "schema"),
        ("schema=a&schema=b", "schema"),
        ("pool=0", "pool"),
        ("pool=101", "pool"),
        ("pool=many", "pool"),
        ("pgbouncer=yes", "pgbouncer"),
        ("sslmode=allow", "sslmode"),
        ("sslcert=x", "sslcert"),
        ("connect_timeout=soon", "connect_timeout"),
    ] {
        let refusal = refusal(&format!("postgres://h/d?{query}"));
        assert!(refusal.starts_with(&format!("{name} in the URL")), "{query}: {refusal}");
    }
    assert!(refusal("postgres:///db").starts_with("host in the URL"));
    assert!(parse("postgres://h/d?schema=a").schema() == "a");
    assert_eq!(parse(&format!("postgres://h/d?schema={}", "a".repeat(63))).schema().len(), 63);
}

#[test]
fn a_secret_is_never_shown() {
    for url in [
        "postgres://u:hunter2@h/d",
        "postgres://u:hunter2@h/d?schema=mine&sslmode=require",
        "postgres://h/d?user=u&password=hunter2",
        "postgres://u:x%3Fhunter2@h/d?hostaddr=10.0.0.1",
    ] {
        let settings = parse(url);
        assert!(!settings.url().contains("hunter2"), "{}", settings.url());
        assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
    }
    for url in [
        "postgres://u:p@x?hunter2=@h/d",
        "postgres://u:p@x?hunter=hunter2@h/d",
        "postgres://u:p@x/hunter2:hunter2@h/d?a=b",
        "postgres://u:hunter2@h:hunter2/d",
        "postgres://u:p@x:hunter2@h/d",
        "postgres://u:hunter2@h/d?sslmode=hunter2",
        "mysql://u:hunter2@h/d",
        "hunter2",
    ] {
        let error = Settings::parse(url).unwrap_err();
        let mut shown = format!("{error} {} {error:?}", error.fix());
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            shown.push_str(&error.to_string());
            source = error.source();
        }
        assert!(!shown.contains("hunter2"), "{url}: {shown}");
    }
}

#[test]
fn the_url_without_secrets_can_be_parsed_again() {
    for url in [
        "postgres://me@db.example:5433/jobs?schema=mine",
        "postgres://[2001:db8::1]:5432/jobs",
        "postgres://%2Frun%2Fpg:5432/jobs",
        "postgres://a:1,b:2/jobs",
    ] {
        assert_eq!(parse(url).url(), url);
    }
    assert_eq!(parse("postgres:///jobs?host=/run/pg&user=me").url(), "postgres://me@%2Frun%2Fpg:5432/jobs");
}

#[test]
fn a_description_of_a_store_tells_its_schema() {
    let info = |kind, url: &str| crate::StoreInfo {
        kind,
        url: Settings::parse(url).unwrap().url(),
        engine: String::new(),
        schema: 1,
    };
    assert_eq!(schema_of(&info("postgres", "postgres://ada@db/shop")), Some("taskwright"));
    let other = "postgres://ada:secret@db/shop?sslmode=require&schema=jobs_2";
    assert_eq!(schema_of(&info("postgres", other)), Some("jobs_2"));
    assert_eq!(schema_of(&info("sqlite", other)), None);
}
