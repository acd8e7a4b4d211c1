//! How fast the HTTP API is: jobs stored one by one over so many connections, beside the same on the store itself; pages of a listing
//! while many jobs lie around; and single requests while many listen and many more are connected and say nothing, or while one
//! principal asks as fast as it is answered.
//!
//! The server is a process of its own, and every request has a token, as one on a network has. Client and server share the machine.

mod connection;
mod flood;
mod load;
mod report;
mod server;

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use taskwright::store::SharedStore;
use taskwright::{Client, Env};
use tokio::sync::Barrier;

use self::connection::Connection;
use self::server::ServerProcess;
pub(super) use self::server::serve;
use super::flow::histogram;
use super::scene::{KIND, Scene, job, payload};
use super::workers::died;
use crate::cli::Context;
use crate::cli::bench::Bench;
use crate::error::Error;

/// Pages that are read of each listing.
const PAGES: u64 = 200;

/// Listings that are measured: what they are about, and their parameters.
const LISTINGS: [(&str, &str); 12] = [
    ("newest", ""),
    ("waiting", "state=available"),
    ("a queue", "queue=default&state=available"),
    ("a task by wildcard", "kind=bench.*&state=available"),
    ("nobody's", "owner=nobody&state=available"),
    ("oldest", "oldest_first=true"),
    ("of two namespaces", "namespace=default&namespace=nothing"),
    ("since 2000", "after=2000-01-01T00:00:00Z"),
    ("before 2000", "before=2000-01-01T00:00:00Z"),
    ("ended before 2000", "ended_before=2000-01-01T00:00:00Z"),
    ("on no such host", "host=nowhere"),
    ("with no such argument", "args=no.such=thing"),
];

/// One round of storing jobs.
struct Round {
    /// How long the store took for so many callers, with a call of its own for each job.
    direct: Duration,
    /// How long one `Client` took for as many, which stores together what is asked for at once, as the server does.
    gathered: Duration,
    /// How long the API took.
    api: Duration,
    /// How long it took to answer as many requests that ask nothing of the store.
    idle: Duration,
}

/// How long the pages of a listing took.
struct Listing {
    about: &'static str,
    first: Histogram<u64>,
    later: Histogram<u64>,
}

pub(super) async fn run(context: &Context, verb: &Bench, scene: &Scene) -> Result<(), Error> {
    let jobs = verb.jobs.unwrap_or(10_000);
    let mut rounds = Vec::new();
    for number in 0..verb.rounds {
        // In turns, so that neither is always the one that finds the machine warm.
        let turned = if number % 2 == 1 { Some(over_http(scene, verb, jobs).await?) } else { None };
        let direct = in_process(scene, verb, jobs, Calls::OneForEach).await?;
        let gathered = in_process(scene, verb, jobs, Calls::Gathered).await?;
        let (api, idle) = match turned {
            Some(took) => took,
            None => over_http(scene, verb, jobs).await?,
        };
        rounds.push(Round { direct, gathered, api, idle });
    }
    report::rates(context, verb, jobs, &rounds)?;
    if verb.is_crowded() {
        report::listings(context, verb, &listings(scene, verb).await?)?;
    }
    if verb.streams + verb.idle > 0 {
        report::load(context, verb, &load::measure(scene, verb).await?)?;
    }
    if verb.flood > 0 {
        report::flood(context, verb, &flood::measure(scene, verb).await?)?;
    }
    Ok(())
}

/// How callers in one process call the store.
#[derive(Clone, Copy)]
enum Calls {
    OneForEach,
    Gathered,
}

/// Stores jobs one by one, by as many callers as there are connections.
async fn in_process(scene: &Scene, verb: &Bench, jobs: u64, calls: Calls) -> Result<Duration, Error> {
    let store = scene.open(verb).await?;
    let client = Client::new(Arc::clone(&store), scene.env.clone());
    let bytes = verb.payload;
    let took = by_all(
        &scene.env,
        verb.clients,
        jobs,
        async |_| Ok(client.clone()),
        move |client, number| async move {
            let job = job(payload(number, bytes));
            match calls {
                Calls::OneForEach => drop(client.enqueue_many([job]).await?),
                Calls::Gathered => drop(client.enqueue(job).await?),
            }
            Ok(client)
        },
    )
    .await?;
    store.close().await?;
    scene.clear().await?;
    Ok(took)
}

/// Stores jobs over HTTP, and asks as often whether the server lives.
async fn over_http(scene: &Scene, verb: &Bench, jobs: u64) -> Result<(Duration, Duration), Error> {
    let server = ServerProcess::start(scene, verb).await?;
    let bytes = verb.payload;
    let connect = async |_| Connection::open(&server).await;
    let api = by_all(&scene.env, verb.clients, jobs, connect, move |mut connection, number| async move {
        connection.ask("POST", "/api/v1/jobs", &submission(number, bytes)).await?.is(201)?;
        Ok(connection)
    })
    .await?;
    let idle = by_all(&scene.env, verb.clients, jobs, connect, |mut connection, _| async move {
        connection.ask("GET", "/healthz", &[]).await?.is(200)?;
        Ok(connection)
    })
    .await?;
    server.stop().await?;
    scene.clear().await?;
    Ok((api, idle))
}

/// What a request says to have a job stored.
fn submission(number: u64, bytes: u32) -> Vec<u8> {
    let mut body = format!(r#"{{"kind":"{KIND}","any_kind":true,"args":"#).into_bytes();
    body.extend(payload(number, bytes));
    body.push(b'}');
    body
}

/// Does something so many times, by so many at once, each with what `make` gives it; how long it took.
async fn by_all<C: Send + 'static, F: Future<Output = Result<C, Error>> + Send>(
    env: &Env,
    callers: u32,
    times: u64,
    make: impl AsyncFn(u32) -> Result<C, Error>,
    act: impl Fn(C, u64) -> F + Clone + Send + 'static,
) -> Result<Duration, Error> {
    let ready = Arc::new(Barrier::new(callers as usize + 1));
    let (callers_many, mut working) = (u64::from(callers), Vec::new());
    for caller in 0..callers {
        let number = u64::from(caller);
        let share = times / callers_many + u64::from(number < times % callers_many);
        let (mut caller, act, ready) = (make(caller).await?, act.clone(), Arc::clone(&ready));
        working.push(env.spawn("bench-client", async move {
            ready.wait().await;
            for n in 0..share {
                caller = act(caller, number * share + n).await?;
            }
            Ok::<_, Error>(())
        }));
    }
    ready.wait().await;
    let began = env.monotonic_us();
    for work in working {
        work.await.map_err(died)??;
    }
    Ok(Duration::from_micros(env.monotonic_us() - began))
}

/// Reads pages of listings while many jobs lie around.
async fn listings(scene: &Scene, verb: &Bench) -> Result<Vec<Listing>, Error> {
    let store = scene.open(verb).await?;
    lie_around(scene, &store, verb).await?;
    let server = ServerProcess::start(scene, verb).await?;
    let mut connection = Connection::open(&server).await?;
    let mut measured = Vec::new();
    for (about, filter) in LISTINGS {
        let mut listing = Listing { about, first: histogram()?, later: histogram()? };
        let path = format!("/api/v1/jobs?limit=100&{filter}");
        let mut next: Option<String> = None;
        // Every other page is the first one, so that both are measured in the same moments.
        for number in 0..PAGES {
            let cursor = next.as_ref().filter(|_| number % 2 == 1);
            let path = cursor.map_or_else(|| path.clone(), |cursor| format!("{path}&cursor={cursor}"));
            let began = scene.env.monotonic_us();
            let answer = connection.ask("GET", &path, &[]).await?.is(200)?;
            let took = (scene.env.monotonic_us() - began).max(1);
            if cursor.is_some() { &mut listing.later } else { &mut listing.first }.saturating_record(took);
            if cursor.is_some() || next.is_none() {
                next = answer.next_cursor()?;
            }
        }
        measured.push(listing);
    }
    server.stop().await?;
    store.close().await?;
    scene.clear().await?;
    Ok(measured)
}

async fn lie_around(scene: &Scene, store: &SharedStore, verb: &Bench) -> Result<(), Error> {
    scene.prepare(store, verb).await?;
    let quick = Bench { batch: 4_000, ..verb.clone() };
    scene.fill(store, &quick, verb.backlog).await?;
    scene.filled(verb).await
}
