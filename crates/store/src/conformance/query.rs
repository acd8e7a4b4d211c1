//! Listings: filters and pages.

use taskwright_core::attempt::Outcome;
use taskwright_core::permission::Sight;
use taskwright_core::{Namespace, NewJob, Owner, Priority, State};

use super::Harness;
use super::fixture::*;
use crate::{Change, Filter, Owners, Page, Paged, Pattern};

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text)).collect()
}

fn in_states(states: &[State]) -> Filter {
    Filter { states: states.to_vec(), ..Filter::default() }
}

/// One page of everything.
async fn page(process: &Process, after: Option<u32>, limit: usize, oldest_first: bool) -> Paged {
    let page = Page { after: after.map(id), limit, oldest_first };
    process.store().list(Filter::default(), page).await.expect("listed")
}

fn shown(paged: &Paged) -> Vec<u32> {
    paged.jobs.iter().map(|job| number(job.id)).collect()
}

pub async fn an_unknown_job_is_not_there(harness: &impl Harness) {
    let process = Process::start(harness).await;
    assert_eq!(process.store().job(id(1)).await.expect("looked for"), None);
    assert_eq!(process.list(Filter::default()).await, NONE);
}

pub async fn a_listing_shows_what_the_job_shows(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let batch = [NewJob { held: true, ..job(1) }, NewJob { run_at: Some(at(99)), ..job(2) }];
    process.enqueue(0, batch.into_iter().chain(jobs(3..=8))).await;
    let held = worker.claim(worker.ask(1, 4)).await;
    worker.end(2, &held[0], completed()).await;
    worker.end(2, &held[1], failed("boom")).await;
    worker.end(2, &held[2], Outcome::Fail { error: "bad".to_owned() }).await;
    process.change(3, 6, Change::Cancel).await;
    process.change(3, 7, Change::Cancel).await;
    let all = page(&process, None, 100, true).await;
    assert_eq!(shown(&all), [1, 2, 3, 4, 5, 6, 7, 8]);
    for view in &all.jobs {
        assert_eq!(*view, process.view(number(view.id)).await);
    }
}

pub async fn each_state_is_found(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, [NewJob { held: true, ..job(9) }]).await;
    process.promote(3_600).await;
    let batch = [NewJob { held: true, ..job(1) }, NewJob { run_at: Some(at(9_999)), ..job(2) }];
    process.enqueue(3_600, batch.into_iter().chain(jobs(3..=8))).await;
    let held = worker.claim(worker.ask(3_600, 4)).await;
    worker.end(3_601, &held[0], completed()).await;
    worker.end(3_601, &held[1], failed("boom")).await;
    worker.end(3_601, &held[2], Outcome::Fail { error: "bad".to_owned() }).await;
    process.change(3_602, 7, Change::Cancel).await;
    for (state, n) in [
        (State::Held, 1),
        (State::Scheduled, 2),
        (State::Completed, 3),
        (State::Retryable, 4),
        (State::Failed, 5),
        (State::Running, 6),
        (State::Cancelled, 7),
        (State::Available, 8),
        (State::Dropped, 9),
    ] {
        assert_eq!(process.list(in_states(&[state])).await, [n], "{state}");
        let of_kind = Filter { kinds: patterns(&["mail"]), ..in_states(&[state]) };
        assert_eq!(process.list(of_kind).await, [n], "{state}");
    }
    assert_eq!(process.list(in_states(&[State::Blocked])).await, NONE);
    let mut several = process.list(in_states(&[State::Failed, State::Held, State::Running])).await;
    several.sort_unstable();
    assert_eq!(several, [1, 5, 6]);
    assert_eq!(process.list(in_states(&State::ALL)).await.len(), 9);
}

pub async fn a_job_in_two_lists_of_states_is_found_once(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=3)).await;
    process.change(1, 2, Change::Cancel).await;
    let twice = in_states(&[State::Cancelled, State::Cancelled, State::Failed]);
    assert_eq!(process.list(twice).await, [2]);
}

pub async fn a_job_that_completed_is_found_once_however_often_it_ran(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=2)).await;
    for now in [1, 4, 7] {
        for held in worker.claim_all(now).await {
            worker.end(now + 1, &held, completed()).await;
        }
        process.change(now + 2, 1, Change::Redo { repeat: true }).await;
    }
    assert_eq!(process.list(in_states(&[State::Completed])).await, [2]);
    assert_eq!(process.list(in_states(&[State::Available])).await, [1]);
    let held = worker.take(10).await;
    worker.end(11, &held, completed()).await;
    assert_eq!(process.list(in_states(&[State::Completed])).await, [1, 2]);
}

pub async fn names_match_in_either_case_and_with_stars(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let of = |n, name| NewJob { kind: kind(name), ..job(n) };
    process.enqueue(0, [of(1, "Email.Welcome"), of(2, "email.bye"), of(3, "report"), of(4, "xemail.y")]).await;
    let found = async |texts: &[&str]| {
        process.list(Filter { kinds: patterns(texts), ..Filter::default() }).await
    };
    assert_eq!(found(&["email.welcome"]).await, [1]);
    assert_eq!(found(&["EMAIL.*"]).await, [1, 2]);
    assert_eq!(found(&["*e*l*"]).await, [1, 2, 4]);
    assert_eq!(found(&["email"]).await, NONE);
    assert_eq!(found(&["*"]).await, [1, 2, 3, 4]);
    assert_eq!(found(&["report", "*.bye"]).await, [2, 3]);
}

pub async fn queues_match_as_kinds_do(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let of = |n, name| NewJob { queue: queue(name), ..job(n) };
    process.enqueue(0, [of(1, "Slow"), of(2, "slow/2"), of(3, "fast")]).await;
    let found = async |texts: &[&str]| {
        process.list(Filter { queues: patterns(texts), ..Filter::default() }).await
    };
    assert_eq!(found(&["slow*"]).await, [1, 2]);
    assert_eq!(found(&["SLOW", "fast"]).await, [1, 3]);
    assert_eq!(found(&["none"]).await, NONE);
}

pub async fn a_namespace_matches_exactly(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let of = |n, name| NewJob { namespace: namespace(name), ..job(n) };
    process.enqueue(0, [job(1), of(2, "acme"), of(3, "acme2")]).await;
    let found =
        async |name| process.list(Filter { namespaces: namespace(name).into(), ..Filter::default() }).await;
    assert_eq!(found("acme").await, [2]);
    assert_eq!(found("default").await, [1]);
    assert_eq!(found("nobody").await, NONE);
}

pub async fn owners_match_by_pattern_or_by_there_being_none(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let of = |n, name| NewJob { owner: Some(Owner::new(name).expect("a plain text")), ..job(n) };
    process.enqueue(0, [job(1), of(2, "Ann Lee"), of(3, "bob"), of(4, "Änne")]).await;
    let found = async |owners| process.list(Filter { owners, ..Filter::default() }).await;
    assert_eq!(found(Owners::Any).await, [1, 2, 3, 4]);
    assert_eq!(found(Owners::Nobody).await, [1]);
    assert_eq!(found(Owners::Of(patterns(&["ann*", "BOB"]))).await, [2, 3]);
    assert_eq!(found(Owners::Of(patterns(&["änne"]))).await, [4]);
    assert_eq!(found(Owners::Of(Vec::new())).await, NONE);
}

pub async fn workers_match_what_they_run_now(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (first, second) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, jobs(1..=4)).await;
    let done = first.take(1).await;
    first.end(2, &done, completed()).await;
    first.take(3).await;
    second.take(3).await;
    let found = async |workers| process.list(Filter { workers, ..Filter::default() }).await;
    assert_eq!(found(vec![first.id]).await, [2]);
    assert_eq!(found(vec![first.id, second.id]).await, [2, 3]);
    assert_eq!(found(vec![worker_id(9)]).await, NONE);
}

pub async fn creation_times_are_inclusive_on_both_ends(harness: &impl Harness) {
    let process = Process::start(harness).await;
    for n in 1..=5 {
        process.enqueue(u64::from(n), [job(n)]).await;
    }
    let between = async |from, to| {
        let filter = Filter { created_from: from, created_to: to, ..Filter::default() };
        process.list(filter).await
    };
    assert_eq!(between(Some(at(2)), Some(at(4))).await, [2, 3, 4]);
    assert_eq!(between(Some(at(4)), None).await, [4, 5]);
    assert_eq!(between(None, Some(at(1))).await, [1]);
    assert_eq!(between(Some(at(4)), Some(at(3))).await, NONE);
}

pub async fn ids_are_found_and_unknown_ones_are_passed_over(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=5)).await;
    process.change(1, 4, Change::Cancel).await;
    let of = |numbers: &[u32]| Filter { ids: numbers.iter().map(|n| id(*n)).collect(), ..Filter::default() };
    assert_eq!(process.list(of(&[5, 77, 2, 2])).await, [2, 5]);
    assert_eq!(process.list(of(&[77])).await, NONE);
    let both = Filter { states: vec![State::Cancelled], ..of(&[3, 4]) };
    assert_eq!(process.list(both).await, [4]);
}

pub async fn all_fields_of_a_filter_must_match(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let base = |n| NewJob {
        namespace: namespace("acme"),
        owner: Some(Owner::new("ann").expect("a plain text")),
        kind: kind("report"),
        queue: queue("slow"),
        ..job(n)
    };
    let batch = [
        base(1),
        NewJob { namespace: namespace("other"), ..base(2) },
        NewJob { owner: None, ..base(3) },
        NewJob { kind: kind("mail"), ..base(4) },
        NewJob { queue: queue("fast"), ..base(5) },
        NewJob { held: true, ..base(6) },
    ];
    process.enqueue(0, batch).await;
    process.enqueue(9, [base(7)]).await;
    let filter = Filter {
        namespaces: namespace("acme").into(),
        owners: Owners::Of(patterns(&["ann"])),
        kinds: patterns(&["report"]),
        queues: patterns(&["slow"]),
        states: vec![State::Available],
        created_to: Some(at(5)),
        ..Filter::default()
    };
    assert_eq!(process.list(filter).await, [1]);
}

pub async fn pages_follow_insertion_in_both_directions(harness: &impl Harness) {
    let process = Process::start(harness).await;
    // The ids do not ascend; the insertion decides.
    process.enqueue(0, jobs([5, 3, 9, 1])).await;
    process.enqueue(1, jobs([7])).await;
    assert_eq!(shown(&page(&process, None, 2, true).await), [5, 3]);
    assert_eq!(shown(&page(&process, Some(3), 2, true).await), [9, 1]);
    assert_eq!(shown(&page(&process, Some(1), 2, true).await), [7]);
    assert_eq!(shown(&page(&process, None, 2, false).await), [7, 1]);
    assert_eq!(shown(&page(&process, Some(1), 9, false).await), [9, 3, 5]);
    assert_eq!(page(&process, Some(7), 2, true).await, Paged::default());
}

pub async fn pages_have_no_gap_and_no_double_while_jobs_come_and_move(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=20)).await;
    for (oldest_first, fresh) in [(true, 100), (false, 200)] {
        let mut seen = Vec::new();
        let mut after = None;
        // Reading three and adding one catches up after a dozen pages.
        for n in fresh..fresh + 50 {
            let paged = page(&process, after, 3, oldest_first).await;
            seen.extend(shown(&paged));
            process.enqueue(1, [job(n)]).await;
            let held = worker.take(1).await;
            worker.end(1, &held, completed()).await;
            after = paged.next.map(number);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(after, None, "the pages come to an end");
        let of_the_first_batch: Vec<u32> = seen.iter().copied().filter(|n| *n <= 20).collect();
        let in_order: Vec<u32> = if oldest_first { (1..=20).collect() } else { (1..=20).rev().collect() };
        assert_eq!(of_the_first_batch, in_order);
        seen.sort_unstable();
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

pub async fn pages_of_what_runs_and_what_completed_have_no_gap_and_no_double(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=30)).await;
    let held = worker.claim_all(1).await;
    // A third ends together, a third one by one and the last first, and of these some leave more than their times.
    let third = |n: u32| held.iter().filter(move |job| number(job.id) % 3 == n);
    worker.finish(2, third(1).map(|job| ending(2, job, completed())).collect()).await;
    for job in third(2).rev() {
        let result = (number(job.id) > 15).then(|| "1".to_owned());
        worker.end(3, job, Outcome::Completed { result }).await;
    }
    let listed = [(State::Completed, vec![1, 2]), (State::Running, vec![0])];
    for (oldest_first, (state, thirds)) in [true, false].into_iter().flat_map(|way| listed.clone().map(|one| (way, one))) {
        let mut expected: Vec<u32> = (1..=30).filter(|n| thirds.contains(&(n % 3))).collect();
        if !oldest_first {
            expected.reverse();
        }
        let (mut seen, mut after) = (Vec::new(), None);
        while seen.len() < 30 {
            let part = Page { after: after.map(id), limit: 4, oldest_first };
            let paged = process.store().list(in_states(&[state]), part).await.expect("listed");
            seen.extend(shown(&paged));
            after = paged.next.map(number);
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, expected, "{state}, the oldest first: {oldest_first}");
    }
}

pub async fn a_listing_goes_on_where_a_job_was_removed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=6)).await;
    process.change(1, 3, Change::Cancel).await;
    process.change(1, 3, Change::Delete).await;
    assert_eq!(shown(&page(&process, Some(3), 2, true).await), [4, 5]);
    assert_eq!(shown(&page(&process, Some(3), 2, false).await), [2, 1]);
}

pub async fn a_page_is_held_at_its_limit(harness: &impl Harness) {
    let process = Process::start(harness).await;
    process.enqueue(0, jobs(1..=1_005)).await;
    let first = page(&process, None, usize::MAX, true).await;
    assert_eq!((first.jobs.len(), first.next), (1_000, Some(id(1_000))));
    let rest = page(&process, Some(1_000), usize::MAX, true).await;
    assert_eq!((shown(&rest), rest.next), ((1_001..=1_005).collect(), None));
}

pub async fn priorities_and_failures_match_between_bounds(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let new = |n: u32, priority| NewJob { priority: Priority(priority), ..job(n) };
    process.enqueue(0, [new(1, 10), new(2, 20), new(3, 30), new(4, 40)]).await;
    let held = worker.claim(worker.ask(1, 3)).await;
    worker.end(2, &held[0], completed()).await;
    worker.end(2, &held[1], failed("boom")).await;
    process.promote(99).await;
    let again = worker.take(99).await;
    worker.end(99, &again, failed("boom")).await;
    let bounds = |from: Option<i16>, to: Option<i16>| Filter {
        priority_from: from.map(Priority),
        priority_to: to.map(Priority),
        ..Filter::default()
    };
    assert_eq!(process.list(bounds(Some(20), Some(30))).await, [2, 3]);
    assert_eq!(process.list(bounds(Some(31), None)).await, [4]);
    assert_eq!(process.list(bounds(None, Some(10))).await, [1]);
    // One completed, one failed twice, one runs for the first time, one waits.
    let failed = |failures_from, failures_to| Filter { failures_from, failures_to, ..Filter::default() };
    assert_eq!(process.list(failed(Some(1), None)).await, [2]);
    assert_eq!(process.list(failed(Some(2), Some(2))).await, [2]);
    assert_eq!(process.list(failed(Some(3), None)).await, [0; 0]);
    assert_eq!(process.list(failed(None, Some(0))).await, [1, 3, 4]);
    let kinds = vec![Pattern::new("mail")];
    assert_eq!(process.list(Filter { kinds, ..failed(None, Some(1)) }).await, [1, 3, 4]);
}

pub async fn who_asks_sees_whole_namespaces_and_elsewhere_what_is_its_own(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let of = |n: u32, namespace: &str, owner: Option<&str>| NewJob {
        namespace: Namespace::new(namespace).expect("a name"),
        owner: owner.map(|name| Owner::new(name).expect("a name")),
        ..job(n)
    };
    let jobs = [of(1, "a", None), of(2, "a", Some("bob")), of(3, "b", Some("bob")), of(4, "b", Some("alice")), of(5, "c", None)];
    process.enqueue(0, jobs).await;
    process.change(1, 3, Change::Cancel).await;
    let seen = async |namespaces: &[&str], own: Option<&str>, filter: Filter| {
        let names = namespaces.iter().map(|name| Namespace::new(name).expect("a name"));
        let own = own.map(|name| Owner::new(name).expect("a name"));
        process.list(Filter { sight: Some(Sight { namespaces: names.collect(), own }), ..filter }).await
    };
    assert_eq!(seen(&["a"], None, Filter::default()).await, [1, 2]);
    assert_eq!(seen(&["a"], Some("alice"), Filter::default()).await, [1, 2, 4]);
    assert_eq!(seen(&[], Some("bob"), Filter::default()).await, [2, 3]);
    assert_eq!(seen(&["a", "c"], None, Filter::default()).await, [1, 2, 5]);
    assert_eq!(seen(&[], None, Filter::default()).await, [0_u32; 0]);
    // Whatever else it asks for, and by whichever index it is found.
    assert_eq!(seen(&[], Some("bob"), in_states(&[State::Cancelled])).await, [3]);
    assert_eq!(seen(&[], Some("alice"), in_states(&[State::Cancelled])).await, [0_u32; 0]);
    assert_eq!(seen(&["a"], None, Filter { ids: vec![id(2), id(3), id(5)], ..Filter::default() }).await, [2]);
    let in_b = Filter { namespaces: namespace("b").into(), ..Filter::default() };
    assert_eq!(seen(&["a"], Some("alice"), in_b).await, [4]);
}
