//! Lanes that rest: those of generators that are gone, which claims pass over without a look.
//!
//! Each generator has a queue of its own, and so a lane or two for good; thousands of bulks would each make every claim a bit
//! slower. What is found in a lane that rests after all, such as a dead letter that runs again, wakes it: at once where
//! somebody runs it again, and else within a moment, as whoever promotes looks at some of them each second.

use std::sync::atomic::{AtomicI64, Ordering};

use taskwright_core::{GeneratorName, Namespace, Timestamp};
use tokio_postgres::types::Type;

use super::session::{Session, get};
use super::store::PostgresStore;
use crate::error::Error;

/// How often some of them are looked at: every second.
const LOOK_EVERY_US: i64 = 1_000_000;
/// How many at a time: 200.
const LOOK_AT: i64 = 200;

/// How far the looks have come.
#[derive(Default)]
pub(super) struct Rest {
    next_look_us: AtomicI64,
    lane: AtomicI64,
}

/// Lets the lanes of a generator that was removed rest, unless something waits there.
pub(super) async fn begin(
    session: &mut Session<'_>,
    namespace: &Namespace,
    name: &GeneratorName,
) -> Result<(), Error> {
    let rows = session.all(BEGIN, &[&namespace.as_str(), &name.queue().as_str()]).await?;
    let lanes = rows.iter().map(|row| get(row, 0)).collect::<Result<Vec<i64>, Error>>()?;
    if !lanes.is_empty() {
        session.execute(FORGET_HEADS, &[&lanes]).await?;
    }
    Ok(())
}

/// Ends the rest of the lanes of a generator that is there again.
pub(super) async fn end(
    session: &mut Session<'_>,
    namespace: &Namespace,
    name: &GeneratorName,
) -> Result<(), Error> {
    session.execute(END, &[&namespace.as_str(), &name.queue().as_str()]).await.map(drop)
}

/// Ends the rest of a lane.
pub(super) async fn end_in(session: &mut Session<'_>, lane: i64) -> Result<(), Error> {
    session.execute(END_IN, &[&lane]).await.map(drop)
}

impl PostgresStore {
    /// Wakes lanes in which there is something, of the next few.
    pub(super) async fn wake_lanes(&self, now: Timestamp) -> Result<(), Error> {
        let (rest, now) = (self.rest(), now.as_micros());
        let next = rest.next_look_us.load(Ordering::Relaxed);
        // Nor is one waited for that a clock which was set back since has put far ahead.
        if now < next && next - now <= LOOK_EVERY_US {
            return Ok(());
        }
        rest.next_look_us.store(now + LOOK_EVERY_US, Ordering::Relaxed);
        let after = rest.lane.load(Ordering::Relaxed);
        let rows = self.look(WAKE, &[(&after, Type::INT8), (&LOOK_AT, Type::INT8)]).await?;
        let (mut last, mut woken) = (None, 0);
        for row in &rows {
            (last, woken) = (get::<Option<i64>>(row, 0)?, get::<i64>(row, 1)?);
        }
        // Behind the last one it is begun anew.
        rest.lane.store(last.unwrap_or(0), Ordering::Relaxed);
        if woken > 0 {
            self.ring();
        }
        Ok(())
    }
}

const BEGIN: &str = "UPDATE lane l SET is_resting = true
    FROM queue q WHERE q.namespace = $1 AND q.name = $2 AND l.queue = q.queue AND NOT l.is_resting
        AND NOT EXISTS (SELECT FROM ready r WHERE r.lane = l.lane)
        AND NOT EXISTS (SELECT FROM waiting w WHERE w.lane = l.lane)
        AND NOT EXISTS (SELECT FROM upcoming(l.lane, 1))
    RETURNING l.lane";
/// Of a lane that nobody claims from the newest head is enough.
const FORGET_HEADS: &str = "DELETE FROM lane_head h WHERE h.lane = ANY($1::bigint[])
    AND h.n < (SELECT n.n FROM lane_head n WHERE n.lane = h.lane ORDER BY n.n DESC LIMIT 1)";
const END: &str = "UPDATE lane l SET is_resting = false
    FROM queue q WHERE q.namespace = $1 AND q.name = $2 AND l.queue = q.queue AND l.is_resting";
const END_IN: &str = "UPDATE lane SET is_resting = false WHERE lane = $1 AND is_resting";
const WAKE: &str = "WITH looked AS MATERIALIZED (
        SELECT lane FROM lane WHERE is_resting AND lane > $1 ORDER BY lane LIMIT $2),
    woken AS (
        UPDATE lane l SET is_resting = false FROM looked k
        WHERE l.lane = k.lane AND (
            EXISTS (SELECT FROM ready r WHERE r.lane = k.lane) OR EXISTS (SELECT FROM upcoming(k.lane, 1)))
        RETURNING l.lane)
    SELECT (SELECT max(lane) FROM looked), (SELECT count(*) FROM woken)";
