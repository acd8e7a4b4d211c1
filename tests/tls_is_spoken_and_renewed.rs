//! The server speaks TLS with the certificate of the config file, and shows another one once that is there: at HUP, and by itself.
//! Callers believe who they are told to (`--ca`), and nobody else; whoever speaks HTTP there is told what to do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rcgen::KeyPair;

use crate::authority::Authority;
use crate::support::{Site, Up, signal};

struct Served {
    up: Up,
    url: String,
}

fn serve(site: &Site) -> Served {
    std::fs::write(
        site.path().join("taskwright.toml"),
        "[server]\nlisten = \"127.0.0.1:0\"\ntls_cert = \"cert.pem\"\ntls_key = \"key.pem\"\n",
    )
    .unwrap();
    let mut command = site.taskwright(["serve"]);
    let up = site.start_until(command.env_remove("TASKWRIGHT_LISTEN"), "serves https://");
    let url = up.last_line().split_whitespace().last().unwrap().to_owned();
    Served { up, url }
}

/// Asks for the queues, believing whom this file names; what is said on standard error if that fails.
fn ask(site: &Site, url: &str, ca: Option<&str>) -> Result<(), String> {
    let mut command = site.taskwright(["queues", "list", "--server", url]);
    // A directory without a config file that has a store.
    let elsewhere = tempfile::tempdir().unwrap();
    if let Some(ca) = ca {
        command.args(["--ca", site.path().join(ca).to_str().unwrap()]);
    }
    let output = command.current_dir(elsewhere.path()).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    if output.status.success() { Ok(()) } else { Err(words) }
}

#[test]
fn callers_believe_the_authority_that_they_are_told_and_nobody_else() {
    let site = Site::new();
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    ours.write(site.path(), &["127.0.0.1", "jobs.example"]);
    std::fs::write(site.path().join("ca.pem"), ours.pem()).unwrap();
    std::fs::write(site.path().join("other.pem"), other.pem()).unwrap();
    let served = serve(&site);
    ask(&site, &served.url, Some("ca.pem")).unwrap();
    for (ca, why) in [
        (None, "nobody whom we believe"),
        (Some("other.pem"), "nobody whom we believe"),
        (Some("key.pem"), "no certificate"),
    ] {
        let words = ask(&site, &served.url, ca).unwrap_err();
        assert!(words.contains(why), "{ca:?}: {words}");
    }
    // The certificate's names are names of the server; others are not.
    let port = served.url.rsplit_once(':').unwrap().1;
    for (host, status) in [("jobs.example", "200"), ("elsewhere.example", "421")] {
        let answer = https(&ours, port, host);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
    // Without TLS.
    let mut plain = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    plain.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("use https://"), "{answer}");
    assert!(served.up.stop().success());
}

/// One request, by TLS, for a host of any name.
fn https(authority: &Authority, port: &str, host: &str) -> String {
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connection = rustls::ClientConnection::new(authority.believed(), name).unwrap();
    let socket = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let mut stream = rustls::StreamOwned::new(connection, socket);
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

#[test]
fn a_new_certificate_is_shown_at_hup_and_by_itself_and_a_broken_one_changes_nothing() {
    let site = Site::new();
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    first.write(site.path(), &["127.0.0.1"]);
    std::fs::write(site.path().join("first.pem"), first.pem()).unwrap();
    std::fs::write(site.path().join("second.pem"), second.pem()).unwrap();
    let served = serve(&site);
    ask(&site, &served.url, Some("first.pem")).unwrap();

    second.write(site.path(), &["127.0.0.1"]);
    signal(served.up.pid(), "HUP");
    served.up.wait_for_line("the TLS certificate was read again");
    ask(&site, &served.url, Some("second.pem")).unwrap();
    assert!(ask(&site, &served.url, Some("first.pem")).is_err());

    // The key of another one.
    let key = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(site.path().join("key.pem"), key).unwrap();
    signal(served.up.pid(), "HUP");
    served.up.wait_for_line("it is not the key of the certificate");
    served.up.wait_for_line("the TLS certificate stays as it was");
    ask(&site, &served.url, Some("second.pem")).unwrap();

    // By itself, within some seconds.
    first.write(site.path(), &["127.0.0.1"]);
    site.wait_until("the new certificate to be shown", Duration::from_secs(20), || {
        ask(&site, &served.url, Some("first.pem")).is_ok()
    });
    assert!(served.up.stop().success());
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start_with_what_to_do() {
    let site = Site::new();
    Authority::new("ours").write(site.path(), &["127.0.0.1"]);
    for (cert, key, why) in [
        ("none.pem", "key.pem", "it does not exist"),
        ("key.pem", "key.pem", "there is no certificate in it"),
        ("cert.pem", "cert.pem", "there is no private key in it"),
    ] {
        let text = format!("[server]\ntls_cert = \"{cert}\"\ntls_key = \"{key}\"\n");
        std::fs::write(site.path().join("taskwright.toml"), text).unwrap();
        let output = site.taskwright(["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains(why) && words.contains("tls_key"), "{words}");
    }
    std::fs::write(site.path().join("taskwright.toml"), "[server]\ntls_cert = \"cert.pem\"\n").unwrap();
    let output = site.taskwright(["serve"]).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(words.contains("`tls_cert` in [server] without `tls_key`"), "{words}");
}
