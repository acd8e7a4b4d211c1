//! Principals, the audit and comments of a server. Secrets and passwords are made and checked there: here they are neither hashed
//! nor kept.

use ::http::Method;
use serde_json::json;
use taskwright_core::audit::{Entry, Link};
use taskwright_core::limit::PAGE_ROWS_MAX;
use taskwright_core::permission::CancelPolicy;
use taskwright_core::token::SecretHash;
use taskwright_core::{
    Actor, Attachment, AttachmentName, Grants, JobId, Namespace, NewJob, Owner, ProcessId, Timestamp,
    TokenId, TokenName, UserName,
};
use taskwright_store::*;

use super::http::{NO_BODY, NOTHING, items};
use super::store::{RemoteStore, segment};
use crate::answer::attachment::{Added, Listed};
use crate::answer::job::Commented;
use crate::answer::namespace::Policy;
use crate::answer::principal::{Changed, TokenListed, UserListed};
use crate::answer::step::Step;
use crate::http::{AttachmentPart, AuditQuery, Items, NewGrants, cursor};

impl AttachmentStore for RemoteStore {
    fn attach(&self, _: Timestamp, job: JobId, attachment: Attachment) -> Reply<'_, Attached> {
        Box::pin(async move {
            let path = format!("/api/v1/jobs/{job}/attachments/{}", segment(attachment.name().as_str()));
            let added: Option<Added> = self.remote.put_bytes(&path, attachment.bytes().to_vec()).await?;
            Ok(if added.is_some() { Attached::Done } else { Attached::Unknown })
        })
    }

    fn attachments(&self, job: JobId) -> Reply<'_, Vec<AttachmentView>> {
        Box::pin(async move {
            let path = format!("/api/v1/jobs/{job}/attachments");
            let listed: Vec<Listed> = self.remote.items(&path, None).await?;
            listed.into_iter().map(|one| one.into_view().ok_or_else(|| self.remote.lacks(&path))).collect()
        })
    }

    fn attachment_piece(&self, job: JobId, name: AttachmentName, number: u32) -> Reply<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let path = format!("/api/v1/jobs/{job}/attachments/{}", segment(name.as_str()));
            let part = AttachmentPart { piece: Some(number) };
            self.remote.text(Method::GET, &path, None, &part, NO_BODY, &[]).await
        })
    }
}

impl StepStore for RemoteStore {
    refused! {
        keep_steps(worker: taskwright_core::WorkerId, steps: Vec<NewStep>) -> Vec<taskwright_core::Verdict>;
    }

    fn steps(&self, job: JobId) -> Reply<'_, Vec<StepView>> {
        Box::pin(async move {
            let steps: Vec<Step> = self.remote.items(&format!("/api/v1/jobs/{job}/steps"), None).await?;
            Ok(steps.into_iter().map(StepView::from).collect())
        })
    }
}

impl ServiceStore for RemoteStore {
    refused! {
        tell_services(now: Timestamp, process: ProcessPlace, services: Vec<ServiceRecord>) -> ();
        forget_services(process: ProcessId) -> ();
    }

    fn services(&self, _: Timestamp) -> Reply<'_, Vec<ServiceView>> {
        Box::pin(async move { Ok(items(self.get("/api/v1/services", None, &NOTHING).await?)) })
    }
}

impl SubmitterStore for RemoteStore {
    fn comment(&self, _: Timestamp, job: JobId, _: Actor, text: String) -> Reply<'_, bool> {
        Box::pin(async move {
            let path = format!("/api/v1/jobs/{job}/comments");
            let body = json!({ "text": text });
            let asked = self.remote.ask(Method::POST, &path, None, &NOTHING, Some(&body), &[]);
            let done: Option<Commented> = asked.await?;
            Ok(done.is_some())
        })
    }

    /// The server does, when it shows a job to its owner.
    fn consume(&self, _: Timestamp, jobs: Vec<JobId>, _: Owner) -> Reply<'_, Vec<bool>> {
        Box::pin(std::future::ready(Ok(vec![false; jobs.len()])))
    }

    refused! {
        enqueue_once(now: Timestamp, request: RequestKey, jobs: Vec<NewJob>) -> Requested;
    }

    /// The server shows a job whole, or does not.
    fn whose(&self, job: JobId) -> Reply<'_, Option<Whose>> {
        Box::pin(async move {
            let job = self.job(job).await?;
            Ok(job.map(|job| Whose { namespace: job.view.namespace, owner: job.view.owner }))
        })
    }
}

impl AuditStore for RemoteStore {
    refused! {
        note_audit(entry: Entry) -> ();
        audit_ends() -> AuditEnds;
        audit_links(after: u64, limit: usize) -> Vec<Link>;
    }

    /// The server does, before it lists.
    fn seal_audit(&self, _: usize) -> Reply<'_, usize> {
        Box::pin(std::future::ready(Ok(0)))
    }

    fn audit_page(&self, filter: AuditFilter, before: Option<u64>, limit: usize) -> Reply<'_, AuditPage> {
        Box::pin(async move {
            let texts =
                |patterns: &[Pattern]| patterns.iter().map(|pattern| pattern.as_str().to_owned()).collect();
            let query = AuditQuery {
                who: texts(&filter.who),
                action: texts(&filter.actions),
                object: texts(&filter.objects),
                after: filter.from,
                before: filter.to,
                limit: u32::try_from(limit.clamp(1, PAGE_ROWS_MAX)).ok(),
                cursor: before.map(|before| cursor::write(&before)),
            };
            let path = "/api/v1/audit";
            let found: Option<Items<AuditView>> = self.get(path, filter.namespace.as_ref(), &query).await?;
            let Items { items: entries, next } = found.ok_or_else(|| self.gone(path))?;
            let next = next.map(|next| cursor::read(&next)).transpose().map_err(|_| self.gone(path))?;
            Ok(AuditPage { entries, next })
        })
    }
}

impl RemoteStore {
    /// Has a principal changed.
    async fn principal(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl serde::Serialize + Sync)>,
    ) -> Result<Kept, Error> {
        let changed: Option<Changed> = self.remote.ask(method, path, None, &NOTHING, body, &[]).await?;
        Ok(match changed {
            Some(Changed { changed: true }) => Kept::Done,
            Some(Changed { changed: false }) => Kept::Already,
            None => Kept::Unknown,
        })
    }
}

/// A page of a listing.
fn part(limit: usize, cursor: Option<String>) -> Vec<(&'static str, String)> {
    let mut query = vec![("limit", limit.clamp(1, PAGE_ROWS_MAX).to_string())];
    query.extend(cursor.map(|cursor| ("cursor", cursor)));
    query
}

fn path_of(user: &UserName) -> String {
    format!("/api/v1/users/{}", segment(user.as_str()))
}

fn policy_of(namespace: &Namespace) -> String {
    format!("/api/v1/namespaces/{}/cancel-policy", segment(namespace.as_str()))
}

impl IdentityStore for RemoteStore {
    refused! {
        has_principals() -> bool;
        bootstrap(now: Timestamp, token: NewToken) -> bool;
        add_token(now: Timestamp, token: NewToken) -> bool;
        token(hash: SecretHash) -> Option<StoredToken>;
        token_named(namespace: Option<Namespace>, name: TokenName) -> Option<StoredToken>;
        touch_token(now: Timestamp, token: TokenId) -> ();
        add_user(now: Timestamp, user: NewUser) -> bool;
        open_session(now: Timestamp, session: NewSession) -> bool;
        session(hash: SecretHash) -> Option<StoredSession>;
        sessions(user: UserName) -> Vec<SessionView>;
        touch_session(now: Timestamp, hash: SecretHash) -> ();
        end_session(hash: SecretHash) -> bool;
    }

    fn cancel_policy(&self, namespace: Namespace) -> Reply<'_, CancelPolicy> {
        Box::pin(async move {
            let path = policy_of(&namespace);
            let Policy { policy } =
                self.get(&path, None, &NOTHING).await?.ok_or_else(|| self.remote.lacks(&path))?;
            Ok(policy)
        })
    }

    fn set_cancel_policy(&self, _: Timestamp, namespace: Namespace, policy: CancelPolicy) -> Reply<'_, bool> {
        Box::pin(async move {
            let path = policy_of(&namespace);
            let body = Policy { policy };
            let asked = self.remote.ask(Method::PUT, &path, None, &NOTHING, Some(&body), &[]);
            let changed: Option<Changed> = asked.await?;
            Ok(changed.ok_or_else(|| self.remote.lacks(&path))?.changed)
        })
    }

    fn tokens(&self, before: Option<TokenId>, limit: usize) -> Reply<'_, Vec<StoredToken>> {
        Box::pin(async move {
            let mut query = part(limit, before.map(|before| cursor::write(&before)));
            query.push(("all", "true".to_owned()));
            let found: Option<Items<TokenListed>> =
                self.get("/api/v1/tokens", self.namespace.as_ref(), &query).await?;
            Ok(items(found).into_iter().map(TokenListed::into_stored).collect())
        })
    }

    fn revoke_token(&self, _: Timestamp, token: TokenId) -> Reply<'_, Kept> {
        Box::pin(
            async move { self.principal(Method::DELETE, &format!("/api/v1/tokens/{token}"), NO_BODY).await },
        )
    }

    fn user(&self, name: UserName) -> Reply<'_, Option<StoredUser>> {
        Box::pin(async move {
            let found: Option<UserListed> = self.get(&path_of(&name), None, &NOTHING).await?;
            Ok(found.map(UserListed::into_stored))
        })
    }

    fn users(&self, after: Option<UserName>, limit: usize) -> Reply<'_, Vec<StoredUser>> {
        Box::pin(async move {
            let query = part(limit, after.map(|after| cursor::write(&after)));
            let found: Option<Items<UserListed>> = self.get("/api/v1/users", None, &query).await?;
            Ok(items(found).into_iter().map(UserListed::into_stored).collect())
        })
    }

    fn write_user(&self, _: Timestamp, name: UserName, write: UserWrite) -> Reply<'_, Kept> {
        Box::pin(async move {
            let path = path_of(&name);
            if let Some(Grants { superuser, roles }) = write.grants {
                let body = NewGrants { superuser, roles };
                return self.principal(Method::PUT, &format!("{path}/grants"), Some(&body)).await;
            }
            let verb = match write.disabled {
                Some(true) => "disable",
                Some(false) => "enable",
                None => return Err(self.remote.not_offered("writing the hash of a password")),
            };
            self.principal(Method::POST, &format!("{path}/{verb}"), NO_BODY).await
        })
    }

    fn remove_user(&self, _: Timestamp, name: UserName) -> Reply<'_, Kept> {
        Box::pin(async move { self.principal(Method::DELETE, &path_of(&name), NO_BODY).await })
    }
}
