//! Hints between processes: `NOTIFY` after a commit, coalesced, on a connection that does nothing else.
//!
//! PostgreSQL takes a lock over all databases while a transaction that notifies commits, so that notifying within the
//! transactions that enqueue would put them in a line. Here a commit only marks that there is something to tell; one
//! task tells it, once for everything that has gathered, by a connection of the pool, and never for long: somebody's commit that
//! hangs with that lock holds up no hint that others give, and no call of this process. What is not told is found by looking.
//!
//! The other processes of the same machine are told by a file ([`near`](super::near)), which takes a third of the time; what
//! `NOTIFY` says names the machine, so that they do not look twice.
//!
//! Nobody tells of what a program enqueues in its own transaction, nor can anybody listen through PgBouncer. So as long
//! as somebody waits for hints, the server is asked every 45 to 65 ms whether anybody has committed anything, which costs
//! it some 30 µs, or 0.5 ms of each second for each process. Only when that is so is it worth a claim. A job that is
//! committed therefore starts within 100 ms, of which some 35 are left for the claim and for who told the server. A process
//! that others tell of what they see so (see [`rouse`](Bell::rouse)) leaves the glances to them, but for one a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::connect::Connections;
use super::glance::Glance;
use super::listen::{Listening, OwnSession};
use super::near::{Near, Watch};

/// The pauses between attempts to connect again: the first, and the longest.
const RECONNECT_PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// The shortest and the longest time between two glances at what others committed. They differ, so that processes which
/// started together do not ask together.
const GLANCE_MS: (u64, u64) = (45, 65);

/// The same where another process glances and tells: only in case that it does no more.
const ROUSED_GLANCE_MS: (u64, u64) = (1_000, 1_250);

/// How often the server is asked when nobody waits for hints: only to see that the connection still lives.
const PING_EVERY: Duration = Duration::from_secs(15);

/// The shortest and the longest time between two `NOTIFY` of one process. Each makes every worker look for jobs, so that the
/// pauses grow while jobs keep coming: whoever works then looks anyway, whoever does not sees at a [glance](GLANCE_MS) that there is
/// something, and a lone job is told of at once.
const TELL_PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(128));

/// How long nobody is told after it was not possible.
const UNTOLD_PAUSE: Duration = Duration::from_secs(1);

/// How long a store that is closed waits until others are told of what it did last.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Tells the other processes, and this one's listeners.
pub(super) struct Bell {
    local: Arc<Ears>,
    news: Arc<News>,
    near: Arc<Near>,
    own: Arc<OwnSession>,
    line: Mutex<Line>,
}

/// Who wants to hear in this process.
#[derive(Default)]
struct Ears {
    all: watch::Sender<u64>,
    /// Those who hear only of what was seen at a glance.
    unannounced: watch::Sender<u64>,
    /// Another process glances for this one.
    is_roused: AtomicBool,
}

impl Ears {
    fn ring(&self) {
        ring(&self.all);
    }

    fn ring_unannounced(&self) {
        ring(&self.unannounced);
        self.ring();
    }

    fn is_anybody_there(&self) -> bool {
        self.all.receiver_count() + self.unannounced.receiver_count() > 0
    }

    fn glance_ms(&self) -> (u64, u64) {
        if self.is_roused.load(Ordering::Relaxed) { ROUSED_GLANCE_MS } else { GLANCE_MS }
    }
}

fn ring(count: &watch::Sender<u64>) {
    count.send_modify(|count| *count = count.wrapping_add(1));
}

/// How others are told and heard.
struct Line {
    kind: LineKind,
    /// Aborted when the store is dropped.
    task: JoinSet<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LineKind {
    /// Nobody is told: nothing has happened.
    None,
    /// Nobody here wants to hear.
    Telling,
    /// Others are heard, too: with a connection of its own, or by glances alone.
    Hearing,
}

/// What others must hear of, as a count that grows.
struct News {
    happened: watch::Sender<u64>,
    told: watch::Sender<u64>,
}

impl News {
    fn new() -> Self {
        Self { happened: watch::Sender::new(0), told: watch::Sender::new(0) }
    }

    /// Waits until there is something to tell: the count up to which that is.
    async fn next(&self) -> u64 {
        let (mut happened, told) = (self.happened.subscribe(), *self.told.borrow());
        // The sender lives as long as this.
        happened.wait_for(|count| *count > told).await.map_or(told, |count| *count)
    }

    fn is_told(&self, up_to: u64) {
        self.told.send_replace(up_to);
    }

    /// Waits until everything is told.
    async fn all_told(&self) {
        let happened = *self.happened.borrow();
        let _ = self.told.subscribe().wait_for(|count| *count >= happened).await;
    }
}

/// When others are told next.
struct Pace {
    told_at: Option<Instant>,
    pause: Duration,
    /// What there is to tell had to wait.
    waited: bool,
}

impl Pace {
    fn new() -> Self {
        Self { told_at: None, pause: TELL_PAUSE.0, waited: false }
    }

    /// Waits until there is something to tell, and the pause since the last time is over: the count up to which that is.
    async fn next(&mut self, news: &News) -> u64 {
        news.next().await;
        let left = self.told_at.and_then(|at| (at + self.pause).checked_duration_since(Instant::now()));
        if let Some(left) = left.filter(|left| !left.is_zero()) {
            self.waited = true;
            pause_for(left).await;
        }
        // What has come meanwhile is told, too.
        news.next().await
    }

    fn told(&mut self) {
        self.told_at = Some(Instant::now());
        self.pause = if self.waited { (self.pause * 2).min(TELL_PAUSE.1) } else { TELL_PAUSE.0 };
        self.waited = false;
    }
}

impl Bell {
    /// A bell that nobody hears yet but this process.
    pub(super) fn new(near: Near) -> Self {
        let line = Line { kind: LineKind::None, task: JoinSet::new() };
        Self {
            local: Arc::default(),
            news: Arc::new(News::new()),
            near: Arc::new(near),
            own: Arc::default(),
            line: Mutex::new(line),
        }
    }

    /// Starts hearing others, and telling them.
    pub(super) fn connect(&self, connections: &Connections) {
        let mut line = self.line();
        if line.kind == LineKind::Hearing {
            return;
        }
        let (local, near, own) = (self.local.clone(), self.near.clone(), self.own.clone());
        if line.kind == LineKind::None && tells(connections) {
            self.start_telling(&mut line, connections);
        }
        line.kind = LineKind::Hearing;
        let connections = connections.clone();
        if tells(&connections) {
            line.task.spawn(async move { keep_listening(&connections, &local, &near, &own).await });
        } else {
            line.task.spawn(async move { keep_glancing(&connections, &local).await });
        }
    }

    /// Rings.
    pub(super) fn ring(&self, connections: &Connections) {
        self.local.ring();
        if !tells(connections) {
            return;
        }
        self.news.happened.send_modify(|count| *count += 1);
        let mut line = self.line();
        if line.kind == LineKind::None {
            line.kind = LineKind::Telling;
            self.start_telling(&mut line, connections);
        }
    }

    fn start_telling(&self, line: &mut Line, connections: &Connections) {
        let (news, near, own) = (self.news.clone(), self.near.clone(), self.own.clone());
        let connections = connections.clone();
        line.task.spawn(async move { keep_telling(&connections, &news, &near, &own).await });
    }

    pub(super) fn listen(&self) -> watch::Receiver<u64> {
        self.local.all.subscribe()
    }

    /// Moves when others have committed something, as far as it was seen at a glance: for whoever [rouses](Self::rouse) other
    /// processes.
    pub(super) fn listen_for_unannounced(&self) -> watch::Receiver<u64> {
        self.local.unannounced.subscribe()
    }

    /// Rings in this process, for another one that has seen something, and that this one counts on from then on.
    pub(super) fn rouse(&self) {
        self.local.is_roused.store(true, Ordering::Relaxed);
        self.local.ring();
    }

    /// Ends it once others are told, or cannot be for a while.
    pub(super) async fn stop(&self) {
        let _ = timeout(FAREWELL_MAX, self.news.all_told()).await;
        self.line().task.abort_all();
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // Each change is complete in itself.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether others are told at all. Nobody can listen through PgBouncer.
fn tells(connections: &Connections) -> bool {
    connections.settings().notify && !connections.settings().pgbouncer
}

/// Tells others by connections of the pool. A hint that gets lost is harmless: they look by themselves now and then.
async fn keep_telling(connections: &Connections, news: &News, near: &Near, own: &OwnSession) {
    let mut pace = Pace::new();
    loop {
        let count = pace.next(news).await;
        let told = near.touch().map(str::to_owned).or_else(|| own.name());
        let tell = async { connections.get().await?.tell(told.as_deref()).await };
        let told = tell.await;
        pace.told();
        news.is_told(count);
        if let Err(error) = told {
            tracing::debug!(%error, "others were not told of new jobs; they find them by looking");
            pause_for(UNTOLD_PAUSE).await;
        }
    }
}

async fn keep_listening(connections: &Connections, local: &Ears, near: &Near, own: &Arc<OwnSession>) {
    let mut pause = RECONNECT_PAUSE.0;
    let watch = near.watch();
    loop {
        match Listening::start(connections.settings(), watch.as_ref().map(Watch::place), own).await {
            Ok(mut listening) => {
                pause = RECONNECT_PAUSE.0;
                // What was said while nobody listened is not repeated.
                local.ring();
                let error = serve(&mut listening, local, watch.as_ref()).await;
                own.end();
                tracing::warn!(%error, "hints of other processes are lost for a moment; polling finds their jobs");
            }
            Err(error) => tracing::debug!(%error, "cannot listen for hints; it is tried again"),
        }
        pause_for(pause).await;
        pause = (pause * 2).min(RECONNECT_PAUSE.1);
    }
}

/// Hears and glances until the connection fails.
async fn serve(listening: &mut Listening, local: &Ears, watch: Option<&Watch<'_>>) -> crate::Error {
    let mut glances = Glances::default();
    let mut silent = Duration::ZERO;
    loop {
        let pause = glances.next_pause(local);
        let done = tokio::select! {
            () = touched(watch) => {
                local.ring();
                continue;
            }
            heard = listening.heard() => heard.map(|()| local.ring()),
            () = pause_for(pause) => {
                silent += pause;
                if !local.is_anybody_there() && silent < PING_EVERY {
                    continue;
                }
                silent = Duration::ZERO;
                listening.glance().await.map(|seen| glances.note(seen, local))
            }
        };
        if let Err(error) = done {
            return error;
        }
    }
}

/// Is ready when another process of this machine tells, if that can be heard.
async fn touched(watch: Option<&Watch<'_>>) {
    match watch {
        Some(watch) => watch.touched().await,
        None => std::future::pending().await,
    }
}

/// Glances by connections of the pool.
async fn keep_glancing(connections: &Connections, local: &Ears) {
    let mut glances = Glances::default();
    loop {
        pause_for(glances.next_pause(local)).await;
        if !local.is_anybody_there() {
            continue;
        }
        let glance = async { connections.get().await?.glance().await };
        match glance.await {
            Ok(seen) => glances.note(seen, local),
            Err(error) => {
                tracing::debug!(%error, "cannot see what others commit; it is tried again");
                pause_for(RECONNECT_PAUSE.0).await;
            }
        }
    }
}

/// What was seen of others' commits.
struct Glances {
    seen: Option<Glance>,
    number: u64,
}

impl Default for Glances {
    fn default() -> Self {
        // Processes of one machine begin at different places.
        Self { seen: None, number: u64::from(std::process::id()) }
    }
}

impl Glances {
    /// The pause before the next one: spread evenly over what is allowed, as multiples of a number prime to it are.
    fn next_pause(&mut self, local: &Ears) -> Duration {
        let (shortest, longest) = local.glance_ms();
        self.number = self.number.wrapping_add(1);
        Duration::from_millis(shortest + self.number.wrapping_mul(19) % (longest - shortest + 1))
    }

    /// Rings if anybody has committed anything but the leader, who renews its lease each second.
    fn note(&mut self, seen: Glance, local: &Ears) {
        if self.seen.as_ref().is_none_or(|before| seen.is_news_after(before)) {
            local.ring_unannounced();
        }
        self.seen = Some(seen);
    }
}

/// Real time, for a connection that is real: nothing that anybody sees depends on it.
pub(super) async fn pause_for(duration: Duration) {
    // A timeout of something that never comes is a pause.
    let _ = timeout(duration, std::future::pending::<()>()).await;
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A bell that is heard in this process only.
    fn deaf() -> Bell {
        Bell::new(Near::open(std::path::Path::new("/nowhere/at/all"), "", 1))
    }

    #[test]
    fn pauses_are_spread_over_what_is_allowed() {
        let (mut glances, bell) = (Glances::default(), deaf());
        let mut pauses = |count: usize| {
            let pauses: BTreeSet<_> = (0..count).map(|_| glances.next_pause(&bell.local)).collect();
            (pauses.len(), pauses.first().copied().unwrap(), pauses.last().copied().unwrap())
        };
        let ms = Duration::from_millis;
        assert_eq!(pauses(21), (21, ms(45), ms(65)));
        // Who is roused by another process leaves it to that one.
        bell.rouse();
        assert_eq!(pauses(251), (251, ms(1_000), ms(1_250)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_job_is_told_of_at_once_and_many_ever_less_often() {
        let (mut pace, news) = (Pace::new(), News::new());
        let mut waits = Vec::new();
        for (before_ms, count) in [
            (0, 1),
            (0, 2),
            (0, 3),
            (0, 4),
            (0, 5),
            (0, 6),
            (0, 7),
            (0, 8),
            (0, 9),
            (0, 10),
            (200, 11),
            (0, 12),
        ] {
            pause_for(Duration::from_millis(before_ms)).await;
            let rung = Instant::now();
            news.happened.send_replace(count);
            assert_eq!(pace.next(&news).await, count);
            waits.push(rung.elapsed().as_millis());
            pace.told();
            news.is_told(count);
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64, 128, 128, 0, 1]);
    }

    #[test]
    fn what_others_end_rings_and_what_begins_or_renews_the_lead_does_not() {
        let (mut glances, bell) = (Glances::default(), deaf());
        let (all, unannounced) = (bell.listen(), bell.listen_for_unannounced());
        let late = u64::from(u32::MAX) + 8;
        let (late, later) = (format!("{late}:{late}:"), format!("{}:{}:", late + 1, late + 1));
        for (seen, renewed_by, rings) in [
            ("5:5:", "4", 1),
            ("5:5:", "4", 1),
            // 5 is under way, and then is over; 6 was over before it.
            ("5:7:5", "4", 2),
            ("7:7:", "4", 3),
            // 7 has renewed the lead; and then 8, beside 9, which goes on, and then is over.
            ("8:8:", "7", 3),
            ("9:10:9", "8", 3),
            ("10:10:", "8", 4),
            ("10:12:10,11", "8", 4),
            ("10:12:10", "8", 5),
            ("12:12:", "10", 5),
            // Another server, which has not come as far.
            ("11:11:", "10", 6),
            // Rows keep the lower half of a number.
            (&late, "0", 7),
            (&later, "7", 7),
        ] {
            glances.note(Glance::read(seen, renewed_by).unwrap(), &bell.local);
            assert_eq!((*all.borrow(), *unannounced.borrow()), (rings, rings), "{seen}");
        }
        bell.rouse();
        assert_eq!((*all.borrow(), *unannounced.borrow()), (8, 7), "what was told is not told on");
    }
}
