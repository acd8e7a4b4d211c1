//! A worker's death at a chosen place.

use std::convert::Infallible;

use tokio::sync::watch;

/// Kills workers where a test wants it: nothing of them is run any more from that moment on, they say goodbye to nobody, and what they
/// had claimed is found to be lost. As `kill -9` does to a process.
///
/// A [`Kit`](super::Kit) that was [given one](super::Builder::killed_by) starts its worker again at once, as `taskwright up` does.
///
/// # Example
///
/// ```
/// use taskwright::testing::{KillSwitch, Kit, Mode, simulate};
/// use taskwright::{App, Context, TaskError, task};
///
/// #[task("fragile")]
/// async fn fragile(ctx: Context, #[state] kill: &KillSwitch) -> Result<u32, TaskError> {
///     if ctx.attempt() == 1 {
///         kill.here().await;
///     }
///     Ok(ctx.attempt())
/// }
///
/// simulate(1, async |sim| {
///     let kill = KillSwitch::new();
///     let app = App::new().state(kill.clone()).task::<Fragile>();
///     let kit = Kit::of(app).mode(Mode::Drain).killed_by(&kill).start(&sim).await.unwrap();
///     let job = kit.client().enqueue(Fragile {}).await.unwrap();
///     assert_eq!(job.output().await.unwrap(), 2, "the first attempt died with its worker");
/// });
/// ```
#[derive(Clone, Debug)]
pub struct KillSwitch(watch::Sender<u64>);

impl KillSwitch {
    /// A switch that kills nobody yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Kills the workers that run now.
    pub fn kill(&self) {
        self.0.send_modify(|kills| *kills += 1);
    }

    /// Kills the workers that run now, and never goes on: for the handler that is to die here.
    pub async fn here(&self) -> Infallible {
        self.kill();
        std::future::pending().await
    }

    /// Runs a worker, or whatever else is to die, until it ends or is killed; `None` when it is.
    pub async fn run<T>(&self, victim: impl Future<Output = T>) -> Option<T> {
        let mut kills = self.0.subscribe();
        tokio::select! {
            biased;
            // The sender is here.
            _ = kills.changed() => None,
            ended = victim => Some(ended),
        }
    }
}

impl Default for KillSwitch {
    fn default() -> Self {
        Self::new()
    }
}
