//! Handing over to another process: the socket that listens and the lock of the store go to it while both run, so that no
//! connection is refused and no request is lost when a program is replaced (`--replace`).
//!
//! The one that runs listens at a Unix socket beside its store. The new one connects, is given the two by their descriptors
//! (`SCM_RIGHTS`), and says when it answers; only then does the old one take no connection any more, and end in good order. A
//! new one that fails before that has changed nothing. `docs/design/0027-rolling-restart.md` says why it is done so.

use std::fs::{DirBuilder, File};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use taskwright::Env;
use taskwright::env::Spawned;
use tokio::net::UnixListener;
use tokio::sync::Notify;

use crate::cli::Context;
use crate::config::Listen;
use crate::error::{Error, in_words};
use crate::store_url::StoreUrl;

/// What is said first, at most.
const HELLO_BYTES_MAX: usize = 1 << 10;
/// How long the one that runs may take to hand over. It only has to send a message.
const HAND_TIME: Duration = Duration::from_secs(5);
/// How long the new one may take from then on until it answers: it opens nothing any more.
const READY_TIME: Duration = Duration::from_secs(60);
/// The longest path that a Unix socket can have on every system, and some less.
const PATH_BYTES_MAX: usize = 100;
/// The word by which the new one says that it answers.
const READY: &[u8] = b"ready\n";

/// What the one that runs says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    /// Of this exchange: another number is not understood.
    format: u32,
    pid: u32,
    version: String,
    /// Which descriptors follow, in this order.
    has_listener: bool,
    has_lock: bool,
}

/// How the exchange goes; another one gets another number.
const FORMAT: u32 = 1;

/// Where the processes meet that take each other's place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    directory: PathBuf,
    name: String,
}

impl Place {
    /// Where `up` (or `serve`) of this store meets the one that is to follow; `None` where nobody can follow: without a
    /// store that others can open, or without an address of its own to be known by.
    ///
    /// # Errors
    ///
    /// When the run directory cannot be used.
    pub(super) fn of(context: &Context, verb: &str, listen: Listen) -> Result<Option<Self>, Error> {
        let address = match listen {
            Listen::At(address) if address.port() != 0 => {
                Some(address.to_string().replace([':', '[', ']'], "-"))
            }
            _ => None,
        };
        match (&context.store_url, address) {
            // There is one `up` of a file.
            (StoreUrl::Sqlite(path), address) if verb == "up" || address.is_some() => {
                let mut beside = path.clone().into_os_string();
                beside.push("-run");
                let name =
                    address.filter(|_| verb != "up").map_or(verb.to_owned(), |at| format!("{verb}-{at}"));
                Ok(Some(Self { directory: beside.into(), name: format!("{name}.sock") }))
            }
            #[cfg(feature = "postgres")]
            (StoreUrl::Postgres(_), Some(address)) => {
                let directory = taskwright::run_dir::enter(context.run_dir())?;
                Ok(Some(Self { directory, name: format!("{verb}-{address}.sock") }))
            }
            _ => Ok(None),
        }
    }

    /// A path of the socket that is short enough, and what keeps it valid.
    fn path(&self, name: &str) -> io::Result<(PathBuf, Option<File>)> {
        let whole = self.directory.join(name);
        if whole.as_os_str().len() <= PATH_BYTES_MAX {
            return Ok((whole, None));
        }
        let directory = File::open(&self.directory)?;
        let number = std::os::fd::AsRawFd::as_raw_fd(&directory);
        Ok((Path::new("/proc/self/fd").join(number.to_string()).join(name), Some(directory)))
    }
}

/// What another process has handed over. Dropped before [`ready`](Self::ready) it changes nothing there.
pub(super) struct Taken {
    stream: UnixStream,
    pub(super) pid: u32,
    pub(super) version: String,
    pub(super) listener: Option<TcpListener>,
    pub(super) lock: Option<File>,
}

/// Asks whoever runs at this place to hand over; `None` when nobody does.
///
/// # Errors
///
/// When it does not answer, or is not understood.
pub(super) async fn ask(env: &Env, place: &Place) -> Result<Option<Taken>, Error> {
    let at = place.clone();
    let asked = env.blocking(move || take(&at)).await;
    asked.map_err(|error| {
        Error::operational(
            format!("taking the place of the process at {}", place.directory.join(&place.name).display()),
            in_words(&error),
            "stop that process, then start this one without --replace",
        )
    })
}

fn take(place: &Place) -> io::Result<Option<Taken>> {
    let (path, _directory) = match place.path(&place.name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let mut stream = match UnixStream::connect(path) {
        // A file that a killed process left behind is nobody.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        connected => connected?,
    };
    stream.set_read_timeout(Some(HAND_TIME))?;
    stream.set_write_timeout(Some(HAND_TIME))?;
    let mut fds = Vec::new();
    let mut text = Vec::new();
    {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut bytes = [0; HELLO_BYTES_MAX];
        let read =
            recvmsg(&stream, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty())?.bytes;
        text.extend_from_slice(&bytes[..read]);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
    }
    let mut rest = [0; HELLO_BYTES_MAX];
    while !text.ends_with(b"\n") && text.len() < HELLO_BYTES_MAX {
        match stream.read(&mut rest)? {
            0 => break,
            read => text.extend_from_slice(&rest[..read]),
        }
    }
    let unknown = || io::Error::new(io::ErrorKind::InvalidData, "it does not hand over as this version does");
    let hello: Hello = serde_json::from_slice(&text).map_err(|_| unknown())?;
    if hello.format != FORMAT || fds.len() != usize::from(hello.has_listener) + usize::from(hello.has_lock) {
        return Err(unknown());
    }
    // What we start is not to have them.
    fds.iter().try_for_each(|fd| fcntl_setfd(fd, FdFlags::CLOEXEC))?;
    let mut fds = fds.into_iter();
    let listener = hello.has_listener.then(|| fds.next()).flatten().map(TcpListener::from);
    let lock = hello.has_lock.then(|| fds.next()).flatten().map(File::from);
    Ok(Some(Taken { stream, pid: hello.pid, version: hello.version, listener, lock }))
}

impl Taken {
    /// Says that this process answers from now on. The other one takes nothing any more, and ends.
    ///
    /// # Errors
    ///
    /// When it has ended meanwhile.
    pub(super) fn ready(mut self) -> io::Result<()> {
        self.stream.write_all(READY)
    }
}

/// What is handed over.
pub(super) struct Hands {
    pub(super) listener: Option<OwnedFd>,
    pub(super) lock: Option<OwnedFd>,
}

/// Stands ready to hand over; ends when it is dropped.
pub(super) struct Offer {
    taken: Arc<Notify>,
    _task: Spawned<()>,
}

impl Offer {
    /// Is ready once another process has taken over.
    pub(super) async fn taken(&self) {
        self.taken.notified().await;
    }
}

/// Offers to hand over, at this place, instead of whoever did so before.
///
/// # Errors
///
/// When no socket can be made there.
pub(super) fn offer(env: &Env, place: &Place, hands: Hands) -> Result<Offer, Error> {
    let listener = listen(place).map_err(|error| {
        Error::operational(
            format!("making the socket {}", place.directory.join(&place.name).display()),
            in_words(&error),
            "check the rights of this user in that directory",
        )
    })?;
    let taken = Arc::new(Notify::new());
    let told = Arc::clone(&taken);
    let (of, hands) = (env.clone(), Arc::new(hands));
    let task = env.spawn("handover", async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                of.sleep(HAND_TIME).await;
                continue;
            };
            let is_ours =
                stream.peer_cred().is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw());
            if !is_ours {
                continue;
            }
            let Ok(stream) = stream.into_std() else { continue };
            let hands = Arc::clone(&hands);
            match of.blocking(move || hand(stream, &hands)).await {
                Ok(()) => return told.notify_one(),
                Err(error) => tracing::warn!(%error, "another process was to take over, and has not"),
            }
        }
    });
    Ok(Offer { taken, _task: task })
}

fn listen(place: &Place) -> io::Result<UnixListener> {
    DirBuilder::new().recursive(true).mode(0o700).create(&place.directory)?;
    let unready = format!("{}.{}", place.name, std::process::id());
    let (path, _directory) = place.path(&unready)?;
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    // In the place of another's, so that there is no moment without one.
    std::fs::rename(place.directory.join(&unready), place.directory.join(&place.name))?;
    Ok(listener)
}

/// Hands over; `Ok` once the other one has said that it answers.
fn hand(mut stream: UnixStream, hands: &Hands) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(HAND_TIME))?;
    stream.set_read_timeout(Some(READY_TIME))?;
    let hello = Hello {
        format: FORMAT,
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        has_listener: hands.listener.is_some(),
        has_lock: hands.lock.is_some(),
    };
    let mut text = serde_json::to_vec(&hello)?;
    text.push(b'\n');
    let fds: Vec<BorrowedFd<'_>> =
        [&hands.listener, &hands.lock].into_iter().flatten().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    }
    let sent = sendmsg(&stream, &[IoSlice::new(&text)], &mut ancillary, SendFlags::empty())?;
    stream.write_all(&text[sent..])?;
    let mut answer = [0; READY.len()];
    stream.read_exact(&mut answer)?;
    match answer == READY {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it does not say that it is ready")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(directory: &Path) -> Place {
        Place { directory: directory.to_owned(), name: "up.sock".to_owned() }
    }

    fn listening() -> (TcpListener, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let handle = listener.as_fd().try_clone_to_owned().unwrap();
        (listener, handle)
    }

    #[tokio::test]
    async fn a_socket_is_handed_over_and_goes_on_listening_when_the_first_process_lets_go() {
        // The path is longer than a socket's may be.
        let site = tempfile::tempdir().unwrap();
        let place = place(&site.path().join("d".repeat(200)));
        let env = Env::system();
        assert!(ask(&env, &place).await.unwrap().is_none(), "nobody is there");
        let (listener, handle) = listening();
        let address = listener.local_addr().unwrap();
        let offer = offer(&env, &place, Hands { listener: Some(handle), lock: None }).unwrap();

        // One that dies before it answers changes nothing.
        drop(ask(&env, &place).await.unwrap().unwrap());
        let taken = ask(&env, &place).await.unwrap().unwrap();
        assert_eq!((taken.pid, taken.lock.is_some()), (std::process::id(), false));
        let ours = taken.listener.as_ref().unwrap().try_clone().unwrap();
        assert_eq!(ours.local_addr().unwrap(), address);
        let waiting = std::net::TcpStream::connect(address).unwrap();
        drop(listener);
        taken.ready().unwrap();
        offer.taken().await;
        drop(offer);
        assert_eq!(ours.accept().unwrap().1, waiting.local_addr().unwrap(), "it waited in the queue");
        // What was left behind is nobody.
        assert!(ask(&env, &place).await.unwrap().is_none());
    }
}
