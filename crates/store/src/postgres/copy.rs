//! New jobs as the rows of a binary `COPY`: the quickest way in, for jobs that go into the stream of their lane.
//!
//! The format is that of the server's documentation of `COPY` (section "Binary Format"): a signature, then per row the
//! number of its fields and each field with its length, numbers with the most significant byte first.

use bytes::{BufMut, Bytes, BytesMut};
use taskwright_core::Delivery;

use super::enqueue::NewRow;

/// The columns, in the order of [`encode`]. The rest is left to their defaults: the number, the transaction, and that the
/// job is in a stream.
pub(super) const COPY: &str = "COPY job (id, lane, created_at, run_at, timeout_us, max_attempts, first_state, \
    at_most_once, owner, backoff, args) FROM STDIN (FORMAT binary)";

/// The same with the number in front, for a transaction that has its numbers already.
pub(super) const COPY_NUMBERED: &str = "COPY job (seq, id, lane, created_at, run_at, timeout_us, max_attempts, \
    first_state, at_most_once, owner, backoff, args) FROM STDIN (FORMAT binary)";

/// Takes numbers, and gets the transaction its id. What takes them one after the other is inserted in that order.
pub(super) const NUMBERS: &str = "SELECT array_agg(n), pg_current_xact_id()::text
    FROM (SELECT nextval('job_seq_seq') AS n FROM generate_series(1, $1::bigint)) t";

/// Fields of a row without its number.
const FIELDS: i16 = 11;

/// Bytes of a row beside its texts and arguments, at most.
const ROW_BYTES: usize = 128;

/// The rows, each with its number if there are numbers.
pub(super) fn encode(rows: &[NewRow<'_>], numbers: Option<&[i64]>) -> Bytes {
    let args: usize = rows.iter().map(|row| row.job.args.as_bytes().len()).sum();
    let mut out = BytesMut::with_capacity(32 + args + rows.len() * ROW_BYTES);
    out.put_slice(b"PGCOPY\n\xff\r\n\0");
    out.put_i32(0); // flags
    out.put_i32(0); // no extension of the header
    for (index, row) in rows.iter().enumerate() {
        let number = numbers.and_then(|numbers| numbers.get(index));
        out.put_i16(FIELDS + i16::from(number.is_some()));
        if let Some(number) = number {
            field(&mut out, Some(&number.to_be_bytes()));
        }
        encode_row(&mut out, row);
    }
    out.put_i16(-1); // the end
    out.freeze()
}

fn encode_row(out: &mut BytesMut, row: &NewRow<'_>) {
    let job = row.job;
    field(out, Some(job.id.as_bytes()));
    field(out, Some(&row.lane.to_be_bytes()));
    field(out, Some(&row.created_at.to_be_bytes()));
    field(out, Some(&row.run_at.to_be_bytes()));
    field(out, row.timeout_us().map(i64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    field(out, Some(&i64::from(job.max_attempts.code()).to_be_bytes()));
    field(out, Some(&i16::from(row.state.code()).to_be_bytes()));
    field(out, Some(&[u8::from(job.delivery == Delivery::AtMostOnce)]));
    field(out, job.owner.as_ref().map(|owner| owner.as_str().as_bytes()));
    field(out, job.backoff.map(|backoff| backoff.to_string()).as_deref().map(str::as_bytes));
    field(out, Some(job.args.as_bytes()));
}

fn field(out: &mut BytesMut, value: Option<&[u8]>) {
    let Some(value) = value else { return out.put_i32(-1) };
    // A job's fields are far shorter: the limits of core see to it.
    out.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
    out.put_slice(value);
}
