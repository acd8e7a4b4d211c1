//! Attachments of held jobs.

use taskwright_core::attachment::Sum;
use taskwright_core::limit::{
    ATTACHMENT_BYTES_MAX, ATTACHMENT_PIECE_BYTES, ATTACHMENTS_BYTES_MAX, ATTACHMENTS_MAX, HOLD_MAX,
};
use taskwright_core::{Attachment, AttachmentName, NewJob, State};

use super::Harness;
use super::fixture::*;
use crate::{Attached, Change, Changed};

fn name(text: &str) -> AttachmentName {
    AttachmentName::new(text).expect("scenarios name attachments well")
}

fn attachment(text: &str, bytes: impl Into<Vec<u8>>) -> Attachment {
    Attachment::new(name(text), bytes.into()).expect("it is not too large")
}

fn held(n: u32) -> NewJob {
    NewJob { held: true, ..job(n) }
}

async fn attach(process: &Process, now: u64, n: u32, one: Attachment) -> Attached {
    process.store().attach(at(now), id(n), one).await.expect("it is answered")
}

/// Whether one more is refused.
async fn is_refused(process: &Process, n: u32, one: Attachment) -> bool {
    process.store().attach(at(1), id(n), one).await.is_err_and(|error| error.is_domain())
}

/// The names of what is attached.
async fn names(process: &Process, n: u32) -> Vec<String> {
    let views = process.store().attachments(id(n)).await.expect("they are listed");
    views.iter().map(|view| view.name.to_string()).collect()
}

/// All pieces of one.
async fn read(process: &Process, n: u32, text: &str) -> Option<Vec<u8>> {
    let mut bytes = None;
    for number in 0.. {
        let piece = process.store().attachment_piece(id(n), name(text), number).await.expect("it is read");
        let Some(piece) = piece else { break };
        assert!(piece.len() <= ATTACHMENT_PIECE_BYTES);
        bytes.get_or_insert_with(Vec::new).extend(piece);
    }
    bytes
}

pub async fn what_is_attached_to_a_held_job_is_read_piece_by_piece(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [held(1), held(2)]).await;
    let large: Vec<u8> = (0..2 * ATTACHMENT_PIECE_BYTES + 7).map(|n| u8::try_from(n % 251).unwrap_or(0)).collect();
    assert_eq!(attach(&process, 1, 1, attachment("z.bin", large.clone())).await, Attached::Done);
    assert_eq!(attach(&process, 2, 1, attachment("a.txt", *b"abc")).await, Attached::Done);
    assert_eq!(attach(&process, 3, 1, attachment("empty", [])).await, Attached::Done);
    let views = process.store().attachments(id(1)).await.expect("they are listed");
    let told: Vec<_> = views.iter().map(|view| (view.name.as_str(), view.bytes, view.sum, view.at)).collect();
    let z = ("z.bin", large.len() as u64, Sum::of(&large), at(1));
    assert_eq!(told, [("a.txt", 3, Sum::of(b"abc"), at(2)), ("empty", 0, Sum::of(b""), at(3)), z]);
    let another = Process::start(harness).await;
    assert_eq!(read(&another, 1, "z.bin").await, Some(large));
    assert_eq!(read(&another, 1, "a.txt").await.as_deref(), Some(b"abc".as_slice()));
    assert_eq!(read(&another, 1, "empty").await, None);
    assert_eq!(read(&another, 2, "a.txt").await, None);
    assert_eq!(read(&another, 9, "a.txt").await, None);
}

pub async fn the_same_name_again_takes_the_place_of_the_first(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [held(1)]).await;
    attach(&process, 1, 1, attachment("a", vec![1; ATTACHMENT_PIECE_BYTES + 1])).await;
    assert_eq!(attach(&process, 2, 1, attachment("a", *b"new")).await, Attached::Done);
    assert_eq!(read(&process, 1, "a").await.as_deref(), Some(b"new".as_slice()));
    assert_eq!(names(&process, 1).await, ["a"]);
}

pub async fn only_a_held_job_takes_attachments(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [held(1), job(2)]).await;
    attach(&process, 1, 1, attachment("a", *b"abc")).await;
    assert_eq!(attach(&process, 1, 9, attachment("a", [])).await, Attached::Unknown);
    assert_eq!(attach(&process, 1, 2, attachment("a", [])).await, Attached::NotHeld(State::Available));
    assert_eq!(process.change(2, 1, Change::Release).await, Changed::Done);
    assert_eq!(attach(&process, 3, 1, attachment("b", [])).await, Attached::NotHeld(State::Available));
    for claimed in worker.claim_all(4).await {
        let n = number(claimed.id);
        assert_eq!(attach(&process, 4, n, attachment("b", [])).await, Attached::NotHeld(State::Running));
        worker.end(5, &claimed, completed()).await;
        assert_eq!(attach(&process, 6, n, attachment("b", [])).await, Attached::NotHeld(State::Completed));
    }
    // What it was given it has.
    assert_eq!(read(&process, 1, "a").await.as_deref(), Some(b"abc".as_slice()));
}

pub async fn attachments_go_with_their_job_and_with_an_expired_hold(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [held(1), held(2), held(3)]).await;
    for n in 1..=3 {
        attach(&process, 1, n, attachment("a", *b"abc")).await;
    }
    process.change(2, 1, Change::Cancel).await;
    process.change(2, 2, Change::Release).await;
    assert_eq!(names(&process, 1).await, ["a"], "a cancelled one may be run again");
    assert_eq!(process.change(3, 1, Change::Delete).await, Changed::Done);
    let late = HOLD_MAX.as_secs() + 1;
    assert_eq!(process.promote(late).await.expired, 1);
    assert_eq!(process.state(3).await, State::Dropped);
    for (n, expected) in [(1, None), (2, Some(b"abc".as_slice())), (3, None)] {
        assert_eq!(read(&process, n, "a").await.as_deref(), expected, "{n}");
        assert_eq!(names(&process, n).await.len(), usize::from(expected.is_some()), "{n}");
    }
    process.change(late, 2, Change::Cancel).await;
    process.prune(late + 1_000_000, keep_nothing()).await;
    assert_eq!(read(&process, 2, "a").await, None);
    // Another job of the same id has nothing of it.
    process.enqueue(late, [held(1), held(2)]).await;
    assert_eq!((names(&process, 1).await, names(&process, 2).await), (Vec::new(), Vec::new()));
}

pub async fn a_job_has_no_more_attachments_than_it_may(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, [held(1), held(2)]).await;
    for n in 0..ATTACHMENTS_MAX {
        assert_eq!(attach(&process, 1, 1, attachment(&format!("a{n}"), [])).await, Attached::Done);
    }
    assert!(is_refused(&process, 1, attachment("more", [])).await);
    assert_eq!(attach(&process, 1, 1, attachment("a0", *b"in its place")).await, Attached::Done);
    assert_eq!(names(&process, 1).await.len(), ATTACHMENTS_MAX);

    let whole = ATTACHMENTS_BYTES_MAX as usize / ATTACHMENT_BYTES_MAX;
    for n in 0..whole {
        let one = attachment(&format!("a{n}"), vec![0; ATTACHMENT_BYTES_MAX]);
        assert_eq!(attach(&process, 1, 2, one).await, Attached::Done);
    }
    assert!(is_refused(&process, 2, attachment("more", [1])).await);
    assert_eq!(names(&process, 2).await.len(), whole, "a refusal leaves what was there");
    assert_eq!(attach(&process, 1, 2, attachment("a0", [1])).await, Attached::Done);
    assert_eq!(attach(&process, 1, 2, attachment("more", [1])).await, Attached::Done);
}

pub async fn two_who_attach_at_once_both_do(harness: &impl Harness) {
    let processes = [Process::start(harness).await, Process::start(harness).await];
    processes[0].enqueue(0, [held(1)]).await;
    for round in 0..4 {
        let (one, other) = tokio::join!(
            attach(&processes[0], 1, 1, attachment(&format!("here{round}"), *b"h")),
            attach(&processes[1], 1, 1, attachment(&format!("there{round}"), *b"t"))
        );
        assert_eq!((one, other), (Attached::Done, Attached::Done));
    }
    assert_eq!(names(&processes[0], 1).await.len(), 8);
}
