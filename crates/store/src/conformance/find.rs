//! Listings: by when jobs ran, where, whether somebody asked for them to be cancelled, and what they were given.

use taskwright_core::attempt::Outcome;
use taskwright_core::limit::{SEARCH_BYTES_MAX, SEARCH_JOBS_MAX};
use taskwright_core::permission::Sight;
use taskwright_core::{Args, ArgsSearch, Garbage, NewJob, Owner, Pattern, State};

use super::Harness;
use super::fixture::*;
use crate::{Change, Filter, Namespaces, NewWorker, Owners, Page, Paged};

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text)).collect()
}

fn given(n: u32, args: &str) -> NewJob {
    NewJob { args: Args::from_json(args).expect("JSON"), ..job(n) }
}

fn search(conditions: &[&str]) -> ArgsSearch {
    let conditions = conditions.iter().map(|text| text.parse().expect("a condition")).collect();
    ArgsSearch::new(conditions).expect("few conditions")
}

fn with_args(conditions: &[&str]) -> Filter {
    Filter { args: search(conditions), ..Filter::default() }
}

async fn page(process: &Process, filter: &Filter, after: &Paged, limit: usize, oldest_first: bool) -> Paged {
    let page = Page { after: after.next, limit, oldest_first };
    process.store().list(filter.clone(), page).await.expect("listed")
}

/// All pages of a listing: their jobs, and how many pages there were.
async fn pages(process: &Process, filter: &Filter, limit: usize, oldest_first: bool) -> (Vec<u32>, usize) {
    let mut paged = page(process, filter, &Paged::default(), limit, oldest_first).await;
    let (mut found, mut count) = (Vec::new(), 1);
    loop {
        found.extend(paged.jobs.iter().map(|job| number(job.id)));
        if paged.next.is_none() {
            return (found, count);
        }
        paged = page(process, filter, &paged, limit, oldest_first).await;
        count += 1;
    }
}

pub async fn attempts_are_found_by_when_they_were_claimed(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=5)).await;
    for n in 1..=4_u64 {
        let held = worker.take(n * 10).await;
        match n {
            1 => drop(worker.end(11, &held, completed()).await),
            2 => drop(worker.end(21, &held, failed("boom")).await),
            3 => drop(worker.end(31, &held, Outcome::Fail { error: "bad".to_owned() }).await),
            // The fourth runs, and the fifth never has.
            _ => {}
        }
    }
    let found = async |from: Option<u64>, to: Option<u64>| {
        let (claimed_from, claimed_to) = (from.map(at), to.map(at));
        process.list(Filter { claimed_from, claimed_to, ..Filter::default() }).await
    };
    assert_eq!(found(Some(20), Some(30)).await, [2, 3], "both ends are part of it");
    assert_eq!(found(Some(21), None).await, [3, 4]);
    assert_eq!(found(None, Some(19)).await, [1]);
    assert_eq!(found(None, Some(9_999)).await, [1, 2, 3, 4]);
    assert_eq!(found(Some(0), None).await, [1, 2, 3, 4]);
    assert_eq!(found(Some(30), Some(20)).await, NONE);
    // The newest attempt is the one that counts.
    process.promote(100).await;
    let again = worker.claim(worker.ask(100, 2)).await;
    assert_eq!(numbers(&again), [5, 2], "what is tried again stands behind what has waited for longer");
    assert_eq!(found(Some(20), Some(30)).await, [3]);
    assert_eq!(found(Some(100), None).await, [2, 5]);
}

pub async fn jobs_are_found_by_when_they_were_over(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=6)).await;
    let held = worker.claim(worker.ask(1, 4)).await;
    worker.end(10, &held[0], completed()).await;
    worker.end(20, &held[1], Outcome::Fail { error: "bad".to_owned() }).await;
    worker.end(25, &held[2], failed("boom")).await;
    process.change(30, 5, Change::Cancel).await;
    let found = async |from: Option<u64>, to: Option<u64>| {
        let (ended_from, ended_to) = (from.map(at), to.map(at));
        process.list(Filter { ended_from, ended_to, ..Filter::default() }).await
    };
    // The third waits for its next attempt, the fourth runs, the sixth never did.
    assert_eq!(found(Some(10), Some(30)).await, [1, 2, 5]);
    assert_eq!(found(Some(20), Some(20)).await, [2]);
    assert_eq!(found(Some(11), None).await, [2, 5]);
    assert_eq!(found(None, Some(29)).await, [1, 2]);
    assert_eq!(found(Some(31), None).await, NONE);
    let all_at_once = Filter {
        states: vec![State::Completed, State::Failed],
        claimed_to: Some(at(1)),
        ended_from: Some(at(10)),
        created_to: Some(at(0)),
        ..Filter::default()
    };
    assert_eq!(process.list(all_at_once).await, [1, 2]);
    process.change(40, 2, Change::Redo { repeat: false }).await;
    assert_eq!(found(Some(0), None).await, [1, 5], "what runs once more is not over");
}

pub async fn that_a_cancel_was_asked_for_is_told_from_then_on(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    process.enqueue(0, jobs(1..=7)).await;
    let held = worker.claim(worker.ask(1, 5)).await;
    for n in [1, 2, 3, 4, 6] {
        process.change(2, n, Change::Cancel).await;
    }
    process.change(2, 7, Change::Drop).await;
    let found = async |requested: bool, states: &[State]| {
        let (states, cancel_requested) = (states.to_vec(), Some(requested));
        process.list(Filter { states, cancel_requested, ..Filter::default() }).await
    };
    assert_eq!(found(true, &[]).await, [1, 2, 3, 4, 6]);
    assert_eq!(found(false, &[]).await, [5, 7]);
    worker.end(3, &held[0], completed()).await;
    worker.end(3, &held[1], Outcome::Fail { error: "bad".to_owned() }).await;
    worker.end(3, &held[2], failed("boom")).await;
    worker.end(3, &held[4], completed()).await;
    // One completed all the same, one failed for good, one is cancelled, one runs, and one never ran.
    assert_eq!(found(true, &[]).await, [1, 2, 3, 4, 6]);
    assert_eq!(found(true, &[State::Completed]).await, [1]);
    assert_eq!(found(false, &[State::Completed]).await, [5]);
    assert_eq!(found(true, &[State::Failed]).await, [2]);
    assert_eq!(found(true, &[State::Cancelled]).await, [3, 6]);
    assert_eq!(found(true, &[State::Dropped]).await, NONE);
    assert_eq!(found(false, &[State::Dropped]).await, [7]);
    assert!(process.view(1).await.cancel_requested && !process.view(7).await.cancel_requested);
    // Run once more, it has not been asked for.
    for n in [1, 3] {
        process.change(4, n, Change::Redo { repeat: true }).await;
    }
    assert_eq!(found(true, &[]).await, [2, 4, 6]);
    for again in worker.claim_all(5).await {
        worker.end(6, &again, completed()).await;
    }
    assert_eq!(found(true, &[State::Completed]).await, NONE);
    process.change(7, 2, Change::Delete).await;
    assert_eq!(found(true, &[]).await, [4, 6]);
}

pub async fn a_job_is_found_by_who_runs_it_or_ran_it_last(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let (first, second) = (process.worker(1).await, process.worker(2).await);
    process.enqueue(0, jobs(1..=5)).await;
    let done = first.take(1).await;
    first.end(2, &done, completed()).await;
    let retried = first.take(3).await;
    first.end(4, &retried, failed("boom")).await;
    first.take(5).await;
    second.take(5).await;
    let found =
        async |last_workers| process.list(Filter { last_workers, ..Filter::default() }).await;
    assert_eq!(found(vec![first.id]).await, [1, 2, 3]);
    assert_eq!(found(vec![second.id]).await, [4]);
    assert_eq!(found(vec![first.id, second.id]).await, [1, 2, 3, 4]);
    assert_eq!(found(vec![worker_id(9)]).await, NONE);
    process.promote(60).await;
    let again = second.claim(second.ask(60, 2)).await;
    assert_eq!(numbers(&again), [5, 2]);
    assert_eq!(found(vec![first.id]).await, [1, 3], "the last one is the one that counts");
    let both = Filter { workers: vec![second.id], last_workers: vec![first.id], ..Filter::default() };
    assert_eq!(process.list(both).await, NONE);
}

pub async fn a_job_is_found_by_the_machine_that_it_ran_on_last(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let on = |n, host: &str| NewWorker { host: host.to_owned(), ..new_worker(n) };
    for (n, host) in [(1, "Rack-1.example"), (2, "rack-2.example")] {
        process.store().register(at(0), monotonic_us(0), on(n, host)).await.expect("registered");
    }
    process.enqueue(0, jobs(1..=4)).await;
    let mut running = Vec::new();
    for (n, job) in [(1, 1), (2, 2), (1, 3)] {
        let claim = crate::Claim {
            now: at(1),
            worker: worker_id(n),
            limit: 1,
            kinds: vec![kind("mail")],
            queues: None,
            namespace: None,
            priority_max: None,
        };
        let claimed = process.store().claim(claim).await.expect("answered").jobs;
        assert_eq!(numbers(&claimed), [job]);
        let end = ending(2, &claimed[0], completed());
        if job == 1 {
            process.store().finish(at(2), worker_id(n), vec![end]).await.expect("ended");
        } else {
            running.push((worker_id(n), end));
        }
    }
    let found = async |hosts: &[&str]| {
        process.list(Filter { hosts: patterns(hosts), ..Filter::default() }).await
    };
    assert_eq!(found(&["rack-1.example"]).await, [1, 3]);
    assert_eq!(found(&["RACK-2*"]).await, [2]);
    assert_eq!(found(&["*.example"]).await, [1, 2, 3], "what never ran, ran nowhere");
    assert_eq!(found(&["rack-1", "elsewhere"]).await, NONE);
    assert_eq!(process.view(1).await.host.as_deref(), Some("Rack-1.example"));
    assert_eq!(process.view(4).await.host, None);
    // It goes on being told when the worker is forgotten.
    for (worker, end) in running {
        process.store().finish(at(3), worker, vec![end]).await.expect("ended");
    }
    for n in [1, 2] {
        process.store().unregister(at(3), worker_id(n)).await.expect("gone");
    }
    process.collect(Garbage::Workers, at(1_000), 10).await;
    assert_eq!(found(&["rack-1.*"]).await, [1, 3]);
}

pub async fn several_namespaces_are_listed_together(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let of = |n, name: &str, owner: Option<&str>| NewJob {
        namespace: namespace(name),
        owner: owner.map(|owner| Owner::new(owner).expect("a name")),
        ..job(n)
    };
    let batch = [job(1), of(2, "a", None), of(3, "b", Some("bob")), of(4, "b", None), of(5, "c", Some("bob"))];
    process.enqueue(0, batch).await;
    let among = |names: &[&str]| Filter {
        namespaces: Namespaces::Of(names.iter().map(|name| namespace(name)).collect()),
        ..Filter::default()
    };
    assert_eq!(process.list(Filter::default()).await, [1, 2, 3, 4, 5]);
    assert_eq!(process.list(among(&["a", "b"])).await, [2, 3, 4]);
    assert_eq!(process.list(among(&["b", "b", "nobody"])).await, [3, 4]);
    assert_eq!(process.list(among(&["default", "c"])).await, [1, 5]);
    assert_eq!(process.list(among(&["A"])).await, NONE, "a name is a name, and no pattern");
    assert_eq!(process.list(among(&[])).await, NONE, "none of them is not all of them");
    // What whoever asks may not see stays out of it.
    let own = Some(Owner::new("bob").expect("a name"));
    let seen = Sight { namespaces: vec![namespace("a")], own };
    let asked = Filter { sight: Some(seen), ..among(&["a", "b"]) };
    assert_eq!(process.list(asked).await, [2, 3]);
}

pub async fn arguments_are_found_by_what_stands_at_a_path(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let batch = [
        given(1, r#"{"customer": {"id": 42, "name": "Ann Lee"}, "tags": ["New", "vip"]}"#),
        given(2, r#"{"customer": {"id": 43, "name": "Bob"}, "tags": []}"#),
        given(3, r#"{"customer": {"id": "42"}, "note": "customer.id=43"}"#),
        job(4),
        given(5, r#"[{"id": 42}]"#),
    ];
    process.enqueue(0, batch).await;
    let found = async |conditions: &[&str]| process.list(with_args(conditions)).await;
    assert_eq!(found(&["customer.id=42"]).await, [1, 3]);
    assert_eq!(found(&["customer.id=43"]).await, [2], "it is looked for at its place");
    assert_eq!(found(&["customer.id=42", "customer.id=43"]).await, [1, 2, 3], "OR within one path");
    assert_eq!(found(&["customer.id=42", "customer.name=ann*"]).await, [1], "AND between them");
    assert_eq!(found(&["tags.*=VIP"]).await, [1]);
    assert_eq!(found(&["*.id=42"]).await, [1, 3, 5]);
    assert_eq!(found(&["0.id=42"]).await, [5]);
    assert_eq!(found(&["customer=*"]).await, [1, 2, 3]);
    assert_eq!(found(&["customer.id=4"]).await, NONE);
}

pub async fn a_search_in_arguments_is_narrowed_by_all_else(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let worker = process.worker(1).await;
    let of = |n: u32| NewJob {
        kind: kind(if n.is_multiple_of(2) { "mail" } else { "report" }),
        namespace: namespace(if n <= 6 { "a" } else { "b" }),
        ..given(n, r#"{"to": "x"}"#)
    };
    process.enqueue(0, (1..=12).map(of)).await;
    let held = worker.claim(worker.ask(1, 8)).await;
    worker.finish(2, held[..4].iter().map(|job| ending(2, job, completed())).collect()).await;
    let with = |filter: Filter| Filter { args: search(&["to=X"]), ..filter };
    let in_states = |states: &[State]| Filter { states: states.to_vec(), ..Filter::default() };
    let listed = async |filter: Filter| process.list(with(filter)).await;
    assert_eq!(listed(Filter::default()).await, (1..=12).collect::<Vec<_>>());
    assert_eq!(listed(in_states(&[State::Completed])).await, [1, 2, 3, 4]);
    assert_eq!(listed(in_states(&[State::Running])).await, [5, 6, 7, 8]);
    assert_eq!(listed(in_states(&[State::Available])).await, [9, 10, 11, 12]);
    let of_kind = Filter { kinds: patterns(&["mail"]), ..in_states(&[State::Available, State::Completed]) };
    assert_eq!(listed(of_kind).await, [2, 4, 10, 12]);
    let in_a = Filter { namespaces: namespace("a").into(), ..in_states(&[State::Completed]) };
    assert_eq!(listed(in_a).await, [1, 2, 3, 4]);
    let young = Filter { created_from: Some(at(1)), ..Filter::default() };
    assert_eq!(listed(young).await, NONE);
    let sight = Some(Sight { namespaces: vec![namespace("b")], own: None });
    assert_eq!(listed(Filter { sight, ..Filter::default() }).await, (7..=12).collect::<Vec<_>>());
    assert_eq!(listed(Filter { ids: vec![id(3), id(99)], ..Filter::default() }).await, [3]);
}

pub async fn pages_of_a_search_have_no_gap_and_no_double(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let is_meant = |n: &u32| n % 3 == 1;
    let of = |n: u32| given(n, if is_meant(&n) { r#"{"to": "us"}"# } else { r#"{"to": "them"}"# });
    process.enqueue(0, (1..=40).map(of)).await;
    let mut meant: Vec<u32> = (1..=40).filter(is_meant).collect();
    for oldest_first in [true, false] {
        for limit in [1, 4, 100] {
            let (found, _) = pages(&process, &with_args(&["to=us"]), limit, oldest_first).await;
            assert_eq!(found, meant, "{limit} at a time, the oldest first: {oldest_first}");
        }
        meant.reverse();
    }
}

pub async fn a_page_looks_into_the_arguments_of_so_many_jobs_and_no_more(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let most = u32::try_from(SEARCH_JOBS_MAX).expect("a few thousand");
    // The oldest and the newest are meant; those of another kind between them are not looked into.
    let of = |n: u32| match n {
        1 | 2 => given(n, r#"{"to": "us"}"#),
        n if n > 2 * most + 2 => NewJob { kind: kind("report"), ..job(n) },
        n => job(n),
    };
    process.enqueue(0, [of(1)]).await;
    process.enqueue(0, (3..2 * most + 102).map(of)).await;
    process.enqueue(0, [of(2)]).await;
    let filter = Filter { kinds: patterns(&["mail"]), ..with_args(&["to=us"]) };
    let first = page(&process, &filter, &Paged::default(), 10, false).await;
    assert_eq!((first.jobs.len(), first.next.is_some()), (1, true), "it ends with what it has, and goes on");
    let second = page(&process, &filter, &first, 10, false).await;
    assert_eq!((second.jobs.len(), second.next.is_some()), (0, true), "a page may be empty, and go on");
    let (found, count) = pages(&process, &filter, 10, false).await;
    assert_eq!((found, count), (vec![2, 1], 3));
    let (found, count) = pages(&process, &filter, 10, true).await;
    assert_eq!((found, count), (vec![1, 2], 3));
}

pub async fn a_page_looks_into_so_many_bytes_of_arguments_and_no_more(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let large = 900 << 10;
    let args = format!(r#"{{"fill": "{}", "to": "us"}}"#, "x".repeat(large));
    process.enqueue(0, (1..=12).map(|n| given(n, &args))).await;
    let fit = u32::try_from(SEARCH_BYTES_MAX.div_ceil(large)).expect("a handful");
    let first = page(&process, &with_args(&["to=them"]), &Paged::default(), 10, true).await;
    assert_eq!((first.jobs.len(), first.next.map(number)), (0, Some(fit)));
    let (found, count) = pages(&process, &with_args(&["to=us"]), 20, true).await;
    assert_eq!((found, count), ((1..=12).collect(), 2));
}

pub async fn where_a_listing_goes_on_tells_of_no_job_that_it_does_not_show(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let of = |n: u32, name: &str, owner: &str| NewJob {
        namespace: namespace(name),
        owner: Some(Owner::new(owner).expect("a name")),
        run_at: Some(at(9_999)),
        ..job(n)
    };
    // More of somebody else's than a page looks at, between two that are seen.
    process.enqueue(0, [of(1, "a", "ann")]).await;
    for from in [10_000, 20_000, 30_000] {
        process.enqueue(0, (from..from + 9_000).map(|n| of(n, "b", "bob"))).await;
    }
    process.enqueue(0, [of(2, "a", "ann")]).await;
    let waiting = Filter { states: vec![State::Scheduled], ..Filter::default() };
    let sight = |names: &[&str]| Sight {
        namespaces: names.iter().map(|name| namespace(name)).collect(),
        own: Some(Owner::new("ann").expect("a name")),
    };
    for filter in [
        Filter { namespaces: namespace("a").into(), ..waiting.clone() },
        Filter { sight: Some(sight(&["a"])), ..waiting.clone() },
        Filter { sight: Some(sight(&[])), ..Filter::default() },
    ] {
        for oldest_first in [true, false] {
            let mut paged = page(&process, &filter, &Paged::default(), 10, oldest_first).await;
            let mut found = Vec::new();
            loop {
                found.extend(paged.jobs.iter().map(|job| number(job.id)));
                let Some(next) = paged.next else { break };
                let told = process.store().job(next).await.expect("looked for");
                let theirs = told.map(|job| job.view.namespace.to_string());
                assert!(theirs.as_deref() != Some("b"), "{next} is somebody else's");
                paged = page(&process, &filter, &paged, 10, oldest_first).await;
            }
            found.sort_unstable();
            assert_eq!(found, [1, 2], "the oldest first: {oldest_first}");
        }
    }
}

pub async fn available_jobs_are_listed_whole_whatever_lies_among_them(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let of = |n: u32| {
        let is_mine = n.is_multiple_of(7);
        NewJob {
            owner: Some(Owner::new(if is_mine { "ann" } else { "bob" }).expect("a name")),
            queue: queue(if n.is_multiple_of(3) { "a" } else { "b" }),
            // Some between them, and many on top of them, are not available.
            run_at: (n.is_multiple_of(5) || n > 7_000).then(|| at(9_999)),
            ..job(n)
        }
    };
    for first in (1..=9_500).step_by(500) {
        process.enqueue(0, (first..first + 500).map(of)).await;
    }
    let available = Filter { states: vec![State::Available], ..Filter::default() };
    let is_available = |n: &u32| !n.is_multiple_of(5) && *n <= 7_000;
    let owners = Owners::Of(vec![Pattern::new("ann")]);
    let queues = vec![Pattern::new("a")];
    type Matches = fn(&u32) -> bool;
    let cases: [(Filter, Matches); 4] = [
        (available.clone(), |_| true),
        (Filter { queues: queues.clone(), ..available.clone() }, |n| n.is_multiple_of(3)),
        (Filter { owners: owners.clone(), ..available.clone() }, |n| n.is_multiple_of(7)),
        (Filter { owners, queues, ..available }, |n| n.is_multiple_of(21)),
    ];
    for (filter, is_meant) in cases {
        let mut expected: Vec<u32> = (1..=9_500).filter(is_available).filter(is_meant).collect();
        assert_eq!(pages(&process, &filter, 400, true).await.0, expected);
        expected.reverse();
        assert_eq!(pages(&process, &filter, 400, false).await.0, expected);
    }
}

pub async fn a_page_ends_however_little_of_what_it_looks_at_matches(harness: &impl Harness) {
    let process = Process::start(harness).await;
    let by = |n: u32, name: &str| NewJob {
        owner: Some(Owner::new(name).expect("a name")),
        ..job(n)
    };
    process.enqueue(0, [by(1, "ann")]).await;
    for first in (1_000..25_000).step_by(1_000) {
        process.enqueue(1, (first..first + 1_000).map(|n| by(n, "bob"))).await;
    }
    let filters = [
        Filter { owners: Owners::Of(vec![Pattern::new("ann")]), ..Filter::default() },
        Filter { created_to: Some(at(0)), ..Filter::default() },
    ];
    for filter in filters {
        let first = page(&process, &filter, &Paged::default(), 10, false).await;
        let is_short = first.jobs.is_empty() && first.next.is_some();
        let (found, count) = pages(&process, &filter, 10, false).await;
        assert_eq!(found, [1]);
        // The reference keeps everything at hand, and may look at all of it.
        assert!(is_short == (count > 1) && count <= 4, "{count} pages");
    }
}
