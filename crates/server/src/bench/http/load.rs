//! Single requests while many listen, and many more are connected and say nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use taskwright::Env;
use taskwright::env::Spawned;

use super::connection::Connection;
use super::server::ServerProcess;
use super::submission;
use crate::bench::flow::histogram;
use crate::bench::scene::Scene;
use crate::bench::workers::died;
use crate::cli::bench::Bench;
use crate::error::Error;

/// Where the listeners listen, and what they hear there.
const STREAM: &str = "/api/v1/events/stream?namespace=default";
const EVENT: &str = "event";

/// Events that are emitted while requests are measured come so long after one another.
fn pause(rate: u64) -> Duration {
    Duration::from_micros(1_000_000 / rate.max(1))
}

/// Requests that are measured, of each sort.
const REQUESTS: u64 = 2_000;

/// How long somebody may take to hear what was emitted before it counts as not heard.
const HEAR_MAX: Duration = Duration::from_secs(30);

/// How long requests took.
pub(super) struct Took {
    /// Reading a job.
    pub(super) read: Histogram<u64>,
    /// Storing one.
    pub(super) store: Histogram<u64>,
}

/// What came of it.
pub(super) struct Load {
    /// With nobody else there.
    pub(super) alone: Took,
    /// Beside all of them.
    pub(super) beside: Took,
    /// Memory of the server before they came, when all were there, after the requests, and when all had gone, in bytes.
    pub(super) resident: [u64; 4],
    /// Connections that said nothing, and were still there when the requests were done.
    pub(super) silent_still: usize,
    /// Events that were emitted meanwhile, and how many of them the listeners heard, all together.
    pub(super) emitted: u64,
    pub(super) heard: u64,
}

pub(super) async fn measure(scene: &Scene, verb: &Bench) -> Result<Load, Error> {
    let env = &scene.env;
    let store = scene.open(verb).await?;
    let server = ServerProcess::start(scene, verb).await?;
    let mut asking = Connection::open(&server).await?;
    requests(env, verb, &mut asking).await?;
    let alone = requests(env, verb, &mut asking).await?;

    let before = server.resident_bytes();
    let heard = Arc::new(AtomicU64::new(0));
    let mut listeners = Vec::new();
    for _ in 0..verb.streams {
        let mut listener = Connection::open(&server).await?;
        listener.listen(STREAM).await?;
        let heard = Arc::clone(&heard);
        listeners.push(env.spawn("bench-listener", async move {
            while listener.heard(EVENT).await {
                heard.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut silent = Vec::new();
    for _ in 0..verb.idle {
        let mut connection = Connection::open(&server).await?;
        connection.ask("GET", "/healthz", &[]).await?.is(200)?;
        silent.push(connection);
    }
    let there = server.resident_bytes();
    let is_over = Arc::new(AtomicBool::new(false));
    let emitter = if verb.rate > 0 { Some(emit(env, verb, &server, &is_over).await?) } else { None };
    let beside = requests(env, verb, &mut asking).await?;
    is_over.store(true, Ordering::Relaxed);
    let emitted = match emitter {
        Some(emitter) => emitter.await.map_err(died)??,
        None => 0,
    };
    let all = emitted * u64::from(verb.streams);
    let hearing = async {
        while heard.load(Ordering::Relaxed) < all {
            env.sleep(Duration::from_millis(10)).await;
        }
    };
    // The server closes those that have had nothing to ask for 20 s: the requests have to be done by then.
    let silent_still = silent.iter().filter(|connection| connection.is_open()).count();
    // What was not heard is told.
    let _ = env.timeout(HEAR_MAX, hearing).await;
    let busiest = server.resident_bytes();
    drop((listeners, silent));
    gone(env, &mut asking).await?;
    let resident = [before, there, busiest, server.resident_bytes()];
    drop(asking);
    server.stop().await?;
    store.close().await?;
    scene.clear().await?;
    Ok(Load { alone, beside, resident, silent_still, emitted, heard: heard.load(Ordering::Relaxed) })
}

/// Waits until the server has noticed that nobody listens any more.
async fn gone(env: &Env, asking: &mut Connection) -> Result<(), Error> {
    let noticed = async {
        while !asking.ask("GET", "/metrics", &[]).await?.is(200)?.says("taskwright_http_streams 0\n") {
            env.sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    };
    // What is still there then is told with the rest.
    env.timeout(HEAR_MAX, noticed).await.unwrap_or(Ok(()))
}

/// Stores jobs and reads each, one request after the other.
pub(super) async fn requests(env: &Env, verb: &Bench, asking: &mut Connection) -> Result<Took, Error> {
    let mut took = Took { read: histogram()?, store: histogram()? };
    for number in 0..REQUESTS {
        let body = submission(number, verb.payload);
        let began = env.monotonic_us();
        let id = asking.ask("POST", "/api/v1/jobs", &body).await?.is(201)?.id()?;
        let stored = env.monotonic_us();
        asking.ask("GET", &format!("/api/v1/jobs/{id}"), &[]).await?.is(200)?;
        took.store.saturating_record((stored - began).max(1));
        took.read.saturating_record((env.monotonic_us() - stored).max(1));
    }
    Ok(took)
}

/// Emits events at the rate that is asked for, until it is over; how many.
async fn emit(
    env: &Env,
    verb: &Bench,
    server: &ServerProcess,
    is_over: &Arc<AtomicBool>,
) -> Result<Spawned<Result<u64, Error>>, Error> {
    let mut emitting = Connection::open(server).await?;
    let (clock, is_over, pause) = (env.clone(), Arc::clone(is_over), pause(verb.rate));
    Ok(env.spawn("bench-emitter", async move {
        let mut emitted = 0;
        while !is_over.load(Ordering::Relaxed) {
            emitting.ask("POST", "/api/v1/events", br#"{"topic":"bench.tick"}"#).await?.is(201)?;
            emitted += 1;
            clock.sleep(pause).await;
        }
        Ok(emitted)
    }))
}
