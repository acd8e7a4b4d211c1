//! `/api/v1/jobs`: store jobs, look at them, change them, wait for them.

use std::time::Duration;

use http::{HeaderMap, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use taskwright::Client;
use taskwright_core::Permission as P;
use taskwright_core::limit::ENQUEUE_JOBS_MAX;
use taskwright_core::time::{parse_duration, parse_time_limit};
use taskwright_core::{
    Args, ArgsMatch, ArgsSearch, Backoff, Delivery, JobId, Kind, MaxAttempts, NewJob, Owner, Priority,
    QueueName, State, Timestamp, UniqueKey, UniqueScope, WorkerId,
};
use taskwright_store::{
    JobDetail, JobView, Namespaces, Owners, Page, Pattern, Progress, RequestKey, Requested,
};

use super::{page_size, reserved};
use crate::answer::job::{Commented, Piece, Stored, Whole};
use crate::http::call::{Call, Nothing};
use crate::http::caller::Reach;
use crate::http::cursor;
use crate::http::operation::{Access, Operation};
use crate::http::problem::{Problem, Sort};
use crate::http::reply::{Created, Items, Json};
use crate::http::watcher::Look;
use crate::submit::{self, Asked};

/// The header by which a request that was sent twice is recognised.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const IDEMPOTENCY: &[(&str, &str)] = &[(
    "Idempotency-Key",
    "A text of your own, 1 to 255 bytes: a request that is sent again with the same one stores nothing new, and is answered \
     with the same id, for 24 h. The same key with another request is refused.",
)];
/// Bytes of a request that stores many jobs: 24 MiB, so that 16 MiB of arguments have room in it.
const MANY_BYTES_MAX: usize = 24 << 20;
/// The longest that one request waits for a job.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Pieces of a log in one answer, unless the request says otherwise.
const PIECES: u32 = 200;

/// The operations.
pub(super) fn operations() -> Vec<Operation> {
    use Method as M;
    let view = Access::NeedsOwn(P::JobsView);
    let enqueue = Access::Needs(P::JobsEnqueue);
    vec![
        Operation::new("jobs.enqueue", M::POST, "/api/v1/jobs", enqueue, "Store a new job", self::enqueue)
            .headers(IDEMPOTENCY),
        Operation::new(
            "jobs.enqueue-many",
            M::POST,
            "/api/v1/jobs/batch",
            enqueue,
            "Store up to 10,000 new jobs, all or none",
            enqueue_many,
        )
        .headers(IDEMPOTENCY)
        .body_bytes_max(MANY_BYTES_MAX),
        Operation::new("jobs.list", M::GET, "/api/v1/jobs", view, "List jobs, the newest first", list)
            .several_namespaces(),
        Operation::new(
            "jobs.show",
            M::GET,
            "/api/v1/jobs/{id}",
            view,
            "Show everything about a job but its log",
            show,
        ),
        Operation::new(
            "jobs.result",
            M::GET,
            "/api/v1/jobs/{id}/result",
            view,
            "Give what a completed job returned",
            result,
        ),
        Operation::new(
            "jobs.progress",
            M::GET,
            "/api/v1/jobs/{id}/progress",
            view,
            "Tell how far a job is",
            progress,
        ),
        Operation::new(
            "jobs.logs",
            M::GET,
            "/api/v1/jobs/{id}/logs",
            Access::NeedsOwn(P::JobsLogs),
            "Give what a job wrote",
            logs,
        ),
        Operation::new(
            "jobs.comment",
            M::POST,
            "/api/v1/jobs/{id}/comments",
            Access::NeedsOwn(P::JobsComment),
            "Put a comment on a job",
            comment,
        ),
        Operation::new(
            "jobs.wait",
            M::GET,
            "/api/v1/jobs/{id}/wait",
            view,
            "Wait until a job is over, or the time is up, and give the job as it is then",
            wait,
        )
        .stream(),
    ]
}

// -- storing

/// A job that is to be stored. What it does not say comes from the server's `[tasks.KIND]`, and then from the defaults.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewJob")]
pub(crate) struct Submission {
    /// The task.
    pub(crate) kind: Kind,
    /// What its handler is given: any JSON up to 1 MiB, kept as its exact bytes.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    pub(crate) args: Option<Box<RawValue>>,
    /// The queue it waits in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) queue: Option<QueueName>,
    /// How urgent it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<Priority>,
    /// Not before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) run_at: Option<Timestamp>,
    /// How often it is executed at most; `"none"` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_attempts: Option<Text>,
    /// Delays after failures, like `exponential:10s:1h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backoff: Option<String>,
    /// How long one attempt may take, like `90s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Text>,
    /// At most one job of this kind and key waits at a time: a second one is answered with the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unique: Option<String>,
    /// The key is held until the job is over.
    #[serde(default)]
    pub(crate) unique_until_over: bool,
    /// It waits for its release; for an hour, then it is dropped.
    #[serde(default)]
    pub(crate) hold: bool,
    /// What happens when its worker is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) delivery: Option<Delivery>,
    /// Whose it is. With a token or a session it is always the caller's, whatever this says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<Owner>,
    /// Accept a kind that this server does not know: another program runs it.
    #[serde(default)]
    pub(crate) any_kind: bool,
}

/// A number, or a text that says one.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Text {
    /// A number.
    Number(u64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Submission {
    /// The job that is asked for.
    fn job<P, Q, B>(self, call: &Call<P, Q, B>, id: JobId) -> Result<NewJob, Problem> {
        let (app, config) = (&call.api.app, &call.api.config());
        if !self.any_kind {
            submit::check_kind(app, config, self.kind.as_str(), "\"any_kind\": true")?;
        }
        reserved::check_kind(call, self.kind.as_str())?;
        if let Some(queue) = &self.queue {
            reserved::check_queue(call, self.kind.as_str(), queue)?;
        }
        let args = match self.args {
            Some(args) => Args::from_json(args.get())?,
            None => Args::default(),
        };
        let scope = if self.unique_until_over { UniqueScope::Active } else { UniqueScope::Waiting };
        let unique = self.unique.as_deref().map(UniqueKey::new).transpose()?;
        let asked = Asked {
            // Whoever is known owns what they submit.
            owner: call.caller.owner().or(self.owner),
            queue: self.queue,
            priority: self.priority,
            run_at: self.run_at,
            held: self.hold,
            max_attempts: self
                .max_attempts
                .map(|text| text.to_string().parse::<MaxAttempts>())
                .transpose()?,
            backoff: self.backoff.map(|text| text.parse::<Backoff>()).transpose()?,
            timeout: self.timeout.map(|text| parse_time_limit(&text.to_string())).transpose()?,
            delivery: self.delivery,
            unique: unique.map(|key| key.with_scope(scope)),
        };
        Ok(asked.job(&call.api.app, config, id, call.namespace_or_default(), self.kind, args)?)
    }
}

async fn enqueue(call: Call<Nothing, Nothing, Submission>) -> Result<Created<Stored>, Problem> {
    let (call, submission) = call.split();
    let request = request_key(&call, &submission)?;
    let job = submission.job(&call, call.api.env.job_id())?;
    let acting = call.acting(Some(&job.namespace), &job.kind);
    let Some(request) = request else { return Ok(Created((*acting.enqueue(job).await?).into())) };
    // A request has one answer.
    store_once(&acting, call.now(), request, vec![job]).await?.pop().map(Created).ok_or_else(other_request)
}

/// Stores the jobs of a request, unless it was there before.
async fn store_once(
    acting: &Client,
    now: Timestamp,
    request: RequestKey,
    jobs: Vec<NewJob>,
) -> Result<Vec<Stored>, Problem> {
    match acting.store().enqueue_once(now, request, jobs).await? {
        Requested::Stored(stored) => Ok(stored.into_iter().map(Stored::from).collect()),
        // What was answered then: who sends it again has not heard that.
        Requested::Again(stored) => Ok(stored.into_iter().map(Stored::from).collect()),
        Requested::Other => Err(other_request()),
    }
}

/// A key stands for another request: whoever sends it would believe that this was stored.
fn other_request() -> Problem {
    Problem::new(
        Sort::OtherRequest,
        "the Idempotency-Key",
        "within the last 24 h it came with a request that asked for something else",
        "use a key of its own for each request, and the same one only to send the same request again",
    )
}

/// What the request is known by, if it has a key: another one in each namespace and for each caller, so that nobody can name a job of
/// somebody else's by it.
fn request_key<B>(call: &Call<Nothing, Nothing, ()>, body: &B) -> Result<Option<RequestKey>, Problem>
where
    B: Serialize,
{
    let Some(key) = idempotency_key(&call.headers)? else { return Ok(None) };
    let hash = |context: &str, parts: &[&[u8]]| {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        *hasher.finalize().as_bytes()
    };
    // What was read from JSON can be written as such.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let (namespace, caller) = (call.namespace_or_default(), call.actor());
    let who = [call.operation(), namespace.as_str(), caller.as_str(), &key].map(str::as_bytes);
    Ok(Some(RequestKey {
        key: hash("taskwright 2026 key of a request", &who),
        body: hash("taskwright 2026 body of a request", &[&body]),
    }))
}

/// The header, if it is there.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    /// Bytes of a key.
    const BYTES_MAX: usize = 255;
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    match key.to_str() {
        Ok(key) if (1..=BYTES_MAX).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => {
            let why = format!("it is not 1 to {BYTES_MAX} characters of ASCII");
            Err(Problem::invalid("the Idempotency-Key", why, "use a UUID, for instance"))
        }
    }
}

/// Jobs that are to be stored.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewJobs")]
struct Submissions {
    /// Each of them.
    jobs: Vec<Submission>,
}

async fn enqueue_many(call: Call<Nothing, Nothing, Submissions>) -> Result<Created<Items<Stored>>, Problem> {
    let (call, Submissions { jobs: submissions }) = call.split();
    if submissions.len() > ENQUEUE_JOBS_MAX {
        let why = format!("there are {}, {ENQUEUE_JOBS_MAX} are allowed", submissions.len());
        return Err(Problem::invalid("jobs", why, "store them in several requests"));
    }
    let request = request_key(&call, &submissions)?;
    let namespace = call.namespace_or_default();
    let jobs = submissions.into_iter().map(|one| one.job(&call, call.api.env.job_id()));
    let jobs = jobs.collect::<Result<Vec<_>, _>>()?;
    let acting = call.acting(Some(&namespace), format_args!("{} jobs", jobs.len()));
    let items = match request {
        _ if jobs.is_empty() => Vec::new(),
        Some(request) => store_once(&acting, call.now(), request, jobs).await?,
        None => {
            let stored = acting.store().enqueue(call.now(), jobs).await?;
            stored.into_iter().map(Stored::from).collect()
        }
    };
    Ok(Created(Items { items, next: None }))
}

// -- looking

/// The job that is asked about.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Named {
    /// Its id.
    pub(super) id: JobId,
}

/// Which jobs: AND between the parameters, OR within one that is repeated. In names `*` stands for anything.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Filter {
    /// These ids.
    pub(crate) id: Vec<JobId>,
    /// Of these tasks.
    pub(crate) kind: Vec<String>,
    /// In these queues.
    pub(crate) queue: Vec<String>,
    /// In these states.
    pub(crate) state: Vec<State>,
    /// That these workers run now.
    pub(crate) worker: Vec<WorkerId>,
    /// That these workers run now, or ran last.
    pub(crate) last_worker: Vec<WorkerId>,
    /// That workers of these nodes run now, or ran last.
    pub(crate) host: Vec<String>,
    /// Of these owners.
    pub(crate) owner: Vec<String>,
    /// Without an owner.
    pub(crate) no_owner: bool,
    /// Created at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Timestamp>,
    /// Created at this time or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Timestamp>,
    /// Whose newest attempt was claimed at this time or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claimed_after: Option<Timestamp>,
    /// Whose newest attempt was claimed at this time or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) claimed_before: Option<Timestamp>,
    /// Over since this time or a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_after: Option<Timestamp>,
    /// Over since this time or an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ended_before: Option<Timestamp>,
    /// Of this priority or a less urgent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_priority: Option<Priority>,
    /// Of this priority or a more urgent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_priority: Option<Priority>,
    /// That have failed this often or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_failures: Option<u32>,
    /// That have failed this often or less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_failures: Option<u32>,
    /// Whose owner has, or has not, read how they ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) consumed: Option<bool>,
    /// For which somebody has, or has not, asked that they be cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cancel_requested: Option<bool>,
    /// With this in their arguments: `customer.id=42`, `items.*.name=blue*`. One page looks into those of 2,000 jobs, or into 8 MiB.
    pub(crate) args: Vec<ArgsMatch>,
    /// The oldest first.
    pub(crate) oldest_first: bool,
    /// How many at most: 1 to 1,000, 100 unless it is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<u32>,
    /// Where to go on: `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<String>,
}

impl Filter {
    pub(super) fn of(&self, reach: &Reach) -> Result<taskwright_store::Filter, Problem> {
        let patterns = |texts: &[String]| texts.iter().map(|text| Pattern::new(text)).collect();
        let owners = match (self.no_owner, self.owner.is_empty()) {
            (true, true) => Owners::Nobody,
            (true, false) => {
                let why = "no job has an owner and none";
                return Err(Problem::invalid("owner and no_owner", why, "leave one of them out"));
            }
            (false, true) => Owners::Any,
            (false, false) => Owners::Of(patterns(&self.owner)),
        };
        Ok(taskwright_store::Filter {
            ids: self.id.clone(),
            namespaces: match reach {
                Reach::In(namespace) => namespace.clone().into(),
                Reach::Among(namespaces) => Namespaces::Of(namespaces.clone()),
                Reach::Everywhere | Reach::Seen(_) => Namespaces::Any,
            },
            kinds: patterns(&self.kind),
            queues: patterns(&self.queue),
            states: self.state.clone(),
            workers: self.worker.clone(),
            last_workers: self.last_worker.clone(),
            hosts: patterns(&self.host),
            owners,
            created_from: self.after,
            created_to: self.before,
            claimed_from: self.claimed_after,
            claimed_to: self.claimed_before,
            ended_from: self.ended_after,
            ended_to: self.ended_before,
            priority_from: self.min_priority,
            priority_to: self.max_priority,
            failures_from: self.min_failures,
            failures_to: self.max_failures,
            consumed: self.consumed,
            cancel_requested: self.cancel_requested,
            args: ArgsSearch::new(self.args.clone())?,
            sight: None,
        })
    }
}

async fn list(call: Call<Nothing, Filter>) -> Result<Json<Items<JobView>>, Problem> {
    let mut filter = call.query.of(call.reach())?;
    filter.sight = call.sight();
    let after = call.query.cursor.as_deref().map(cursor::read::<JobId>).transpose()?;
    let (limit, oldest_first) = (page_size(call.query.limit)?, call.query.oldest_first);
    call.names_their_own().await?;
    let page = call.store().list(filter, Page { after, limit, oldest_first }).await?;
    Ok(Json(Items { items: page.jobs, next: page.next.map(|next| cursor::write(&next)) }))
}

async fn show(call: Call<Named>) -> Result<Json<Whole>, Problem> {
    let id = call.path.id;
    let job = call.job_to_read(id).await?;
    let origin = call.store().origins(vec![id]).await?.pop().flatten();
    Ok(Json(Whole::of(job, origin)?))
}

/// What a completed job returned.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobResult")]
struct Returned {
    /// The job.
    id: JobId,
    /// Where it is in its life.
    state: State,
    /// What its handler returned; `null` if it returned nothing, or has not completed.
    #[schemars(with = "serde_json::Value")]
    result: Option<Box<RawValue>>,
}

async fn result(call: Call<Named>) -> Result<Json<Returned>, Problem> {
    let job = call.job_to_read(call.path.id).await?;
    let result = job.result.map(RawValue::from_string).transpose();
    let result = result.map_err(|error| {
        tracing::error!(job = %call.path.id, %error, "a stored result is not JSON");
        let fix = "the store may be damaged: the operator can restore it from a backup";
        Problem::new(Sort::Internal, "the result", "what the store keeps of it is not JSON", fix)
    })?;
    Ok(Json(Returned { id: call.path.id, state: job.view.state, result }))
}

/// How far a job is.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "JobProgress")]
struct Far {
    /// The job.
    id: JobId,
    /// Where it is in its life.
    state: State,
    /// How far the attempt is that runs.
    progress: Option<Progress>,
    /// Whether somebody asked for it to be cancelled.
    cancel_requested: bool,
}

async fn progress(call: Call<Named>) -> Result<Json<Far>, Problem> {
    let JobView { id, state, progress, cancel_requested, .. } = call.job_to_read(call.path.id).await?.view;
    Ok(Json(Far { id, state, progress, cancel_requested }))
}

/// Which part of a log.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Part {
    /// From this piece on.
    from: u64,
    /// How many pieces at most: 1 to 1,000, 200 unless it is said.
    limit: Option<u32>,
}

/// A part of a log.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "JobLog")]
pub(crate) struct Log {
    /// The pieces.
    pub(crate) items: Vec<Piece>,
    /// Where to go on, as `from`, now or when it has written more.
    pub(crate) next_from: u64,
    /// Whether the job is over: what is written before its end is all there is.
    pub(crate) is_over: bool,
}

async fn logs(call: Call<Named, Part>) -> Result<Json<Log>, Problem> {
    let limit = page_size(Some(call.query.limit.unwrap_or(PIECES)))?;
    // The state is read before the log: what was written before the end is then seen.
    let job = call.job(call.path.id).await?;
    let chunks = call.store().logs(call.path.id, call.query.from, limit).await?;
    let next_from = chunks.last().map_or(call.query.from, |last| last.number + 1);
    let items = chunks.into_iter().map(Piece::from).collect();
    Ok(Json(Log { items, next_from, is_over: job.view.state.is_terminal() }))
}

/// What somebody says about a job.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewComment")]
struct Comment {
    /// The text: up to 4 KiB.
    text: String,
}

async fn comment(call: Call<Named, Nothing, Comment>) -> Result<Created<Commented>, Problem> {
    let id = call.path.id;
    let job = call.job(id).await?;
    let acting = call.acting(Some(&job.view.namespace), id);
    match acting.comment(id, call.actor(), &call.body.text).await? {
        true => Ok(Created(Commented { commented: true, id })),
        false => Err(call.unknown("job")),
    }
}

/// How long to wait.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Patience {
    /// At most so long, like `30s`: up to 60 s, which is also the default.
    timeout: Option<String>,
}

async fn wait(call: Call<Named, Patience>) -> Result<Json<JobView>, Problem> {
    let limit = call.query.timeout.as_deref().map(parse_duration).transpose()?;
    let limit = limit.unwrap_or(WAIT_MAX).min(WAIT_MAX);
    // Interest is registered before the first look.
    let mut watched = call.api.watcher.job(call.path.id);
    let detail = call.job(call.path.id).await?;
    let mut view = detail.view.clone();
    let stopped = call.api.stopped();
    let over = async {
        while !view.state.is_terminal() {
            if watched.changed().await.is_err() {
                return;
            }
            match &*watched.borrow_and_update() {
                Look::At(newest) => view = JobView::clone(newest),
                Look::Gone => return,
                Look::NotYet => {}
            }
        }
    };
    let over = call.api.env.timeout(limit, over);
    tokio::select! {
        _ = over => {}
        () = stopped => {}
    }
    let job = JobDetail { view, ..detail };
    Ok(Json(call.read(job).await?.view))
}
