//! The server of a benchmark: this same program, in a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::sync::Arc;

use taskwright::core::throttle::Pace;
use taskwright::identity::TokenRequest;
use taskwright::supervisor::Parent;
use taskwright::{Client, Duties, DutyConfig};
use taskwright_core::{Namespace, Principal, Role, TokenName};
use taskwright_store::Rank;

use crate::bench::scene::{Scene, open_as_server};
use crate::cli::Context;
use crate::cli::bench::{Bench, Serve};
use crate::config::Listen;
use crate::error::{Error, Exit, in_words};
use crate::http::{Limits, Server};

/// More requests than anybody sends: what is measured is the server, and not its patience.
const PACE: Pace = Pace { per_second: 1_000_000, burst: 1_000_000 };

/// A server. It ends when its standard input does.
pub(super) struct ServerProcess {
    child: Child,
    address: SocketAddr,
    /// A superuser's.
    token: String,
    /// Those of members of two namespaces.
    tenants: [String; 2],
}

impl ServerProcess {
    /// Starts it on the store of the round, and waits until it listens.
    pub(super) async fn start(scene: &Scene, verb: &Bench) -> Result<Self, Error> {
        let mut command = scene.server(Serve::Http, verb)?;
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(|error| {
            Error::operational("starting a server", in_words(&error), "look at `ulimit -u`")
        })?;
        let (nowhere, nobody) = ((Ipv4Addr::LOCALHOST, 0).into(), String::new());
        let mut server = Self { child, address: nowhere, token: nobody, tenants: Default::default() };
        let Some(out) = server.child.stdout.take() else { return Err(not_there()) };
        let read = move || {
            let mut line = String::new();
            BufReader::new(out).read_line(&mut line).map(|_| line)
        };
        let line = scene.env.blocking(read).await.unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut next = || words.next().ok_or_else(not_there);
        server.address = next()?.parse().map_err(|_| not_there())?;
        server.token = next()?;
        server.tenants = [next()?, next()?];
        Ok(server)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn tenants(&self) -> &[String; 2] {
        &self.tenants
    }

    /// How much memory it has, in bytes; 0 where the system does not tell.
    pub(super) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    }

    /// Ends it.
    pub(super) async fn stop(mut self) -> Result<(), Error> {
        drop(self.child.stdin.take());
        let status = self.child.wait().map_err(|error| {
            Error::operational("the end of the server", in_words(&error), "look at what still runs")
        })?;
        if status.success() { Ok(()) } else { Err(not_there()) }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // A child that is gone already needs no waiting.
        let _ = self.child.wait();
    }
}

fn not_there() -> Error {
    Error::operational(
        "the server of the benchmark",
        "it did not start, or ended early",
        "run one by hand to see why: taskwright serve",
    )
}

/// What the server process does: makes a token, says where it listens, and answers until its parent is gone.
pub(in crate::bench) async fn serve(context: &Context, verb: &Bench) -> Result<Exit, Error> {
    let store = open_as_server(context, verb).await?;
    let identities = Client::new(Arc::clone(&store), context.env.clone()).identities();
    let made = identities.bootstrap().await?.ok_or_else(not_there)?;
    let by = Principal::local(crate::cli::local_actor());
    let mut tenants = Vec::new();
    for name in ["one", "other"] {
        let rank = Rank::In(Namespace::new(name)?, Role::Member);
        let asked = TokenRequest::new(TokenName::new(name)?, rank);
        let made = identities.create_token(&by, asked).await?.ok_or_else(not_there)?;
        tenants.push(made.secret.reveal());
    }
    let at = Listen::At((Ipv4Addr::LOCALHOST, 0).into());
    let server = Server::bind(at).await?.ok_or_else(not_there)?;
    let address = server.address();
    let limits = Limits::default();
    // Somebody who floods it is held to what is the limit where nobody says otherwise.
    let pace = if verb.flood > 0 { limits.pace } else { PACE };
    let running = server.start(context, Arc::clone(&store), Limits { pace, ..limits });
    let mut out = std::io::stdout();
    // A parent that is gone ends what follows.
    let told = writeln!(out, "{address} {} {}", made.secret.reveal(), tenants.join(" "));
    let _ = told.and_then(|()| out.flush());
    // Where numbers are given to events by whoever leads, somebody has to.
    let duties = Duties::start(&store, &context.env, &DutyConfig::default());
    Parent::listen().gone().await;
    running.close().await;
    duties.stop().await;
    store.close().await?;
    Ok(Exit::Ok)
}
