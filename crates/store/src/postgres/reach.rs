//! Which of the hosts that the URL names is connected to: the first that can be written.
//!
//! The driver asks one after the other. A host that is stopped, or whose machine hangs, still accepts connections (its
//! kernel does) and then says nothing, so that those behind it would never be asked. So here the next one is asked as soon
//! as one has failed, or has said nothing for a moment, and the first that can be written is taken. Its callers limit the
//! whole by [`login_wait_max`].

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use deadpool_postgres::{ConfigConnectImpl, Connect};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_postgres::{Client, Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::is_answer;

/// How long one host may take to be connected to, TLS and login included.
pub(super) const LOGIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long a host may say nothing before the next one is asked, too. A login takes milliseconds.
const SILENCE_MAX: Duration = Duration::from_millis(500);

/// How long a new connection may take, over all hosts.
pub(super) fn login_wait_max(config: &Config) -> Duration {
    let others = u32::try_from(host_count(config).saturating_sub(1)).unwrap_or(u32::MAX);
    LOGIN_WAIT_MAX + SILENCE_MAX * others
}

/// Connects by `connect` to the first of the hosts that it succeeds with. Does not end when all hosts are silent.
///
/// # Errors
///
/// When all that said anything failed; that of a server that answered, if one did.
pub(super) async fn first<T, A>(config: &Config, connect: impl Fn(Config) -> A) -> Result<T, Error>
where
    T: Send + 'static,
    A: Future<Output = Result<T, Error>> + Send + 'static,
{
    let mut hosts = each_host(config).into_iter();
    let mut attempts = JoinSet::new();
    let mut failure: Option<Error> = None;
    loop {
        let is_last = match hosts.next() {
            Some(host) => {
                attempts.spawn(timeout(LOGIN_WAIT_MAX, connect(host)));
                hosts.len() == 0
            }
            None => true,
        };
        let patience = if is_last { Duration::MAX } else { SILENCE_MAX };
        match timeout(patience, attempts.join_next()).await {
            Ok(None) => break,
            Ok(Some(Ok(Ok(Ok(connection))))) => return Ok(connection),
            Ok(Some(Ok(Ok(Err(error))))) if !failure.as_ref().is_some_and(is_answer) => failure = Some(error),
            // One more that has failed or was silent for too long, or one that says nothing as yet.
            Ok(Some(_)) | Err(_) => {}
        }
    }
    match failure {
        Some(error) => Err(error),
        None => pending().await,
    }
}

/// Connects for the pool.
pub(super) struct HostByHost {
    tls: MakeRustlsConnect,
}

impl HostByHost {
    pub(super) fn new(tls: MakeRustlsConnect) -> Self {
        Self { tls }
    }
}

/// A client, and the task that drives its connection.
type Driven = (Client, JoinHandle<()>);

impl Connect for HostByHost {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Result<Driven, Error>> + Send + '_>> {
        let config = config.clone();
        Box::pin(async move {
            first(&config, |host| {
                let one = ConfigConnectImpl { tls: self.tls.clone() };
                async move { one.connect(&host).await }
            })
            .await
        })
    }
}

fn host_count(config: &Config) -> usize {
    config.get_hosts().len().max(config.get_hostaddrs().len())
}

/// The same settings for each host alone, in their order.
fn each_host(config: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = host_count(config);
    let fits = |len: usize| len == 0 || len == count;
    if count < 2 || !fits(hosts.len()) || !fits(addresses.len()) || !(ports.len() < 2 || fits(ports.len())) {
        // The driver says what is wrong with it.
        return vec![config.clone()];
    }
    let one = |n: usize| {
        let mut one = without_hosts(config);
        if let Some(host) = hosts.get(n) {
            match host {
                tokio_postgres::config::Host::Tcp(name) => one.host(name),
                tokio_postgres::config::Host::Unix(path) => one.host_path(path),
            };
        }
        if let Some(address) = addresses.get(n) {
            one.hostaddr(*address);
        }
        if let Some(port) = ports.get(n).or(ports.first()) {
            one.port(*port);
        }
        one
    };
    (0..count).map(one).collect()
}

/// The settings but the hosts, which the driver only adds to.
fn without_hosts(config: &Config) -> Config {
    let mut other = Config::new();
    other
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    config.get_user().map(|user| other.user(user));
    config.get_password().map(|password| other.password(password));
    config.get_dbname().map(|name| other.dbname(name));
    config.get_options().map(|options| other.options(options));
    config.get_application_name().map(|name| other.application_name(name));
    config.get_connect_timeout().map(|limit| other.connect_timeout(*limit));
    config.get_tcp_user_timeout().map(|limit| other.tcp_user_timeout(*limit));
    config.get_keepalives_interval().map(|interval| other.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| other.keepalives_retries(retries));
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_gets_all_settings_of_the_url() {
        let settings = "user=u password=p dbname=d options=-cx=1 application_name=a sslmode=require connect_timeout=7 \
                        tcp_user_timeout=8 keepalives=0 keepalives_idle=9 keepalives_interval=10 \
                        keepalives_retries=11 target_session_attrs=read-write channel_binding=require \
                        load_balance_hosts=random";
        let of = |hosts: &str| format!("{hosts} {settings}").parse::<Config>().unwrap();
        let each = each_host(&of("host=a,/b,c port=1,2,3"));
        assert_eq!(each, [of("host=a port=1"), of("host=/b port=2"), of("host=c port=3")]);
        let each = each_host(&of("host=a,b hostaddr=127.0.0.1,127.0.0.2 port=5"));
        assert_eq!(each, [of("host=a hostaddr=127.0.0.1 port=5"), of("host=b hostaddr=127.0.0.2 port=5")]);
        assert_eq!(each_host(&of("host=a")), [of("host=a")]);
    }

    #[test]
    fn hosts_and_ports_that_do_not_match_are_left_to_the_driver() {
        let config: Config = "host=a,b,c port=1,2".parse().unwrap();
        assert_eq!(each_host(&config), [config]);
    }
}
